//! Finds out hooks that attach and never fire, as where the compiler has inlined what they hook. What connections did
//! is held against what the hooks told, and against the kernel's own counters of the innocent reasons. Pure: counts
//! come in, a verdict goes out.

use super::{hook::Feature, plan::Mechanism};
use crate::event::Nanos;
use hashbrown::HashMap;
use tcptrace_common::{EventKind, Hit, Hits, TimerStep};

/// Number of connections that must contradict a hook that has never fired before it counts as silent.
pub(crate) const ENOUGH: u64 = 16;

/// By then a timewait sock must have ended: FIN_WAIT2 and TIME_WAIT last a minute each, and one more is for those
/// whose timer was started again.
const LIFETIME: Nanos = Nanos::from_secs(180);

/// Namespaces that are remembered, at most. A hook is silent in all of them or in none.
const NAMESPACES: usize = 1024;

/// The kernel's counters, since the namespace was created, of hidden states that were skipped legitimately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LegitimateCauses {
    /// The table of timewait socks was full.
    pub(crate) timewaits: u64,
    /// A handshake needed no request sock: SYN cookies, Fast Open.
    pub(crate) requests: u64,
}

/// How the two hidden states are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mechanisms {
    pub(crate) timewait: Mechanism,
    pub(crate) requests: Mechanism,
}

/// Evidence against the hooks of hidden states so far.
#[derive(Debug, Default)]
pub(crate) struct HookWatchdog {
    timewaits: Case,
    requests: Case,
    many_began: Option<Nanos>,
}

impl HookWatchdog {
    /// A connection of this namespace closed as if it had a timewait socket, but no hook reported one.
    pub(crate) fn timewait_skipped(&mut self, netns: u32, at: Nanos) {
        self.timewaits.note(netns, at);
    }

    /// A handshake of this namespace completed, but no hook reported a request socket.
    pub(crate) fn request_skipped(&mut self, netns: u32, at: Nanos) {
        self.requests.note(netns, at);
    }

    /// Whether the kernel's causes are needed to judge.
    pub(crate) fn needs_causes(&self, mechanisms: Mechanisms, hits: &Hits) -> bool {
        self.timewaits.is_due() && timewaits_begun(mechanisms.timewait, hits) == 0
            || self.requests.is_due() && requests_begun(mechanisms.requests, hits) == 0
    }

    /// The purpose whose hooks are silent, if one is. `now` is when `causes` had been read. The first causes only begin
    /// the count.
    pub(crate) fn judge(
        &mut self,
        mechanisms: Mechanisms,
        hits: &Hits,
        causes: &HashMap<u32, LegitimateCauses>,
        now: Nanos,
    ) -> Option<Feature> {
        let Self {
            timewaits, requests, ..
        } = self;
        if timewaits.is_due()
            && timewaits_begun(mechanisms.timewait, hits) == 0
            && timewaits.judge(now, causes, |causes| causes.timewaits)
        {
            return Some(Feature::Timewait);
        }
        if requests.is_due()
            && requests_begun(mechanisms.requests, hits) == 0
            && requests.judge(now, causes, |causes| causes.requests)
        {
            return Some(Feature::Requests);
        }
        self.never_ends(mechanisms.timewait, hits, now)
            .then_some(Feature::Timewait)
    }

    /// Whether timewait socks began, and none of them has ended long after all of them must have.
    fn never_ends(&mut self, mechanism: Mechanism, hits: &Hits, now: Nanos) -> bool {
        if timewaits_begun(mechanism, hits) < ENOUGH || timewaits_ended(mechanism, hits) > 0 {
            self.many_began = None;
            return false;
        }
        now.since(*self.many_began.get_or_insert(now)) >= LIFETIME
    }
}

/// One purpose's contradictions.
#[derive(Debug, Default)]
struct Case {
    /// By namespace, since it was judged last.
    seen: HashMap<u32, u64>,
    total: u64,
    /// When it was judged last, and how often the kernel had excused it by then, by namespace.
    before: Option<(Nanos, HashMap<u32, u64>)>,
    /// Number of false alarms: each doubles the evidence that the next verdict requires.
    dismissals: u32,
}

impl Case {
    /// What happened before the kernel was asked may come after that: it is among the causes already.
    fn note(&mut self, netns: u32, at: Nanos) {
        let is_late = self.before.as_ref().is_some_and(|(asked, _)| at <= *asked);
        let has_room = self.seen.len() < NAMESPACES || self.seen.contains_key(&netns);
        if !is_late && has_room {
            *self.seen.entry(netns).or_default() += 1;
            self.total += 1;
        }
    }

    fn is_due(&self) -> bool {
        self.total >= ENOUGH << self.dismissals.min(16)
    }

