//! What rules evaluate: every socket, its holders, the settings and counters of network namespaces, and what happened while it was
//! watched. Plain data, from a snapshot, a watch or a recording.

mod netns;

pub use netns::{Configured, Netns};

use super::{Figure as _, history::History};
use crate::{
    event::{Age, Endpoints, Nanos, ProcessKey, TcpState},
    socket::{
        Flow, Networks, SockKind,
        network::{Network, PortRange},
        patience::{self, End},
    },
    unseen::Unseen,
};
use hashbrown::{HashMap, HashSet};
use std::cmp::Reverse;

/// One moment, and the time that led to it.
#[derive(Debug, Default)]
pub struct Scene {
    /// How long was watched; zero for one look.
    pub watched: Nanos,
    /// The selected sockets, and all listeners.
    pub sockets: Vec<Socket>,
    /// What the network does to those of which it is known and worth keeping; empty of a recording.
    pub networks: Networks,
    /// `IP_LOCAL_PORT_RANGE` by cookie, of sockets on which it is known to be set.
    pub port_ranges: HashMap<u64, PortRange>,
    /// Those who own them.
    pub processes: Vec<Process>,
    /// The network namespaces, in order of their inode numbers.
    pub namespaces: Vec<Netns>,
    /// What happened meanwhile.
    pub history: History,
    /// What the host's files of sysctl.conf(5) set.
    pub configured: Vec<Configured>,
    /// Age from which a CLOSE_WAIT is a leak, if given (`--older-than`).
    pub older_than: Option<Nanos>,
    /// What could not be seen, of what was requested.
    pub unseen: Vec<Unseen>,
    /// Whether it comes from a recording, which has no queues, descriptors, settings and counters.
    pub is_recorded: bool,
    /// What the filter selects; `None` without a filter.
    pub asked: Option<Asked>,
    /// Possible locations of sockets that no process has open; searched if there are leaked ones.
    pub in_flight: Vec<InFlight>,
}

/// What a filter asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The processes that it wants; `None` where it wants all.
    pub processes: Option<HashSet<ProcessKey>>,
    /// Whether that is less than whole network namespaces.
    pub is_part: bool,
    /// Changes of state that it let pass while it was watched.
    pub changes: u64,
}

/// A socket as rules see it: from a snapshot, or from the connection table.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Whether the filter selects it: other listeners are included as context.
    pub is_asked_for: bool,
    /// The kernel's socket cookie; 0 if it has none.
    pub cookie: u64,
    /// The local and remote endpoint.
    pub endpoints: Endpoints,
    /// Network namespace.
    pub netns: u32,
    /// Full, timewait or request.
    pub kind: SockKind,
    /// The state; CLOSE if it was reset and is still open.
    pub state: TcpState,
    /// How long it has been in it, where that is known.
    pub age: Option<Age>,
    /// How long ago the last segment came from the peer, at least, where that is known.
    pub quiet: Option<Nanos>,
    /// The owner and its evidence; `None` if unknown.
    pub owner: Option<Owner>,
    /// The descriptors that its owner has for it.
    pub fds: Vec<u32>,
    /// Bytes that the program has not read, a FIN among them; for a listener, connections that wait for `accept`.
    pub unread: Option<u32>,
    /// Bytes that the peer has not acknowledged; for a listener, the limit of the queue.
    pub unsent: Option<u32>,
    /// Whether no process has it open; `None` where that is not known.
    pub is_orphan: Option<bool>,
    /// Whether the kernel made it for itself.
    pub is_kernel_socket: bool,
    /// What else is known of its traffic.
    pub flow: Flow,
    /// The other end, where it is on this host.
    pub peer: Option<Peer>,
    /// Other processes that have it open too, of those in CLOSE_WAIT; places in [`Scene::processes`].
    pub sharers: Vec<usize>,
    /// Who listens where it came in, where that is another program and nobody who has the socket; a place in
    /// [`Scene::processes`]. Known of those in CLOSE_WAIT.
    pub accepted_by: Option<usize>,
    /// Whether a file has it that is no process's descriptor, as far as all were looked at.
    pub is_unheld: bool,
    /// Of a socket that is CLOSE and open: whether its peer had closed it before it was reset. It counts as CLOSE_WAIT,
    /// and its age is since then.
    pub left_close_wait: bool,
    /// The pending error of an open socket in CLOSE, an errno, or 0.
    pub error: u32,
}

impl Socket {
    /// How long it has been in its state, at least; zero where that is not known.
    #[must_use]
    pub fn span(&self) -> Nanos {
        self.age.map_or(Nanos(0), Age::span)
    }

    /// Whether it came to a listener and was accepted; `None` where that is no question or not known.
    #[must_use]
    pub fn accepted(&self) -> Option<bool> {
        let may_wait = self.kind == SockKind::Full
            && !self.is_kernel_socket
            && matches!(self.state, TcpState::Established | TcpState::CloseWait);
        (may_wait).then_some(())?;
        Some(!self.is_orphan?)
    }

    /// Whether both ends are on this machine's loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.endpoints.remote().is_loopback()
    }
}

/// The other end of a connection, on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The state of the peer's socket.
    pub state: TcpState,
    /// Who has it open; the place in [`Scene::processes`].
    pub process: Option<usize>,
    /// Whether it is open: the kernel has not closed it for want of a process.
    pub is_open: bool,
}

impl Peer {
    /// Whether it has only shut down its sending side, and still takes what comes.
    #[must_use]
    pub fn waits(self) -> bool {
        self.is_open && self.state == TcpState::FinWait2
    }
}

/// Who owns a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its place in [`Scene::processes`].
    pub process: usize,
    /// Whether it only owns the listener.
    pub is_guess: bool,
}

