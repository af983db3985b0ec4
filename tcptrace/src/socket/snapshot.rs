//! A snapshot of the kernel's sockets: what was read, and what could not be.

use super::{
    Listed, Networks, Row, SockKind,
    network::{Network, SocketNetwork},
    scan::Keeper,
};
use crate::event::{Endpoints, Event, Nanos, TcpState};
use hashbrown::{HashMap, HashSet};
use std::cmp::Ordering;

/// The most sockets whose network evidence is kept of one snapshot: 57 MB.
pub(crate) const MOST_NETWORK: usize = 1 << 18;

/// What the network does to the connections of a snapshot: to 262,144 of them at most.
#[derive(Debug, Default)]
pub struct NetworkEvidence {
    /// That of each connection and listener of which anything is known.
    pub sockets: Vec<SocketNetwork>,
    /// The number of further ones, of which it is not kept.
    pub omitted: u64,
}

impl NetworkEvidence {
    /// Keeps that of a socket, of a listener its drops.
    pub(crate) fn keep(&mut self, socket: &Listed) {
        let network = if socket.row.state == TcpState::Listen {
            Network {
                drops: socket.network.drops,
                ..Network::default()
            }
        } else {
            socket.network
        };
        if network.is_empty() {
            return;
        }
        if self.sockets.len() < MOST_NETWORK {
            self.sockets.push(SocketNetwork {
                cookie: socket.row.sock.cookie,
                network,
            });
        } else {
            self.omitted += 1;
        }
    }

    fn add(&mut self, other: Self) {
        let room = MOST_NETWORK - self.sockets.len();
        let omitted = other.sockets.len().saturating_sub(room) as u64;
        self.sockets.extend(other.sockets.into_iter().take(room));
        self.omitted += omitted + other.omitted;
    }

    /// What findings need of it, by cookie: that of sockets that wait for their peers, or use memory.
    pub(crate) fn notable(&self) -> Networks {
        let notable = self.sockets.iter().filter(|socket| socket.network.is_notable());
        notable.map(|socket| (socket.cookie, socket.network)).collect()
    }
}

#[cfg(test)]
impl FromIterator<SocketNetwork> for NetworkEvidence {
    fn from_iter<I: IntoIterator<Item = SocketNetwork>>(sockets: I) -> Self {
        Self {
            sockets: sockets.into_iter().collect(),
            omitted: 0,
        }
    }
}

/// Every socket of the namespaces read.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// When it was begun; what ended before has no row.
    pub started: Nanos,
    /// Rows in order of time.
    pub rows: Vec<Row>,
    /// What the network does to its connections, if that was wanted.
    pub network: NetworkEvidence,
    /// Namespaces that were read to the end.
    pub covered: HashSet<u32>,
    /// Rows that could not be understood.
    pub unknown: u64,
    /// Namespaces that could not be read, and why.
    pub failures: Vec<(u32, String)>,
    /// Processes of which it is not known whether their namespaces were read.
    pub denied: Vec<Denied>,
    /// The MPTCP sockets of the namespaces where the kernel has connections of its own.
    pub mptcp: Vec<MptcpSocket>,
    /// Such namespaces whose MPTCP sockets could not be read, and why.
    pub mptcp_failures: Vec<(u32, String)>,
    /// CPU time that reading them took.
    pub cpu: Nanos,
}

impl Snapshot {
    /// Of the namespaces that are wanted and that `keepers` lead to, those of which it neither has the sockets nor
    /// says why not. What a process leads to that may not be looked into stays its own.
    #[must_use]
    pub fn missed(&self, keepers: &[Keeper], wanted: Option<&[u32]>) -> Vec<u32> {
        let is_missed = |netns: &u32| {
            wanted.is_none_or(|list| list.contains(netns))
                && !self.covered.contains(netns)
                && !self.failures.iter().any(|(failed, _)| failed == netns)
        };
        let denied: HashSet<u32> = self.denied.iter().map(|process| process.pid).collect();
        let mut missed: Vec<u32> = keepers
            .iter()
            .filter(|keeper| !denied.contains(&keeper.pid))
            .map(|keeper| keeper.netns)
            .filter(is_missed)
            .collect();
        missed.sort_unstable();
        missed.dedup();
        missed
    }