    /// At least half have to be without an excuse: one may be counted a moment before it happens.
    fn judge(
        &mut self,
        now: Nanos,
        causes: &HashMap<u32, LegitimateCauses>,
        excuse: fn(&LegitimateCauses) -> u64,
    ) -> bool {
        let mut seen_since = 0;
        let mut unexcused = 0;
        if let Some((_, before)) = &self.before {
            for (netns, seen) in &self.seen {
                // A namespace that is gone has taken its counters along.
                let (Some(before), Some(now)) = (before.get(netns), causes.get(netns)) else {
                    continue;
                };
                seen_since += seen;
                unexcused += seen.saturating_sub(excuse(now).saturating_sub(*before));
            }
            self.dismissals += 1;
        }
        let counted = causes.iter().map(|(netns, found)| (*netns, excuse(found)));
        self.before = Some((now, counted.collect()));
        self.seen.clear();
        self.total = 0;
        unexcused >= ENOUGH && unexcused >= seen_since / 2
    }
}

/// Number of timewait sockets that the hooks reported as created or not creatable. Without hooks, none is silent.
fn timewaits_begun(mechanism: Mechanism, hits: &Hits) -> u64 {
    match mechanism {
        Mechanism::Fentry => sum(
            &[
                Hit::of(EventKind::TimewaitStart),
                Hit::of(EventKind::TimewaitFull),
            ],
            hits,
        ),
        Mechanism::Timers | Mechanism::PolledTimers => {
            sum(&[Hit::timer(EventKind::TimewaitTimer, TimerStep::Start)], hits)
        }
        Mechanism::TpBtf | Mechanism::Classic | Mechanism::Cgroup | Mechanism::Missing(_) => u64::MAX,
    }
}

/// Number of timewait sockets that the hooks reported as ended, or possibly ended.
fn timewaits_ended(mechanism: Mechanism, hits: &Hits) -> u64 {
    match mechanism {
        Mechanism::Fentry => sum(&[Hit::of(EventKind::TimewaitEnd)], hits),
        Mechanism::Timers | Mechanism::PolledTimers => sum(
            &[
                Hit::timer(EventKind::TimewaitTimer, TimerStep::Cancel),
                Hit::timer(EventKind::TimewaitTimer, TimerStep::Expire),
            ],
            hits,
        ),
        Mechanism::TpBtf | Mechanism::Classic | Mechanism::Cgroup | Mechanism::Missing(_) => u64::MAX,
    }
}

/// Number of request sockets that the hooks reported as created.
fn requests_begun(mechanism: Mechanism, hits: &Hits) -> u64 {
    match mechanism {
        Mechanism::Fentry => sum(&[Hit::of(EventKind::RequestStart)], hits),
        Mechanism::Timers | Mechanism::PolledTimers => {
            sum(&[Hit::timer(EventKind::RequestTimer, TimerStep::Start)], hits)
        }
        Mechanism::TpBtf | Mechanism::Classic | Mechanism::Cgroup | Mechanism::Missing(_) => u64::MAX,
    }
}

