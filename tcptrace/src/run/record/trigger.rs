//! Saves the flight recorder's ring when a rule of `doctor` has a new finding. Rules are evaluated periodically, over
//! the time since the previous evaluation.

use crate::{
    duty_cycle::DutyCycle,
    event::Nanos,
    filter::Filter,
    findings::{self, Finding, rules::Rule, settings},
    kernel::clock,
    output::doctor,
    run::{
        Failure,
        observe::{Observer, Request},
        session::Session,
    },
    source::sysctl_files,
};
use std::collections::HashSet;

/// From one evaluation to the next, at least: what `doctor` watches where it is not told otherwise.
const WINDOW: Nanos = Nanos::from_secs(10);

/// Evaluating takes at most one part in this many of the time.
const PAUSE: u64 = 100;

/// It fires so often: what it saves stays, and a rule that comes and goes must not fill the disk.
pub(super) const MOST: u32 = 20;

/// Rules that wait for something to be wrong.
pub(super) struct Trigger {
    rules: Vec<&'static Rule>,
    filter: Filter,
    watcher: Observer,
    pace: DutyCycle,
    /// Before this time what it would save has been saved already.
    silent_until: Nanos,
    ring: Nanos,
    /// What the evaluation before found.
    known: HashSet<String>,
    left: u32,
}

pub(super) struct Fired {
    /// A line for each finding that is new.
    pub(super) reasons: Vec<String>,
    /// All of them, as `doctor` words them.
    pub(super) text: String,
    /// How often it may fire after this.
    pub(super) left: u32,
}

impl Trigger {
    /// Waits for findings of these rules; `ring` is the time that the ring keeps.
    pub(super) fn new(rules: Vec<&'static Rule>, ring: Nanos, session: &mut Session) -> Self {
        let filter = Filter::default();
        Self {
            rules,
            watcher: Observer::begin(session, &filter),
            filter,
            pace: DutyCycle::new(WINDOW, PAUSE).not_before(session.started.plus(WINDOW)),
            silent_until: Nanos(0),
            ring,
            known: HashSet::new(),
            left: MOST,
        }
    }

    /// Counts the engine's present batch, and evaluates where that is due. While it was silent, and where all that it finds was there
    /// before, it does not fire.
    pub(super) fn evaluate(&mut self, session: &mut Session) -> Result<Option<Fired>, Failure> {
        self.watcher.count(session);
        let now = clock::monotonic();
        if !self.pace.is_due(now) {
            return Ok(None);
        }
        let cpu = clock::thread_cpu();
        let names = settings::names();
        let request = Request {
            filter: &self.filter,
            sysctls: &names,
            older_than: None,
        };
        let watcher = std::mem::replace(&mut self.watcher, Observer::begin(session, &self.filter));
        let mut scene = watcher.scene(session, &request)?;
        scene.configured = sysctl_files::read();
        self.pace.finished(now, clock::thread_cpu().since(cpu));
        let found = findings::evaluate_by(&self.rules, &scene);
        if now < self.silent_until {
            return Ok(None);
        }
        let known = std::mem::replace(&mut self.known, found.iter().map(identity).collect());
        let new = found.iter().filter(|finding| !known.contains(&identity(finding)));
        let reasons: Vec<String> = new
            .map(|finding| format!("{}: {}: {}", finding.rule, finding.subject, finding.title))
            .collect();
        if reasons.is_empty() {
            return Ok(None);
        }
        self.silent_until = now.plus(self.ring);
        self.left -= 1;
        Ok(Some(Fired {
            reasons,
            text: doctor::text(&found, &scene, session.lost(), &[], true),
            left: self.left,
        }))
    }
}

/// The same thing wrong with the same subject.
fn identity(finding: &Finding) -> String {
    format!("{} {}", finding.rule, finding.subject)
}
