//! Leaked sockets in CLOSE_WAIT: their threshold, process, growth, and the time until descriptors run out. Pure.

use super::{
    ages::Ages,
    growth::Growth,
    history::{CLOSE_WAITS, SETTLED},
    scene::{InFlight, Process, Scene, Socket},
    verdict::Verdict,
};
use crate::{
    connection::sides::Sides,
    event::{Age, Nanos, ProcessKey, TcpState},
};
use hashbrown::{HashMap, HashSet};
use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
};

/// A CLOSE_WAIT as old as this is a leak, where nothing better is known.
pub const DEFAULT_THRESHOLD: Nanos = Nanos::from_secs(60);

/// Number of a process's own CLOSE_WAITs that must have ended before a threshold is learned.
const ENOUGH: u64 = 50;

/// What is learned is never less than this.
const LEAST: Nanos = Nanos::from_secs(5);

/// A program that has sent something within this time, to a peer that was heard within it, still uses its half.
const IN_USE: Nanos = Nanos::from_secs(10);

/// Number of other holders that are named.
const SHARERS: usize = 4;

/// From this number on, sockets of a process that were reset in CLOSE_WAIT at an unknown time count as leaked.
const UNDATED: usize = 10;

/// From which age on a CLOSE_WAIT is a leak, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Given by the user (`--older-than`).
    Given(Nanos),
    /// Too little is known of the process.
    Default(Nanos),
    /// Learned: ten times the 99th percentile of the process, twice the longest, at least five seconds.
    Learned {
        /// The threshold derived from the finished stays.
        threshold: Nanos,
        /// How many have ended.
        finished: u64,
        /// The longest of them.
        longest: Nanos,
    },
}

impl Threshold {
    /// The threshold of a process.
    #[must_use]
    pub fn of(scene: &Scene, process: Option<ProcessKey>) -> Self {
        if let Some(given) = scene.older_than {
            return Self::Given(given);
        }
        let (measure, kind) = CLOSE_WAITS;
        let dwells = scene.history.by_process.get(&process);
        let dwells = dwells.map(|of| &of.close_wait_dwells);
        match dwells {
            Some(dwells) if process.is_some() && dwells.count(measure, kind) >= ENOUGH => {
                let dwells = dwells.histogram(measure, kind);
                let habit = dwells.value_at_quantile(0.99).saturating_mul(10);
                let threshold = habit.max(dwells.max().saturating_mul(2)).max(LEAST.0);
                Self::Learned {
                    threshold: Nanos(threshold),
                    finished: dwells.len(),
                    longest: Nanos(dwells.max()),
                }
            }
            Some(_) | None => Self::Default(DEFAULT_THRESHOLD),
        }
    }

    /// The age from which a CLOSE_WAIT counts as leaked.
    #[must_use]
    pub const fn age(self) -> Nanos {
        match self {
            Self::Given(threshold) | Self::Default(threshold) | Self::Learned { threshold, .. } => threshold,
        }
    }

    /// The word in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Given(_) => "given",
            Self::Default(_) => "default",
            Self::Learned { .. } => "learned",
        }
    }
}

/// A leaked socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaked<'a> {
    /// The socket in CLOSE_WAIT, or reset in it.
    pub socket: &'a Socket,
    /// Why it is in that state.
    pub verdict: Verdict,
}

/// Where leaked connections come from, or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// This host's end where it accepted them, else the peer's.
    pub end: SocketAddr,
    /// Whether this host accepted them.
    pub is_accepted: bool,
    /// Number of leaked sockets.
    pub count: usize,
    /// The address that most of them are with.
    pub peer: IpAddr,
    /// How many other addresses there are.
    pub other_peers: usize,
}

/// A process and its leaked sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak<'a> {
    /// Whose; `None` where no owner is known.
    pub process: Option<&'a Process>,
    /// Whether it is a guess: the process owns their listener, and none has them open.
    pub is_guess: bool,
    /// Other processes that have some of them open too, those with most first.
    pub sharers: Vec<&'a Process>,
    /// Who has accepted those that were inherited.
    pub accepted_by: Option<&'a Process>,
    /// The sockets, oldest first; never empty.
    pub sockets: Vec<Leaked<'a>>,
    /// How many more it has in CLOSE_WAIT that are younger.
    pub younger: usize,
    /// From which age on.
    pub threshold: Threshold,
    /// Growth, if it can be determined.
    pub growth: Option<Growth>,
    /// Time until it has no descriptor left, at this growth.
    pub exhausted_in: Option<Nanos>,
    /// Where they come from, most first.
    pub endpoints: Vec<Endpoint>,
    /// Where those may be that no process has open.
    pub in_flight: &'a [InFlight],
}