    /// Adds what another one has read of other namespaces.
    pub fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.rows.sort_by_key(|row| row.time);
        self.network.add(other.network);
        self.covered.extend(other.covered);
        self.unknown += other.unknown;
        self.failures.extend(other.failures);
        self.mptcp.extend(other.mptcp);
        self.mptcp_failures.extend(other.mptcp_failures);
        self.cpu = self.cpu.plus(other.cpu);
    }

    /// Gives the first path of each MPTCP socket the state of that socket, which is the one that its program has: the
    /// path's own is another, as long as the peer keeps it to send on.
    pub fn see_mptcp(&mut self) {
        let sockets = by_ends(&self.mptcp);
        for row in self.rows.iter_mut().filter(|row| row.is_kernel_socket) {
            if let Some(socket) = sockets.get(&(row.netns, row.endpoints)) {
                row.state = socket.state;
                // The peer may have sent on another subflow since.
                let of_path = row.idle.filter(|_| socket.more_paths == 0);
                row.idle = socket.idle.or(of_path);
            }
        }
    }

    /// How many network namespaces are known of and not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.failures.len() + distinct(&self.denied)
    }

    /// Puts each row at the moment at which it was read, as far as the `events` that came meanwhile show it: right
    /// after the last event that led to its state, else before all of them.
    pub fn place_among(&mut self, events: &[Event]) {
        let mut by_cookie: Vec<(u64, Nanos, TcpState)> = Vec::new();
        let mut by_ends: Vec<(u32, Endpoints, Nanos)> = Vec::new();
        for event in events {
            match event.data.state_after() {
                Some(TcpState::SynRecv) if event.sock.cookie == 0 => {
                    by_ends.push((event.netns, event.endpoints, event.time));
                }
                Some(state) => by_cookie.push((event.sock.cookie, event.time, state)),
                None => {}
            }
        }
        by_cookie.sort_unstable();
        by_ends.sort_unstable();
        for row in &mut self.rows {
            let is_within = |time: Nanos| row.time <= time && time <= row.read_by;
            let of_cookie = run(&by_cookie, |entry| entry.0.cmp(&row.sock.cookie))
                .iter()
                .rfind(|(_, time, state)| *state == row.state && is_within(*time))
                .map(|(_, time, _)| *time);
            let of_ends = run(&by_ends, |entry| {
                (entry.0, entry.1).cmp(&(row.netns, row.endpoints))
            })
            .iter()
            .rfind(|(.., time)| row.kind == SockKind::Request && is_within(*time))
            .map(|(.., time)| *time);
            if let Some(time) = of_cookie.max(of_ends) {
                row.time = time.plus(Nanos(1));
            }
            row.read_by = row.time;
        }
        self.rows.sort_by_key(|row| row.time);
    }
}

fn by_ends(sockets: &[MptcpSocket]) -> HashMap<(u32, Endpoints), &MptcpSocket> {
    sockets
        .iter()
        .map(|socket| ((socket.netns, socket.endpoints), socket))
        .collect()
}

/// Takes the inode of their MPTCP socket from all of its paths but the first, so that it is one row's.
pub fn leave_first_paths<'a>(rows: impl IntoIterator<Item = &'a mut Row>, sockets: &[MptcpSocket]) {
    let sockets = by_ends(sockets);
    for row in rows.into_iter().filter(|row| row.is_kernel_socket) {
        if row.state != TcpState::Listen && !sockets.contains_key(&(row.netns, row.endpoints)) {
            row.inode = 0;
        }
    }
}

/// The entries of a sorted list that compare equal.
fn run<T>(sorted: &[T], compare: impl Fn(&T) -> Ordering) -> &[T] {
    let from = sorted.partition_point(|entry| compare(entry).is_lt());
    let count = sorted[from..].partition_point(|entry| compare(entry).is_eq());
    &sorted[from..from + count]
}

/// An MPTCP socket, the one that a program has: its paths are TCP sockets of the kernel's, with its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MptcpSocket {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its ends, which are those of its first path.
    pub endpoints: Endpoints,
    /// Its own state, which its program sees; that of a path may be another.
    pub state: TcpState,
    /// Number of additional subflows.
    pub more_paths: u8,
    /// How long ago the peer last acknowledged, at least; `None` before Linux 6.10.
    pub idle: Option<Nanos>,
}

/// A process whose network namespace the calling thread may not see (ptrace(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Thread group id.
    pub pid: u32,
    /// What its namespace is recognized by, as `source::namespaces::mark` reads it; `None` where even that cannot be read.
    pub mark: Option<u64>,
}

