//! What a frame shows, gathered for the view that is open. Immutable until the next frame.

use crate::{
    event::{Nanos, ProcessKey, TcpState},
    findings::{
        Finding, Subject,
        reading::{Queue, SocketEvidence},
        scene::{Descriptors, Netns},
    },
    kernel::clock::ClockPair,
    socket::{network::Network, patience::Limits},
    stats::key::Key,
    view::{View, connections::ConnectionView, endpoints::EndpointView, history::History},
};
use hashbrown::{HashMap, HashSet};
use jiff::tz::TimeZone;

/// Counts or rates by old and new state.
pub(crate) type Matrix<T> = [[T; TcpState::COUNT]; TcpState::COUNT];

/// Where in a recording the picture is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Play {
    /// Wall time of the picture, nanoseconds since 1970.
    pub(crate) wall_ns: u64,
    /// Times as fast as it was.
    pub(crate) speed: f64,
    /// Which of the recordings, from 1.
    pub(crate) number: usize,
    pub(crate) of: usize,
    pub(crate) is_over: bool,
}

/// The content of a frame.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// `uname -n`
    pub(crate) host: String,
    /// `uname -r`
    pub(crate) kernel: String,
    /// Processes and totals.
    pub view: View,
    /// The moment of what was gathered for the view that is open.
    pub(crate) now: Nanos,
    /// Both clocks, for times of day.
    pub(crate) anchor: ClockPair,
    /// The zone of times of day; UTC where there is none.
    pub(crate) zone: Option<TimeZone>,
    /// Changes into each state per second.
    pub(crate) entered: [f64; TcpState::COUNT],
    /// Changes by old and new state since the start.
    pub(crate) changes: Matrix<u64>,
    /// The same per second.
    pub(crate) rates: Matrix<f64>,
    /// What the process may still do, in one line; empty of a recording.
    pub(crate) held: String,
    /// What is wrong, worst first.
    pub(crate) findings: Vec<Finding>,
    /// Rows of the selected connections, unordered.
    pub(crate) connections: Vec<ConnectionView>,
    /// Rows of endpoints, in no order.
    pub(crate) endpoints: Vec<EndpointView>,
    /// The connection whose time line is open; `None` where nothing is known of it any more.
    pub(crate) history: Option<History>,
    /// How long states last, as lines; none where no state has been seen.
    pub(crate) histograms: Vec<String>,
    /// Descriptors of the processes that were seen lately.
    pub(crate) descriptors: HashMap<ProcessKey, Descriptors>,
    /// What waits in sockets, by cookie, as far as anybody has looked.
    pub(crate) queues: HashMap<u64, Queue>,
    /// Cookies of the connections that wait for `accept`, as far as anybody has looked.
    pub(crate) unaccepted: HashSet<u64>,
    /// What the network does to the connection whose time line is open.
    pub(crate) network: Option<ShownNetwork>,
    /// What is known of the sockets for findings.
    pub(crate) evidence: SocketEvidence,
    /// Whether the memory of sockets is so short that it matters who uses it.
    pub(crate) is_memory_short: bool,
    /// How long sockets wait for their peers, by network namespace, where its settings are known.
    pub(crate) limits: HashMap<u32, Limits>,
    /// Local ports that `connect` may choose, by network namespace, where its settings are known.
    pub(crate) ports: HashMap<u32, u64>,
    /// Where a recording is; `None` where this machine is watched.
    pub(crate) play: Option<Play>,
}

/// What the network does to a connection, when it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownNetwork {
    /// Cookie of the connection.
    pub(crate) cookie: u64,
    /// Its state, and whether no process holds it.
    pub(crate) state: TcpState,
    pub(crate) is_orphan: bool,
    pub(crate) network: Network,
    /// When a snapshot of the recording read it; `None` where this machine is watched.
    pub(crate) recorded: Option<Nanos>,
}

impl Content {
    /// The worst finding about a process.
    pub(crate) fn worst(&self, process: Option<ProcessKey>) -> Option<&Finding> {
        let process = process?;
        self.findings
            .iter()
            .find(|found| process_of(found) == Some(process))
    }

    /// The place of a process among the findings; those without come after all others.
    pub(crate) fn rank_of(&self, process: Option<ProcessKey>) -> u32 {
        let position = process.and_then(|process| {
            self.findings
                .iter()
                .position(|found| process_of(found) == Some(process))
        });
        position
            .and_then(|position| u32::try_from(position).ok())
            .unwrap_or(u32::MAX)
    }

    /// What waits in a connection's socket.
    pub(crate) fn queue(&self, row: &ConnectionView) -> Option<Queue> {
        self.queues.get(&row.identity.id.cookie).copied()
    }

    /// What waits in front of a port's listener.
    pub(crate) fn listener_queue(&self, row: &EndpointView) -> Option<Queue> {
        self.queues.get(&row.listener?).copied()
    }

    /// Local ports that are left for a destination; `None` for a port that is served, and where the range is not known.
    pub(crate) fn ports_left(&self, row: &EndpointView) -> Option<u64> {
        let Key::Client { netns, .. } = row.key else {
            return None;
        };
        Some(self.ports.get(&netns)?.saturating_sub(row.ports_used))
    }
}

/// How long sockets wait for their peers in each of these.
pub(crate) fn limits(namespaces: &[Netns]) -> HashMap<u32, Limits> {
    namespaces
        .iter()
        .map(|namespace| (namespace.netns, namespace.limits()))
        .collect()
}

/// How many local ports `connect` may choose from in each of these whose range is known.
pub(crate) fn ports(namespaces: &[Netns]) -> HashMap<u32, u64> {
    let is_known = |namespace: &&Netns| namespace.sysctls.contains_key("ipv4.ip_local_port_range");
    namespaces
        .iter()
        .filter(is_known)
        .map(|namespace| (namespace.netns, namespace.free_ports() as u64))
        .collect()
}

/// The process that a finding is about, if it is about one.
pub(crate) fn process_of(finding: &Finding) -> Option<ProcessKey> {
    match finding.subject {
        Subject::Process { pid, start_ns, .. } => Some(ProcessKey::new(pid, start_ns)),
        Subject::Listener { .. } | Subject::Destination { .. } | Subject::Netns { .. } | Subject::Host => {
            None
        }
    }
}