impl Leak<'_> {
    /// Whether most of them were accepted.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let count = |is_accepted: bool| -> usize {
            let of = self.endpoints.iter().filter(|of| of.is_accepted == is_accepted);
            of.map(|endpoint| endpoint.count).sum()
        };
        count(true) > count(false)
    }

    /// Names the processes that also have them open; `None` if there are none.
    #[must_use]
    pub fn shared(&self) -> Option<String> {
        let named: Vec<String> = self
            .sharers
            .iter()
            .take(SHARERS)
            .map(|process| format!("{} ({})", process.comm, process.key.pid))
            .collect();
        let more = match self.sharers.len().checked_sub(SHARERS) {
            Some(more @ 1..) => format!(" and {more} more"),
            Some(0) | None => String::new(),
        };
        (!named.is_empty()).then(|| format!("also open in {}{more}", named.join(", ")))
    }

    /// How many were reset in CLOSE_WAIT, and are CLOSE.
    #[must_use]
    pub fn reset(&self) -> usize {
        self.sockets
            .iter()
            .filter(|leaked| leaked.verdict == Verdict::Reset)
            .count()
    }

    /// The process as the subject of a finding.
    #[must_use]
    pub fn subject(&self) -> super::Subject {
        self.process
            .map_or(super::Subject::Host, |process| super::Subject::Process {
                is_guess: self.is_guess,
                pid: process.key.pid,
                start_ns: process.key.start_ns,
                comm: process.comm.clone(),
            })
    }

    /// How old the oldest is, at least.
    #[must_use]
    pub fn oldest(&self) -> Nanos {
        self.sockets
            .first()
            .map_or(Nanos(0), |leaked| leaked.socket.span())
    }

    /// How many have each verdict, most first.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Verdict, usize)> {
        let count = |verdict: Verdict| {
            self.sockets
                .iter()
                .filter(|leaked| leaked.verdict == verdict)
                .count()
        };
        let mut counts: Vec<(Verdict, usize)> = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, count(verdict)))
            .filter(|(_, count)| *count > 0)
            .collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        counts
    }
}

/// The sockets of one process that its peers have closed.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Whose; `None` where no owner is known.
    pub(super) process: Option<&'a Process>,
    /// Whether it is only known to own their listener, though they were accepted.
    pub(super) is_guess: bool,
    /// Those in CLOSE_WAIT, and those that were reset in it and are open.
    pub(super) sockets: Vec<&'a Socket>,
    /// The age from which they count as leaked.
    pub(super) threshold: Threshold,
}

/// Every process with sockets that their peers have closed, in any order.
pub(super) fn groups(scene: &Scene) -> Vec<Group<'_>> {
    let mut by_owner: HashMap<(Option<usize>, bool), Vec<&Socket>> = HashMap::new();
    for socket in &scene.sockets {
        let is_closed = socket.state == TcpState::Close && socket.left_close_wait;
        if (socket.state == TcpState::CloseWait || is_closed) && !socket.is_kernel_socket {
            let process = socket.owner.map(|owner| owner.process);
            let is_guess = socket.owner.is_some_and(|owner| owner.is_guess);
            let key = (process, is_guess && socket.accepted() != Some(false));
            by_owner.entry(key).or_default().push(socket);
        }
    }
    by_owner
        .into_iter()
        .map(|((process, is_guess), sockets)| {
            let process = process.and_then(|at| scene.processes.get(at));
            Group {
                process,
                is_guess,
                sockets,
                threshold: Threshold::of(scene, process.map(|process| process.key)),
            }
        })
        .collect()
}

/// Every process with leaked sockets, the one with most first.
#[must_use]
pub fn leaks(scene: &Scene) -> Vec<Leak<'_>> {
    let listening = scene.listening();
    let mut leaks: Vec<Leak<'_>> = groups(scene)
        .iter()
        .filter_map(|group| leak(scene, group, &listening))
        .collect();
    leaks.sort_by_key(|leak| {
        let pid = leak.process.map(|process| process.key.pid);
        (
            Reverse(leak.sockets.len()),
            Reverse(leak.oldest()),
            pid,
            leak.is_guess,
        )
    });
    leaks
}

fn leak<'a>(scene: &'a Scene, group: &Group<'a>, listening: &HashSet<(u32, u16)>) -> Option<Leak<'a>> {
    let Group {
        process, threshold, ..
    } = *group;
    let undated = group.sockets.iter().filter(|socket| is_undated(socket)).count();
    let mut sockets: Vec<Leaked<'a>> = group
        .sockets
        .iter()
        .filter(|socket| {
            is_old(socket, threshold.age())
                || (is_undated(socket) && (undated >= UNDATED || socket.span() >= LEAST))
        })
        .map(|socket| Leaked {
            socket,
            verdict: Verdict::on(socket, Scene::came_in(socket, listening)),
        })
        .filter(|leaked| leaked.verdict.is_leaked())
        .collect();
    if sockets.is_empty() {
        return None;
    }
    sockets.sort_by_key(|leaked| (Reverse(leaked.socket.span()), leaked.socket.cookie));
    let growth = growth(scene, group);
    let endpoints = endpoints(&sockets, listening);
    let is_younger =
        |socket: &&&Socket| socket.state == TcpState::CloseWait && socket.span() < threshold.age();
    let is_in_flight = sockets.iter().any(|leaked| leaked.verdict == Verdict::NoHolder);
    let accepted_by = sockets
        .iter()
        .filter(|leaked| leaked.verdict == Verdict::Inherited)
        .find_map(|leaked| scene.processes.get(leaked.socket.accepted_by?));
    Some(Leak {
        sharers: sharers(scene, &sockets),
        accepted_by,
        in_flight: if is_in_flight { &scene.in_flight } else { &[] },
        process,
        is_guess: group.is_guess,
        younger: group.sockets.iter().filter(is_younger).count(),
        threshold,
        growth,
        exhausted_in: exhausted_in(process, &sockets, growth),
        endpoints,
        sockets,
    })
}