/// How many network namespaces these processes run in, at most.
#[must_use]
pub fn distinct(denied: &[Denied]) -> usize {
    let marks: HashSet<u64> = denied.iter().filter_map(|process| process.mark).collect();
    marks.len() + denied.iter().filter(|process| process.mark.is_none()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventData, SockRef, fixture::transition};
    use std::net::Ipv4Addr;

    const COOKIE: u64 = 7;

    fn row(state: TcpState, time: u64, read_by: u64) -> Row {
        Row {
            read_by: Nanos(read_by),
            ..Row::bare(
                Nanos(time),
                SockRef {
                    cookie: COOKIE,
                    address: 0,
                },
                Endpoints::default(),
                1,
                SockKind::Full,
                state,
            )
        }
    }

    fn event(cookie: u64, time: u64, what: EventData) -> Event {
        Event {
            time: Nanos(time),
            sock: SockRef { cookie, address: 0 },
            netns: 1,
            data: what,
            ..Event::default()
        }
    }

    fn placed(row: Row, events: &[Event]) -> Nanos {
        let mut snapshot = Snapshot {
            rows: vec![row],
            ..Snapshot::default()
        };
        snapshot.place_among(events);
        assert_eq!(snapshot.rows[0].read_by, snapshot.rows[0].time);
        snapshot.rows[0].time
    }

    #[test]
    fn a_namespace_is_missed_once_and_not_where_its_process_is_out_of_reach() {
        let keeper = |netns, pid| Keeper { netns, pid, fd: 3 };
        let keepers = [
            keeper(1, 7),
            keeper(2, 7),
            keeper(2, 8),
            keeper(3, 9),
            keeper(4, 7),
        ];
        let snapshot = Snapshot {
            covered: [1].into(),
            failures: vec![(4, "refused".to_owned())],
            denied: vec![Denied { pid: 9, mark: None }],
            ..Snapshot::default()
        };
        assert_eq!(snapshot.missed(&keepers, None), [2]);
        assert_eq!(snapshot.missed(&keepers, Some(&[1, 4])), [0; 0]);
        assert_eq!(snapshot.unread(), 2);
    }

    #[test]
    fn a_row_stands_where_its_state_shows_that_it_was_read() {
        use TcpState::{CloseWait, Established, LastAck, SynRecv};
        let life = [SynRecv, Established, CloseWait, LastAck];
        // Transitions at 110, 120 and 130, beside another socket's.
        let mut events = vec![event(8, 125, transition(SynRecv, Established))];
        for (at, pair) in (110..).step_by(10).zip(life.windows(2)) {
            events.push(event(COOKIE, at, transition(pair[0], pair[1])));
        }
        let times = life.map(|state| placed(row(state, 100, 200), &events));
        assert_eq!(times, [100, 111, 121, 131].map(Nanos));
        // What happened before or after the row was read says nothing of it.
        assert_eq!(placed(row(Established, 115, 200), &events), Nanos(115));
        assert_eq!(placed(row(LastAck, 100, 129), &events), Nanos(100));
    }

    #[test]
    fn a_request_is_placed_by_its_ends_and_a_timewait_sock_by_its_substate() {
        let request = Row {
            kind: SockKind::Request,
            ..row(TcpState::SynRecv, 100, 200)
        };
        let start = event(0, 150, EventData::RequestStart { listener: 0 });
        assert_eq!(placed(request, &[start]), Nanos(151));
        let elsewhere = Event { netns: 2, ..start };
        assert_eq!(placed(request, &[elsewhere]), Nanos(100));
        let timewait = Row {
            kind: SockKind::Timewait,
            ..row(TcpState::TimeWait, 100, 200)
        };
        let made = event(COOKIE, 140, EventData::TimewaitStart(TcpState::FinWait2));
        let fin = event(
            COOKIE,
            160,
            EventData::TimewaitSegment {
                substate: TcpState::TimeWait,
                is_reset: false,
            },
        );
        assert_eq!(placed(timewait, &[made, fin]), Nanos(161));
    }

    #[test]
    fn an_mptcp_socket_is_seen_by_its_first_path() {
        let any = Ipv4Addr::UNSPECIFIED.into();
        let endpoints = |port| Endpoints::new((any, port), (any, 0));
        let path = |port| Row {
            endpoints: endpoints(port),
            is_kernel_socket: true,
            inode: 5,
            idle: Some(Nanos(7)),
            ..row(TcpState::Established, 1, 1)
        };
        let socket = |port, more_paths, idle| MptcpSocket {
            netns: 1,
            endpoints: endpoints(port),
            state: TcpState::CloseWait,
            more_paths,
            idle,
        };
        let mut snapshot = Snapshot {
            rows: vec![
                path(80),
                path(81),
                path(82),
                path(83),
                row(TcpState::Established, 1, 1),
            ],
            mptcp: vec![
                socket(80, 1, Some(Nanos(9))),
                socket(81, 0, None),
                socket(82, 1, None),
            ],
            ..Snapshot::default()
        };
        leave_first_paths(&mut snapshot.rows, &snapshot.mptcp);
        snapshot.see_mptcp();
        let seen: Vec<_> = snapshot
            .rows
            .iter()
            .map(|row| (row.state, row.idle, row.inode))
            .collect();
        let closed = TcpState::CloseWait;
        assert_eq!(
            seen,
            [
                (closed, Some(Nanos(9)), 5),
                (closed, Some(Nanos(7)), 5),
                (closed, None, 5),
                (TcpState::Established, Some(Nanos(7)), 0),
                (TcpState::Established, None, 0),
            ]
        );
    }
}
