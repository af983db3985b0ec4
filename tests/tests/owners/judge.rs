//! The known owners of a socket, and whether the reported ones agree: a proven owner held the socket, and from the last
//! close on it is the process that closed it; any other owner must be marked as provisional.

use std::{fmt::Write as _, fs, io, net::SocketAddr, time::Duration};
use tcptrace_tests::{
    event::{Event, Owner},
    netns::Netns,
    sockets::{self, Holder, Listed},
    state::State,
    tracer::Tracer,
};

/// Maximum time for the kernel and the tracer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// The only kind of evidence that is not a proof.
const PROVISIONAL: &str = "listener";
/// All kinds of evidence that are proofs.
const PROOFS: [&str; 6] = ["holder", "accept", "connect", "listen", "close", "proc"];

/// A process, by the kernel's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Start since boot in clock ticks: `starttime` of proc_pid_stat(5).
    start_ticks: u64,
    /// Name of the thread group leader.
    pub(crate) comm: String,
}

impl Process {
    /// The running process with this id.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let nonsense = || io::Error::other(format!("not as in proc_pid_stat(5): {stat}"));
        let (head, tail) = stat.rsplit_once(") ").ok_or_else(nonsense)?;
        let (_, comm) = head.split_once('(').ok_or_else(nonsense)?;
        // `starttime` is field 22; the tail begins with field 3.
        let start_ticks = tail.split(' ').nth(19).and_then(|ticks| ticks.parse().ok());
        Ok(Self {
            pid,
            start_ticks: start_ticks.ok_or_else(nonsense)?,
            comm: comm.to_owned(),
        })
    }

    /// The line in which a process reports itself.
    pub(crate) fn to_line(&self) -> String {
        format!("{} {} {}\n", self.pid, self.start_ticks, self.comm)
    }

    /// Parses such a line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.trim_end().splitn(3, ' ');
        Some(Self {
            pid: words.next()?.parse().ok()?,
            start_ticks: words.next()?.parse().ok()?,
            comm: words.next()?.to_owned(),
        })
    }

    /// Whether this is the reported owner.
    pub(crate) fn is(&self, reported: &Owner) -> bool {
        /// `USER_HZ` is 100 on every architecture that is not Alpha.
        const TICK_NS: u64 = 10_000_000;
        self.pid == reported.pid
            && self.start_ticks == reported.start_ns / TICK_NS
            && self.comm == reported.comm
    }
}

/// The known facts about one socket.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Local endpoint first.
    pub(crate) endpoints: (SocketAddr, SocketAddr),
    pub(crate) netns: Netns,
    /// All processes that had it open at any time, under each of their names.
    pub(crate) held_by: Vec<Process>,
    /// All processes that had its listener open; none for a client's socket.
    pub(crate) listened_by: Vec<Process>,
    /// The process that closes it last.
    pub(crate) closed_by: Process,
}

/// All events of a socket to its end; panics if the end is not reported.
pub(crate) fn whole_story(tracer: &Tracer, known: &Known) -> Vec<Event> {
    let story = story_until(tracer, known, State::Close);
    story.unwrap_or_else(|reported| {
        panic!(
            "the end of {:?} is not reported:\n{}",
            known.endpoints,
            text(&reported)
        )
    })
}

/// The events of a socket up to a state; all events so far if it is not reached.
pub(crate) fn story_until(tracer: &Tracer, known: &Known, state: State) -> Result<Vec<Event>, Vec<Event>> {
    let of_it = |events: &[Event]| -> Vec<Event> {
        let its = events.iter().filter(|event| event.endpoints() == known.endpoints);
        its.cloned().collect()
    };
    tracer
        .wait_until(known.netns, TIMEOUT, |events| {
            let its = of_it(events);
            its.iter().any(|event| event.new == state).then_some(its)
        })
        .ok_or_else(|| of_it(&tracer.events(known.netns)))
}

/// Fails if an event has an owner that is known to be wrong.
pub(crate) fn judge(story: &[Event], known: &Known) {
    let mut faults: Vec<String> = Vec::new();
    let mut is_closed = false;
    for event in story {
        is_closed |= matches!(event.new, State::FinWait1 | State::LastAck | State::Close);
        faults.extend(fault(event, known, is_closed).map(|fault| format!("{fault}: {event}")));
    }
    assert!(
        faults.is_empty(),
        "{}\n{known:#?}\n{}",
        faults.join("\n"),
        text(story)
    );
}

/// Whether the owner in the first event into the state is proven.
pub(crate) fn is_settled(story: &[Event], state: State) -> bool {
    let event = story.iter().find(|event| event.new == state);
    event.is_some_and(|event| {
        event
            .owner
            .as_ref()
            .is_some_and(|owner| owner.evidence != PROVISIONAL)
    })
}

fn fault(event: &Event, known: &Known, is_closed: bool) -> Option<String> {
    let Some(owner) = &event.owner else {
        return Some("no owner is reported".to_owned());
    };
    let is_one_of = |processes: &[Process]| processes.iter().any(|process| process.is(owner));
    if owner.evidence == PROVISIONAL {
        if is_closed {
            return Some("provisional after it was closed".to_owned());
        }
        return (!is_one_of(&known.listened_by)).then(|| "not the listener's owner".to_owned());
    }
    if owner.since_ns.is_none_or(|since_ns| since_ns < owner.start_ns) {
        return Some("known before it was there".to_owned());
    }
    if !PROOFS.contains(&owner.evidence.as_str()) {
        return Some(format!("no such evidence: {}", owner.evidence));
    }
    if is_closed && !known.closed_by.is(owner) {
        return Some(format!("it was closed by {:?}", known.closed_by));
    }
    if !is_one_of(&known.held_by) {
        return Some("it never held it".to_owned());
    }
    let stranger = event
        .holders
        .iter()
        .find(|holder| known.held_by.iter().all(|process| process.pid != holder.pid));
    stranger.map(|stranger| format!("{stranger:?} never held it"))
}

/// The socket in a snapshot of its namespace.
pub(crate) fn listed(known: &Known) -> Option<Listed> {
    let listed = sockets::list(known.netns, &[]);
    listed
        .into_iter()
        .find(|socket| socket.endpoints() == known.endpoints)
}

/// Fails if a snapshot does not have exactly these holders, and the owner among them.
pub(crate) fn judge_listed(socket: &Listed, mut holders: Vec<Holder>, known: &Known) {
    let mut reported = socket.holders.clone();
    reported.sort_by_key(|holder| (holder.pid, holder.fd));
    holders.sort_by_key(|holder| (holder.pid, holder.fd));
    assert_eq!(reported, holders, "{socket:?}");
    let owner = socket.owner.as_ref().expect("a socket that is held has an owner");
    assert_eq!(owner.evidence, "holder", "{socket:?}");
    assert!(
        holders.iter().any(|holder| holder.pid == owner.pid)
            && known.held_by.iter().any(|process| process.is(owner)),
        "{socket:?}\n{known:#?}"
    );
}

/// The events, one per line.
pub(crate) fn text(story: &[Event]) -> String {
    let mut text = String::new();
    for event in story {
        writeln!(text, "{event}").expect("a string takes all text");
    }
    text
}