fn sum(counted: &[Hit], hits: &Hits) -> u64 {
    counted.iter().map(|hit| hit.count(hits)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u32 = 7;
    const LATER: Nanos = Nanos(1);
    const NO_HITS: Hits = [[0; 4]; 16];

    fn both(mechanism: Mechanism) -> Mechanisms {
        Mechanisms {
            timewait: mechanism,
            requests: mechanism,
        }
    }

    fn excused(timewaits: u64, requests: u64) -> HashMap<u32, LegitimateCauses> {
        HashMap::from([(HERE, LegitimateCauses { timewaits, requests })])
    }

    fn skip_timewaits(silence: &mut HookWatchdog, count: u64) {
        for _ in 0..count {
            silence.timewait_skipped(HERE, LATER);
        }
    }

    fn hits(of: &[(Hit, u64)]) -> Hits {
        let mut hits = NO_HITS;
        for (hit, count) in of {
            *hit.counter(&mut hits) = *count;
        }
        hits
    }

    fn judge(
        silence: &mut HookWatchdog,
        hits: &Hits,
        causes: &HashMap<u32, LegitimateCauses>,
    ) -> Option<Feature> {
        silence.judge(both(Mechanism::Fentry), hits, causes, Nanos(0))
    }

    #[test]
    fn hooks_that_never_fire_are_found_out() {
        let mut silence = HookWatchdog::default();
        skip_timewaits(&mut silence, ENOUGH - 1);
        assert!(!silence.needs_causes(both(Mechanism::Fentry), &NO_HITS));
        skip_timewaits(&mut silence, 1);
        assert!(silence.needs_causes(both(Mechanism::Fentry), &NO_HITS));
        // Counts from before the start are irrelevant.
        assert_eq!(judge(&mut silence, &NO_HITS, &excused(1_000, 0)), None);
        assert!(!silence.needs_causes(both(Mechanism::Fentry), &NO_HITS));
        skip_timewaits(&mut silence, ENOUGH);
        assert_eq!(
            judge(&mut silence, &NO_HITS, &excused(1_000, 0)),
            Some(Feature::Timewait)
        );
    }

    #[test]
    fn requests_are_judged_by_themselves() {
        let mut silence = HookWatchdog::default();
        let hits = hits(&[
            (Hit::of(EventKind::TimewaitStart), 100),
            (Hit::of(EventKind::TimewaitEnd), 1),
        ]);
        for _ in 0..2 {
            for _ in 0..ENOUGH {
                silence.timewait_skipped(HERE, LATER);
                silence.request_skipped(HERE, LATER);
            }
            assert!(silence.needs_causes(both(Mechanism::Fentry), &hits));
            let verdict = judge(&mut silence, &hits, &excused(0, 0));
            if verdict.is_some() {
                assert_eq!(verdict, Some(Feature::Requests));
                return;
            }
        }
        panic!("the requests' hooks were not found out");
    }

    #[test]
    fn one_hit_is_enough_to_be_believed() {
        let mut silence = HookWatchdog::default();
        skip_timewaits(&mut silence, 1_000);
        for (mechanism, kind) in [
            (Mechanism::Fentry, Hit::of(EventKind::TimewaitStart)),
            (Mechanism::Fentry, Hit::of(EventKind::TimewaitFull)),
            (
                Mechanism::Timers,
                Hit::timer(EventKind::TimewaitTimer, TimerStep::Start),
            ),
            (
                Mechanism::PolledTimers,
                Hit::timer(EventKind::TimewaitTimer, TimerStep::Start),
            ),
        ] {
            assert!(!silence.needs_causes(both(mechanism), &hits(&[(kind, 1)])));
        }
        assert!(!silence.needs_causes(both(Mechanism::Missing("not asked")), &NO_HITS));
    }

    #[test]
    fn what_the_kernel_counts_as_skipped_is_no_contradiction() {
        let mut silence = HookWatchdog::default();
        let mut overflows = 50;
        for round in 0..8 {
            skip_timewaits(&mut silence, ENOUGH << round);
            // A tenth was counted a moment before it happened, and before the kernel was asked.
            overflows += (ENOUGH << round) * 9 / 10;
            assert_eq!(
                judge(&mut silence, &NO_HITS, &excused(overflows, 0)),
                None,
                "{round}"
            );
        }
    }

    #[test]
    fn what_happened_before_the_kernel_was_asked_is_no_contradiction() {
        let mut silence = HookWatchdog::default();
        skip_timewaits(&mut silence, ENOUGH);
        let asked = Nanos(1_000);
        let verdict = silence.judge(both(Mechanism::Timers), &NO_HITS, &excused(500, 0), asked);
        assert_eq!(verdict, None);
        // A reader that was kept waiting: the kernel had counted all of these.
        for _ in 0..500 {
            silence.timewait_skipped(HERE, asked);
        }
        assert!(!silence.needs_causes(both(Mechanism::Timers), &NO_HITS));
    }

    #[test]
    fn every_false_alarm_makes_the_next_verdict_rarer() {
        let mut silence = HookWatchdog::default();
        let mut overflows = 0;
        let mut judged = 0;
        for _ in 0..ENOUGH * 1_000 {
            silence.timewait_skipped(HERE, LATER);
            overflows += 1;
            if silence.needs_causes(both(Mechanism::Timers), &NO_HITS) {
                judged += 1;
                let verdict = silence.judge(
                    both(Mechanism::Timers),
                    &NO_HITS,
                    &excused(overflows, 0),
                    Nanos(0),
                );
                assert_eq!(verdict, None);
            }
        }
        assert_eq!(judged, 10);
    }

    #[test]
    fn a_namespace_that_is_gone_is_no_witness() {
        let mut silence = HookWatchdog::default();
        for netns in 0..10_000 {
            for _ in 0..ENOUGH {
                silence.timewait_skipped(netns, LATER);
            }
            if silence.needs_causes(both(Mechanism::Fentry), &NO_HITS) {
                assert_eq!(judge(&mut silence, &NO_HITS, &HashMap::new()), None);
            }
        }
        assert!(silence.timewaits.seen.len() <= NAMESPACES);
    }

    #[test]
    fn timewait_socks_that_never_end_are_found_out_when_all_must_have() {
        let mut silence = HookWatchdog::default();
        let none = HashMap::new();
        let began = hits(&[(Hit::of(EventKind::TimewaitStart), ENOUGH)]);
        let mut at =
            |hits: &Hits, secs| silence.judge(both(Mechanism::Fentry), hits, &none, Nanos::from_secs(secs));
        assert_eq!(at(&began, 10), None);
        assert_eq!(at(&began, 189), None);
        assert_eq!(at(&began, 190), Some(Feature::Timewait));
        let with_end = hits(&[
            (Hit::of(EventKind::TimewaitStart), ENOUGH),
            (Hit::of(EventKind::TimewaitEnd), 1),
        ]);
        assert_eq!(at(&with_end, 400), None);
    }
}
