//! The states that a script led a connection through, and the comparison with a tracer's events: states in order, times
//! within the script's moments, dwell times, reason, endpoints, owner.

use crate::{clock::Moment, event::Event, state::State};
use std::{
    fmt::{self, Write as _},
    fs, io,
    net::SocketAddr,
    time::Duration,
};

/// Maximum distance of a reported time from the script's moment.
pub const SLACK: Duration = Duration::from_millis(5);

/// One connection, or one listener, of a script.
#[derive(Clone, Debug)]
pub struct Path {
    /// The name in failures.
    pub name: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// CLOSE for a socket that the script made, LISTEN for a child.
    pub start: State,
    pub steps: Vec<Step>,
    pub maker: Maker,
}

/// One transition of a path.
#[derive(Clone, Debug)]
pub struct Step {
    pub state: State,
    pub moment: Moment,
    /// The reason, if it ended the connection, and the error in parentheses, if there is one.
    pub reason: Option<&'static str>,
    /// The kernel passes through the state without stopping, so that its event is optional.
    pub fleeting: bool,
}

/// The process that opened a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    pub pid: u32,
    /// Name of the thread group leader.
    pub comm: String,
}

impl Maker {
    /// The running process with this id.
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
    /// Never empty.
    pub events: Vec<&'a Event>,
}

/// Compares the script with all events in its namespace: each transition must be reported, and no other.
pub fn compare(paths: &[Path], events: &[Event]) -> Result<(), Mismatch> {
    let mut stories = stories(events);
    let mut faults = Vec::new();
    for path in paths {
        let position = stories
            .iter()
            .position(|story| story.endpoints() == (path.local, path.remote));
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
        let (local, remote) = story.endpoints();
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

/// Groups events by connection: by cookie and incarnation, or by endpoints if there is no cookie.
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
    /// Both endpoints of the last event: `connect` binds the local port late.
    #[must_use]
    pub fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        self.last().endpoints()
    }

    /// The cookie, 0 if no event has one.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.events
            .iter()
            .map(|event| event.cookie)
            .find(|cookie| *cookie != 0)
            .unwrap_or(0)
    }

    /// The states, beginning with the one before the first event.
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

    /// Whether the event is the same connection's next, if one of the two has no cookie.
    fn continues_with(&self, event: &Event) -> bool {
        (event.cookie == 0 || self.cookie() == 0)
            && self.endpoints() == event.endpoints()
            && self.last().new == event.old
            && self.last().new != State::Close
    }
}

impl Path {
    /// All differences from the story.
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
                    "{} -> {} reported for {old} -> {}",
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
                .map(|step| format!("-> {} was not reported", step.state)),
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
                "{transition} is reported as {} {}'s",
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
                "{transition} reported {early} ns too early or {late} ns too late"
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
        let reason = event.reason_and_error();
        if reason.as_deref() != self.reason {
            faults.push(format!(
                "{transition} because {reason:?}, played {:?}",
                self.reason
            ));
        }
        faults
    }
}

/// The differences, the script's transitions and the events.
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
        writeln!(f, "reported:")?;
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
            netns: Some(1),
            old,
            new,
            dwell_ns: Some(dwell_ms * MILLISECOND),
            dwell_exact: true,
            reason: None,
            error: None,
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
            reset_reason: None,
            retransmits_total: None,
            rtt_ns: None,
            fast_open: false,
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
    fn a_fleeting_state_is_optional() {
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
        let reported = |dwell_ms| {
            [
                event(7, State::Listen, State::SynRecv, 100, 0),
                event(7, State::SynRecv, State::Established, 200, dwell_ms),
            ]
        };
        compare(std::slice::from_ref(&played), &reported(105)).unwrap();
        compare(&[played], &reported(106)).unwrap_err();
    }

    #[test]
    fn an_unexpected_event_is_a_fault() {
        let reported = [event(7, State::Listen, State::SynRecv, 100, 0)];
        compare(&[], &reported).unwrap_err();
    }
}
