//! Which sockets in CLOSE_WAIT their programs have forgotten: past which age, of which process, growing how fast, until
//! when. Pure.

use super::{
    scene::{Process, Scene, Socket},
    slope::Slope,
    verdict::Verdict,
};
use crate::event::{Nanos, ProcessKey, TcpState};
use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A CLOSE_WAIT as old as this is a leak, where nothing better is known.
pub const DEFAULT_THRESHOLD: Nanos = Nanos::from_secs(60);

/// So many of a process's own CLOSE_WAITs must have ended before its habit is known.
const ENOUGH: u64 = 50;

/// What is learned is never less than this.
const LEAST: Nanos = Nanos::from_secs(5);

/// A peer that was heard within this time still takes what the program sends: the connection is half closed, and in
/// use.
const IN_USE: Nanos = Nanos::from_secs(10);

/// From which age on a CLOSE_WAIT is a leak, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// The user has said it.
    Given(Nanos),
    /// Too little is known of the process.
    Default(Nanos),
    /// The process's own habit: ten times what 99 of 100 took, twice the longest, at least five seconds.
    Learned {
        /// The age.
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
        let dwells = scene
            .history
            .by_process
            .get(&process)
            .and_then(|of| of.close_wait_dwells.as_ref());
        match dwells {
            Some(dwells) if process.is_some() && dwells.len() >= ENOUGH => {
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

    /// The age.
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

/// One forgotten socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaked<'a> {
    /// Which.
    pub socket: &'a Socket,
    /// Why.
    pub verdict: Verdict,
}

/// Where growth was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// By counting from second to second.
    Watched,
    /// By the ages of those that are there, of which none has left.
    Ages,
}

/// How fast a process's forgotten sockets become more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Sockets a minute.
    pub per_minute: Slope,
    /// Where it was seen.
    pub basis: Basis,
}

/// Where leaked connections come from, or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// This host's end where it accepted them, else the peer's.
    pub end: SocketAddr,
    /// Whether this host accepted them.
    pub is_accepted: bool,
    /// How many.
    pub count: usize,
    /// The address that most of them are with.
    pub peer: IpAddr,
    /// How many other addresses there are.
    pub other_peers: usize,
}

/// A process and the sockets that it has forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak<'a> {
    /// Whose; `None` where no owner is known.
    pub process: Option<&'a Process>,
    /// The sockets, oldest first; never empty.
    pub sockets: Vec<Leaked<'a>>,
    /// How many more it has in CLOSE_WAIT that are younger.
    pub younger: usize,
    /// From which age on.
    pub threshold: Threshold,
    /// Growth, where it can be told.
    pub growth: Option<Growth>,
    /// Time until it has no descriptor left, at this growth.
    pub exhausted_in: Option<Nanos>,
    /// Where they come from, most first.
    pub endpoints: Vec<Endpoint>,
}

impl Leak<'_> {
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

/// Every process that has forgotten sockets, the one with most first.
#[must_use]
pub fn leaks(scene: &Scene) -> Vec<Leak<'_>> {
    let listening = scene.listening();
    let mut by_process: HashMap<Option<usize>, Vec<&Socket>> = HashMap::new();
    for socket in scene.in_state(TcpState::CloseWait) {
        if !socket.is_kernel_socket {
            let process = socket.owner.map(|owner| owner.process);
            by_process.entry(process).or_default().push(socket);
        }
    }
    let mut leaks: Vec<Leak<'_>> = by_process
        .into_iter()
        .filter_map(|(process, sockets)| {
            let process = process.and_then(|at| scene.processes.get(at));
            leak(scene, process, &sockets, &listening)
        })
        .collect();
    leaks.sort_by_key(|leak| {
        let pid = leak.process.map(|process| process.key.pid);
        (Reverse(leak.sockets.len()), Reverse(leak.oldest()), pid)
    });
    leaks
}