fn sharers<'a>(scene: &'a Scene, sockets: &[Leaked<'_>]) -> Vec<&'a Process> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for process in sockets.iter().flat_map(|leaked| &leaked.socket.sharers) {
        *counts.entry(*process).or_default() += 1;
    }
    let mut sharers: Vec<(usize, &Process)> = counts
        .into_iter()
        .filter_map(|(at, count)| Some((count, scene.processes.get(at)?)))
        .collect();
    sharers.sort_by_key(|(count, process)| (Reverse(*count), process.key.pid));
    sharers.into_iter().map(|(_, process)| process).collect()
}

/// Past the threshold, and not in use.
fn is_old(socket: &Socket, threshold: Nanos) -> bool {
    socket.span() >= threshold && !is_in_use(socket, threshold)
}

/// A program that still sends what its peer takes has not forgotten its half. What the peer's kernel answers to probes
/// is no use.
pub(super) fn is_in_use(socket: &Socket, threshold: Nanos) -> bool {
    let limit = IN_USE.min(threshold);
    let is_heard = socket.quiet.is_some_and(|quiet| quiet < limit);
    let sent = socket.flow.sent_ms.map(|ms| Nanos::from_millis(ms.into()));
    is_heard && sent.is_none_or(|sent| sent < limit)
}

/// In CLOSE since before the watch.
fn is_undated(socket: &Socket) -> bool {
    socket.state == TcpState::Close && !socket.age.is_some_and(Age::is_exact)
}

fn growth(scene: &Scene, group: &Group<'_>) -> Option<Growth> {
    let threshold = group.threshold.age();
    // Of those that are CLOSE the counts know nothing: as long as they are open, they are as good as in CLOSE_WAIT.
    let left: Vec<Nanos> = group
        .sockets
        .iter()
        .filter(|socket| socket.state == TcpState::Close)
        .filter_map(|socket| scene.history.ended(socket.cookie, Nanos(0))?.left_close_wait)
        .collect();
    let counted = group
        .process
        .filter(|_| !group.is_guess)
        .and_then(|process| scene.history.of_process(process.key))
        .map(|of| of.close_wait.with(&left));
    let spans = group.sockets.iter().map(|socket| socket.span());
    let ages = Ages::new(
        spans.clone().filter(|span| *span >= threshold),
        spans.filter(|span| *span < threshold),
        threshold,
        SETTLED,
    );
    Growth::of(counted.as_ref(), &ages)
}

/// A connection that was never accepted takes no descriptor.
fn exhausted_in(process: Option<&Process>, sockets: &[Leaked<'_>], growth: Option<Growth>) -> Option<Nanos> {
    let held = sockets
        .iter()
        .filter(|leaked| leaked.verdict != Verdict::NeverAccepted)
        .count();
    if held * 2 < sockets.len() {
        return None;
    }
    growth?.exhausts(process?.descriptors?)
}

fn endpoints(sockets: &[Leaked<'_>], listening: &HashSet<(u32, u16)>) -> Vec<Endpoint> {
    // Where a listener was closed before its connections, their ports show it.
    let sides = Sides::of(
        sockets
            .iter()
            .map(|leaked| (leaked.socket.netns, &leaked.socket.endpoints)),
    );
    let mut by_end: HashMap<(SocketAddr, bool), HashMap<IpAddr, usize>> = HashMap::new();
    for Leaked { socket, .. } in sockets {
        let endpoints = &socket.endpoints;
        let is_accepted = listening.contains(&(socket.netns, endpoints.local_port))
            || sides.is_server(socket.netns, endpoints);
        let end = if is_accepted {
            SocketAddr::new(endpoints.local(), endpoints.local_port)
        } else {
            SocketAddr::new(endpoints.remote(), endpoints.remote_port)
        };
        let peers = by_end.entry((end, is_accepted)).or_default();
        *peers.entry(endpoints.remote()).or_default() += 1;
    }
    let mut endpoints: Vec<Endpoint> = by_end
        .into_iter()
        .filter_map(|((end, is_accepted), peers)| {
            let (peer, _) = peers
                .iter()
                .max_by_key(|(addr, count)| (**count, Reverse(**addr)))?;
            Some(Endpoint {
                end,
                is_accepted,
                count: peers.values().sum(),
                peer: *peer,
                other_peers: peers.len() - 1,
            })
        })
        .collect();
    endpoints.sort_by_key(|endpoint| (Reverse(endpoint.count), endpoint.end));
    endpoints
}

#[cfg(test)]
mod tests;
