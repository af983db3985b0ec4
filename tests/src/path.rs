//! What a script made a connection go through, and whether a tracer's events tell the same: states in order,
//! the time of each within the script's own moments, dwell times, reason, ends, owner.

use crate::{clock::Moment, event::Event, state::State};
use std::{
    fmt::{self, Write as _},
    fs, io,
    net::SocketAddr,
    time::Duration,
};

/// How far a reported time may lie outside the script's own.
pub const SLACK: Duration = Duration::from_millis(5);

/// One connection, or one listener, as it was played.
#[derive(Clone, Debug)]
pub struct Path {
    /// What to call it in a failure.
    pub name: String,
    /// The end on this host.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// CLOSE for a socket of its own, LISTEN for a child.
    pub start: State,
    /// The transitions.
    pub steps: Vec<Step>,
    /// Whose socket it is.
    pub maker: Maker,
}

/// One transition of a path.
#[derive(Clone, Debug)]
pub struct Step {
    /// The state entered.
    pub state: State,
    /// When.
    pub moment: Moment,
    /// Why, where it ended the connection.
    pub reason: Option<&'static str>,
    /// The kernel passes the state without stopping: it may be told or left out.
    pub fleeting: bool,
}

/// The process that made a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// Process id.
    pub pid: u32,
    /// Name of its leading thread.
    pub comm: String,
}

impl Maker {
    /// The process of this id, which still runs.
    pub fn of(pid: u32) -> io::Result<Self> {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        Ok(Self {
            pid,
            comm: comm.trim_end().to_owned(),
        })
    }
}

/// The events of one connection, in order.
#[derive(Clone, Debug, Default)]
pub struct Story<'a> {
    /// At least one.
    pub events: Vec<&'a Event>,
}

/// Compares what was played with all that was told in the script's namespace: everything played must be told,
/// and nothing else.
pub fn compare(paths: &[Path], events: &[Event]) -> Result<(), Mismatch> {
    let mut stories = stories(events);
    let mut faults = Vec::new();
    for path in paths {
        let position = stories
            .iter()
            .position(|story| story.ends() == (path.local, path.remote));
        match position {
            Some(position) => faults.extend(
                path.faults(&stories.remove(position))
                    .into_iter()
                    .map(|fault| format!("{}: {fault}", path.name)),
            ),
            None => faults.push(format!(
                "{}: no event of {} {}",
                path.name, path.local, path.remote
            )),
        }
    }
    for story in stories {
        let (local, remote) = story.ends();
        faults.push(format!(
            "never played: {} events of {local} {remote}",
            story.events.len()
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Mismatch {
            faults,
            paths: paths.to_vec(),
            events: events.to_vec(),
        })
    }
}

/// Sorts events into connections: by cookie and incarnation, and by ends where the kernel made no cookie.
#[must_use]
pub fn stories<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Story<'a>> {
    let mut stories: Vec<Story<'a>> = Vec::new();
    for event in events {
        let known = stories.iter().position(|story| story.is_of_socket(event));
        let known = known.or_else(|| stories.iter().rposition(|story| story.continues_with(event)));
        match known {
            Some(index) => stories[index].events.push(event),
            None => stories.push(Story { events: vec![event] }),
        }
    }
    stories
}

impl<'a> Story<'a> {
    /// Both ends: those of the last event, for `connect` learns its own port late.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        self.last().ends()
    }

    /// The cookie, 0 where no event has one.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.events
            .iter()
            .map(|event| event.cookie)
            .find(|cookie| *cookie != 0)
            .unwrap_or(0)
    }

    /// The states, the one before the first event included.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        let first = self.events.first().map(|event| event.old);
        first
            .into_iter()
            .chain(self.events.iter().map(|event| event.new))
            .collect()
    }

    fn last(&self) -> &'a Event {
        self.events.last().expect("a story has events")
    }

    fn is_of_socket(&self, event: &Event) -> bool {
        event.cookie != 0 && self.cookie() == event.cookie && self.last().incarnation == event.incarnation
    }

    /// Whether the event is the same connection's next, where one of the two has no cookie.
    fn continues_with(&self, event: &Event) -> bool {
        (event.cookie == 0 || self.cookie() == 0)
            && self.ends() == event.ends()
            && self.last().new == event.old
            && self.last().new != State::Close
    }
}

impl Path {
    /// Everything in which the story differs.
    fn faults(&self, story: &Story<'_>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut steps = self.steps.iter().peekable();
        let mut before: Option<&Step> = None;
        for event in &story.events {
            while steps
                .next_if(|step| step.fleeting && step.state != event.new)
                .is_some()
            {}
            let Some(step) = steps.next() else {
                faults.push(format!("{} -> {} was not played", event.old, event.new));
                continue;
            };
            let old = before.map_or(self.start, |step| step.state);
            if (event.old, event.new) != (old, step.state) {
                faults.push(format!(
                    "{} -> {} told for {old} -> {}",
                    event.old, event.new, step.state
                ));
                return faults;
            }
            faults.extend(step.faults(before, event));
            faults.extend(self.owner_fault(event));
            faults.extend(self.family_fault(event));
            before = Some(step);
        }
        faults.extend(
            steps
                .filter(|step| !step.fleeting)
                .map(|step| format!("-> {} was not told", step.state)),
        );
        faults
    }
}

impl Path {
    fn owner_fault(&self, event: &Event) -> Option<String> {
        let transition = format!("{} -> {}", event.old, event.new);
        match &event.owner {
            None => Some(format!("{transition} has no owner")),
            Some(owner) if owner.pid != self.maker.pid || owner.comm != self.maker.comm => Some(format!(
                "{transition} is said to be {} {}'s",
                owner.pid, owner.comm
            )),
            Some(_) => None,
        }
    }