fn leak<'a>(
    scene: &Scene,
    process: Option<&'a Process>,
    all: &[&'a Socket],
    listening: &HashSet<(u32, u16)>,
) -> Option<Leak<'a>> {
    let threshold = Threshold::of(scene, process.map(|process| process.key));
    let mut sockets: Vec<Leaked<'a>> = all
        .iter()
        .filter(|socket| is_forgotten(socket, threshold.age()))
        .map(|socket| Leaked {
            socket,
            verdict: Verdict::of(socket.unread, socket.accepted()),
        })
        .collect();
    if sockets.is_empty() {
        return None;
    }
    sockets.sort_by_key(|leaked| (Reverse(leaked.socket.span()), leaked.socket.cookie));
    let growth = growth(scene, process, &sockets);
    let endpoints = endpoints(&sockets, listening);
    Some(Leak {
        process,
        younger: all.len() - sockets.len(),
        threshold,
        growth,
        exhausted_in: exhausted_in(process, &sockets, growth),
        endpoints,
        sockets,
    })
}

fn is_forgotten(socket: &Socket, threshold: Nanos) -> bool {
    let is_in_use = socket.quiet.is_some_and(|quiet| quiet < IN_USE.min(threshold));
    socket.span() >= threshold && !is_in_use
}

/// By counting, where the count is sure to a quarter; else by the ages of those that are there.
fn growth(scene: &Scene, process: Option<&Process>, sockets: &[Leaked<'_>]) -> Option<Growth> {
    let watched = scene
        .history
        .of_process(process?.key)
        .and_then(|of| of.close_wait.per_minute())
        .map(|per_minute| Growth {
            per_minute,
            basis: Basis::Watched,
        });
    let is_sure = |growth: &Growth| growth.per_minute.error <= growth.per_minute.per_unit.abs() / 4.0;
    if let Some(watched) = watched.filter(is_sure) {
        return Some(watched);
    }
    // Oldest first: the n-th came when n were there.
    let points: Vec<(f64, f64)> = sockets
        .iter()
        .zip(0_u32..)
        .map(|(leaked, index)| (-minutes(leaked.socket.span()), f64::from(index)))
        .collect();
    let by_ages = Slope::through(&points).map(|per_minute| Growth {
        per_minute,
        basis: Basis::Ages,
    });
    by_ages.or(watched)
}

/// A connection that was never accepted takes no descriptor.
fn exhausted_in(process: Option<&Process>, sockets: &[Leaked<'_>], growth: Option<Growth>) -> Option<Nanos> {
    let slope = growth?.per_minute;
    let held = sockets
        .iter()
        .filter(|leaked| leaked.verdict != Verdict::NeverAccepted)
        .count();
    let descriptors = process?.descriptors?;
    if !slope.is_rising() || held * 2 < sockets.len() {
        return None;
    }
    let free = super::Figure::figure(descriptors.limit.saturating_sub(descriptors.used));
    let left = Duration::try_from_secs_f64(free / slope.per_unit * 60.0).ok()?;
    Some(Nanos(u64::try_from(left.as_nanos()).ok()?))
}

fn minutes(span: Nanos) -> f64 {
    Duration::from_nanos(span.0).as_secs_f64() / 60.0
}

fn endpoints(sockets: &[Leaked<'_>], listening: &HashSet<(u32, u16)>) -> Vec<Endpoint> {
    let mut by_end: HashMap<(SocketAddr, bool), HashMap<IpAddr, usize>> = HashMap::new();
    for Leaked { socket, .. } in sockets {
        let ends = &socket.ends;
        let is_accepted = listening.contains(&(socket.netns, ends.local_port));
        let end = if is_accepted {
            SocketAddr::new(ends.local(), ends.local_port)
        } else {
            SocketAddr::new(ends.remote(), ends.remote_port)
        };
        let peers = by_end.entry((end, is_accepted)).or_default();
        *peers.entry(ends.remote()).or_default() += 1;
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
