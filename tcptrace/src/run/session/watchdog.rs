//! Replaces hooks that attached but never fire, although connections show that they should.

use super::Session;
use crate::{
    connection::{blindspots::Blindspots, change::Change},
    engine::Input,
    event::{EndReason, Nanos, TcpState},
    kernel::{
        clock,
        counters::Totals,
        hook::Feature,
        hook_watchdog::{HookWatchdog, Mechanisms},
        plan::Mechanism,
    },
    record::entry::Entry,
    run::Failure,
    source::netstat,
    summary::GivenUp,
};
use hashbrown::HashMap;

/// What connections did without the hooks that should have reported it, and what was given up for that.
#[derive(Default)]
pub(super) struct Watchdog {
    silence: HookWatchdog,
    pub(super) given_up: Vec<GivenUp>,
}

impl Watchdog {
    /// Notes what a connection did without a state that the tracepoint hides and a hook should have reported.
    #[inline]
    pub(super) fn observe(&mut self, change: &Change) {
        if change.reason == Some(EndReason::TimewaitOverflow) {
            self.silence.timewait_skipped(change.netns, change.time);
        }
        if change.old == TcpState::Listen && change.new != TcpState::Close {
            self.silence.request_skipped(change.netns, change.time);
        }
    }
}

impl Session {
    /// Replaces hooks that contradict the connections, and reports it.
    pub(super) fn find_silent_hooks(&mut self, totals: &Totals, now: Nanos) -> Result<(), Failure> {
        let mechanism = |feature| {
            self.live
                .kernel
                .mechanism(feature)
                .unwrap_or(Mechanism::Missing("not planned"))
        };
        let mechanisms = Mechanisms {
            timewait: mechanism(Feature::Timewait),
            requests: mechanism(Feature::Requests),
        };
        let causes = if self.watchdog.silence.needs_causes(mechanisms, &totals.hits) {
            netstat::causes()
        } else {
            HashMap::new()
        };
        let Some(feature) =
            self.watchdog
                .silence
                .judge(mechanisms, &totals.hits, &causes, clock::monotonic())
        else {
            return Ok(());
        };
        let from = mechanism(feature);
        let next = self.live.kernel.give_up(feature)?;
        self.watchdog.silence = HookWatchdog::default();
        self.note_blindspots();
        let fallback_message = fallback_message(feature, from, next);
        self.notify(fallback_message.clone());
        self.recorder.push(Entry::Note {
            time: now,
            text: fallback_message.into(),
        });
        self.watchdog.given_up.push(GivenUp {
            mono_ns: now.0,
            feature: feature.name(),
            from: from.name(),
            to: next.name(),
        });
        self.repair();
        Ok(())
    }

    /// Passes to the engine what the hooks do not report.
    pub(super) fn note_blindspots(&mut self) {
        let mechanism = |feature| self.live.kernel.mechanism(feature);
        let is_missing = |feature| matches!(mechanism(feature), Some(Mechanism::Missing(_)) | None);
        let blindspots = Blindspots {
            segments: mechanism(Feature::Timewait) == Some(Mechanism::PolledTimers),
            timewaits: is_missing(Feature::Timewait),
            requests: is_missing(Feature::Requests),
        };
        self.apply(Input::Blindspots(blindspots));
    }
}

fn fallback_message(feature: Feature, from: Mechanism, to: Mechanism) -> String {
    let found = format!(
        "the {} hooks for {} attached but never fire on this kernel",
        from.name(),
        feature.name()
    );
    match to {
        Mechanism::Missing(_) => format!("{found}; without them: {}", feature.lost_without()),
        to => format!("{found}; switched to {}", to.name()),
    }
}