/// A process that owns sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Thread group and start time.
    pub key: ProcessKey,
    /// Name of the process.
    pub comm: String,
    /// Its descriptors, where they were counted.
    pub descriptors: Option<Descriptors>,
}

/// A process's file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// How many are open.
    pub used: u64,
    /// How many may be: the soft `RLIMIT_NOFILE`.
    pub limit: u64,
}

impl Descriptors {
    /// The share in use, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        self.used.figure() / self.limit.max(1).figure()
    }

    /// Whether more than four of five are in use.
    #[must_use]
    pub fn is_nearly_all(self) -> bool {
        self.share() > 0.8
    }
}

/// A descriptor through which sockets are kept open that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// PID of the process that has the Unix socket or io_uring.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// Its descriptor in that process.
    pub fd: u32,
    /// What it is.
    pub carrier: Carrier,
}

/// What keeps sockets open without a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A Unix socket with messages that have files, of whatever kind.
    Queue {
        /// Number of files in the queue.
        files: u64,
    },
    /// An io_uring with registered files.
    Ring {
        /// Number of the searched sockets in it.
        sockets: usize,
    },
}

impl std::fmt::Display for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pid,
            comm,
            fd,
            carrier,
        } = self;
        match carrier {
            Carrier::Queue { files } => write!(
                f,
                "{comm} ({pid}) has {files} files queued in its Unix socket, descriptor {fd}"
            ),
            Carrier::Ring { sockets } => {
                write!(
                    f,
                    "{comm} ({pid}) has {sockets} of them in its io_uring, descriptor {fd}"
                )
            }
        }
    }
}

impl Scene {
    /// The settings and counters of a namespace, where they were read.
    #[must_use]
    pub fn namespace(&self, netns: u32) -> Option<&Netns> {
        let at = self
            .namespaces
            .binary_search_by_key(&netns, |namespace| namespace.netns)
            .ok()?;
        self.namespaces.get(at)
    }

    /// What the network does to a socket, where that is known and worth keeping.
    #[must_use]
    pub fn network(&self, socket: &Socket) -> Option<&Network> {
        self.networks.get(&socket.cookie)
    }

    /// When the kernel gives up the peer of a socket, if it stays silent and what decides is known.
    #[must_use]
    pub fn end(&self, socket: &Socket) -> Option<End> {
        let limits = self.namespace(socket.netns)?.limits();
        patience::end(self.network(socket)?, socket.state, socket.is_orphan, &limits)
    }

    /// What a namespace is called.
    #[must_use]
    pub fn netns_subject(&self, netns: u32) -> super::Subject {
        super::Subject::Netns {
            netns,
            name: self.namespace(netns).and_then(|namespace| namespace.name.clone()),
        }
    }

    /// The owner of a socket.
    #[must_use]
    pub fn owner(&self, socket: &Socket) -> Option<&Process> {
        self.processes.get(socket.owner?.process)
    }

    /// A process as the subject of a finding.
    #[must_use]
    pub fn process_subject(&self, key: ProcessKey) -> super::Subject {
        let comm = self
            .processes
            .iter()
            .find(|process| process.key == key)
            .map_or("", |process| &process.comm);
        super::Subject::process(key, comm)
    }

    /// The sockets in one state.
    pub fn in_state(&self, state: TcpState) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| socket.state == state)
    }

    /// The selected sockets.
    pub fn asked_for(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| socket.is_asked_for)
    }

    /// Whether there is anything to evaluate: a socket, or a change, of what was asked for. A whole network namespace can
    /// be evaluated without.
    #[must_use]
    pub fn has_matched(&self) -> bool {
        self.asked
            .as_ref()
            .is_none_or(|asked| !asked.is_part || asked.changes > 0 || self.asked_for().next().is_some())
    }

    /// The ports that are listened on.
    #[must_use]
    pub fn listening(&self) -> HashSet<(u32, u16)> {
        self.in_state(TcpState::Listen)
            .map(|listener| (listener.netns, listener.endpoints.local_port))
            .collect()
    }

    /// Whether a socket came to a listener of this host: `listening` are all of them.
    #[must_use]
    pub fn came_in(socket: &Socket, listening: &HashSet<(u32, u16)>) -> bool {
        listening.contains(&(socket.netns, socket.endpoints.local_port))
    }

    /// The listener with this port; of several the one whose queue is the longest.
    #[must_use]
    pub fn listener(&self, netns: u32, port: u16) -> Option<&Socket> {
        self.in_state(TcpState::Listen)
            .filter(|socket| socket.netns == netns && socket.endpoints.local_port == port)
            .max_by_key(|socket| socket.unread)
    }

    /// A listener as the subject of a finding.
    #[must_use]
    pub fn listener_subject(&self, listener: &Socket) -> super::Subject {
        super::Subject::Listener {
            netns: listener.netns,
            addr: listener.endpoints.local(),
            port: listener.endpoints.local_port,
            comm: self.owner(listener).map(|process| process.comm.clone()),
        }
    }

    /// The `most` processes with the largest amounts, by their places in [`Self::processes`]; the largest first.
    #[must_use]
    pub fn largest<N: Copy + Ord>(&self, amounts: &HashMap<usize, N>, most: usize) -> Vec<(&Process, N)> {
        let mut sorted: Vec<(&usize, &N)> = amounts.iter().collect();
        sorted.sort_by_key(|(at, amount)| (Reverse(**amount), **at));
        let largest = sorted.into_iter().take(most);
        let named = largest.filter_map(|(at, amount)| Some((self.processes.get(*at)?, *amount)));
        named.collect()
    }

    /// Time watched, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        std::time::Duration::from_nanos(self.watched.0).as_secs_f64()
    }
}