    fn family_fault(&self, event: &Event) -> Option<String> {
        let family = if self.local.is_ipv4() { "ipv4" } else { "ipv6" };
        (event.family != family).then(|| format!("{} -> {} is called {}", event.old, event.new, event.family))
    }
}

impl Step {
    fn faults(&self, before: Option<&Self>, event: &Event) -> Vec<String> {
        let mut faults = Vec::new();
        let transition = format!("{} -> {}", event.old, event.new);
        if !self.moment.contains(event.mono_ns, SLACK) {
            let (early, late) = (
                self.moment.earliest_ns.saturating_sub(event.mono_ns),
                event.mono_ns.saturating_sub(self.moment.latest_ns),
            );
            faults.push(format!(
                "{transition} told {early} ns too early or {late} ns too late"
            ));
        }
        if let Some(before) = before {
            let (shortest, longest) = self.moment.distance_ns(before.moment);
            match event.dwell_ns {
                None => faults.push(format!("{transition} has no dwell")),
                Some(dwell) if !self.moment.ends_after(before.moment, dwell, SLACK) => {
                    faults.push(format!(
                        "{transition} after {dwell} ns, played {shortest} to {longest} ns"
                    ));
                }
                Some(_) if !event.dwell_exact => {
                    faults.push(format!("{transition}: the dwell is called inexact"));
                }
                Some(_) => {}
            }
        }
        if event.reason.as_deref() != self.reason {
            faults.push(format!(
                "{transition} because {:?}, played {:?}",
                event.reason, self.reason
            ));
        }
        faults
    }
}

/// What differs, and all that was played and told.
#[derive(Clone, Debug)]
pub struct Mismatch {
    faults: Vec<String>,
    paths: Vec<Path>,
    events: Vec<Event>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        for path in &self.paths {
            writeln!(f, "played {}: {} {}", path.name, path.local, path.remote)?;
            for step in &path.steps {
                let mut line = format!("    {} ns  -> {}", step.moment, step.state);
                if step.fleeting {
                    line.push_str("  (fleeting)");
                }
                if let Some(reason) = step.reason {
                    write!(line, "  {reason}")?;
                }
                writeln!(f, "{line}")?;
            }
        }
        writeln!(f, "told:")?;
        for event in &self.events {
            writeln!(f, "    {event}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{End, Owner};

    const MILLISECOND: u64 = 1_000_000;

    fn event(cookie: u64, old: State, new: State, at_ms: u64, dwell_ms: u64) -> Event {
        Event {
            time: String::new(),
            mono_ns: at_ms * MILLISECOND,
            cookie,
            incarnation: 0,
            family: "ipv4".to_owned(),
            local: End {
                addr: [127, 0, 0, 1].into(),
                port: 80,
            },
            remote: End {
                addr: [127, 0, 0, 1].into(),
                port: 5000,
            },
            netns: 1,
            old,
            new,
            dwell_ns: Some(dwell_ms * MILLISECOND),
            dwell_exact: true,
            reason: None,
            owner: Some(Owner {
                pid: 1,
                start_ns: 0,
                comm: "test".to_owned(),
                evidence: "accept".to_owned(),
                since_ns: None,
            }),
            holders: Vec::new(),
            kernel: false,
            syn_cookie: false,
        }
    }

    fn path(steps: &[(State, u64, bool)]) -> Path {
        let steps = steps.iter().map(|&(state, at_ms, fleeting)| Step {
            state,
            moment: Moment {
                earliest_ns: at_ms * MILLISECOND,
                latest_ns: at_ms * MILLISECOND,
            },
            reason: None,
            fleeting,
        });
        Path {
            name: "it".to_owned(),
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:5000".parse().unwrap(),
            start: State::Listen,
            steps: steps.collect(),
            maker: Maker {
                pid: 1,
                comm: "test".to_owned(),
            },
        }
    }

    #[test]
    fn a_request_without_a_cookie_belongs_to_the_child_that_follows() {
        let events = [
            event(0, State::Listen, State::SynRecv, 100, 0),
            event(7, State::SynRecv, State::Established, 200, 100),
        ];
        assert_eq!(stories(&events).len(), 1);
        let played = path(&[(State::SynRecv, 100, false), (State::Established, 200, false)]);
        compare(&[played], &events).unwrap();
    }

    #[test]
    fn a_fleeting_state_may_be_told_or_not() {
        let played = path(&[
            (State::FinWait1, 100, false),
            (State::FinWait2, 200, true),
            (State::TimeWait, 200, false),
        ]);
        let with = [
            event(7, State::Listen, State::FinWait1, 100, 0),
            event(7, State::FinWait1, State::FinWait2, 200, 100),
            event(7, State::FinWait2, State::TimeWait, 200, 0),
        ];
        let without = [
            event(7, State::Listen, State::FinWait1, 100, 0),
            event(7, State::FinWait1, State::TimeWait, 200, 100),
        ];
        compare(std::slice::from_ref(&played), &with).unwrap();
        compare(&[played], &without).unwrap();
    }

    #[test]
    fn a_dwell_six_milliseconds_off_is_a_fault() {
        let played = path(&[(State::SynRecv, 100, false), (State::Established, 200, false)]);
        let told = |dwell_ms| {
            [
                event(7, State::Listen, State::SynRecv, 100, 0),
                event(7, State::SynRecv, State::Established, 200, dwell_ms),
            ]
        };
        compare(std::slice::from_ref(&played), &told(105)).unwrap();
        compare(&[played], &told(106)).unwrap_err();
    }

    #[test]
    fn an_event_that_was_not_played_is_a_fault() {
        let told = [event(7, State::Listen, State::SynRecv, 100, 0)];
        compare(&[], &told).unwrap_err();
    }
}
