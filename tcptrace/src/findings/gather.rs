//! The sockets and processes of a scene, from the rows of a snapshot or, without one, from the engine's table. Pure.

use super::{
    history::History,
    peers::{Half, Peers},
    scene::{Asked, Owner, Peer, Process, Socket},
};
use crate::{
    connection::{kernel_age, row::Connection},
    engine::Engine,
    event::{Age, Nanos, ProcessKey, TcpState},
    filter::{Filter, FilterInput},
    owner::{opened::Opened, policy::Evidence, processes::comm_text},
    socket::{
        Flow, Holder, Networks, Row, SockKind,
        network::{Network, PortRange},
    },
};
use hashbrown::{HashMap, HashSet};

/// Sockets, and the processes that they name.
#[derive(Debug, Default)]
pub struct GatheredSockets {
    /// All sockets of the network namespaces read.
    pub sockets: Vec<Socket>,
    /// Those who own them.
    pub processes: Vec<Process>,
    /// What the network does to the sockets, where that is known and worth keeping.
    pub networks: Networks,
    /// Port ranges that programs have set; empty without a look.
    pub port_ranges: HashMap<u64, PortRange>,
    locations: HashMap<ProcessKey, usize>,
}

/// The result of a snapshot.
#[derive(Debug)]
pub struct Look {
    /// The selected sockets.
    pub rows: Vec<Row>,
    /// What the network does to all sockets.
    pub networks: Networks,
    /// All other listeners, as context.
    pub listeners: Vec<Row>,
    /// Who has them open, of a scan that has noticed the listeners.
    pub opened: Opened,
    /// The peers of half-closed connections, including sockets that are not selected.
    pub peers: Peers,
    /// Whether every process could be looked into.
    pub sees_all: bool,
    /// The processes with TCP sockets that the filter wants; `None` where it wants all.
    pub processes: Option<HashSet<ProcessKey>>,
}

/// From a look, which knows the queues and descriptors; the engine, where one has watched, knows ages and who left a
/// TIME_WAIT, and the history which sockets were reset in CLOSE_WAIT.
#[must_use]
pub fn of_look(look: &Look, engine: Option<&Engine>, history: &History, now: Nanos) -> GatheredSockets {
    let Look {
        rows,
        listeners,
        opened,
        peers,
        sees_all,
        ..
    } = look;
    let mut gathered = GatheredSockets::default();
    let wanted = rows.iter().map(|row| (row, true));
    for (row, is_asked_for) in wanted.chain(listeners.iter().map(|row| (row, false))) {
        let known = engine.and_then(|engine| {
            let slot = engine.table.slot_of_cookie(row.sock.cookie)?;
            engine.table.row(slot)
        });
        let by_scan = opened.owner(row).map(|(holder, evidence)| {
            let process = gathered.process(holder.process, &comm_text(&holder.comm));
            Owner {
                process,
                is_guess: evidence == Evidence::Listener,
            }
        });
        let seen = known
            .zip(engine)
            .and_then(|(known, engine)| gathered.owner_of(known, engine));
        // Who was seen with a socket that nobody has any more comes before whose listener it came to.
        let owner = match (by_scan, seen) {
            (Some(guess), Some(seen)) if guess.is_guess => Some(seen),
            _ => by_scan.or(seen),
        };
        let holders = opened.holders(row.sock.cookie);
        let fds = gathered.fds(holders, owner);
        let (mut sharers, mut accepted_by) = (Vec::new(), None);
        if row.state == TcpState::CloseWait {
            sharers = gathered.sharers(holders, owner);
            accepted_by = opened
                .accepted_elsewhere(row)
                .map(|listener| gathered.process(listener.process, &comm_text(&listener.comm)));
        }
        let peer = peers.of(row.netns, &row.endpoints).map(|half| {
            let holder = Opened::chosen(opened.holders(half.cookie));
            Peer {
                state: half.state,
                process: holder.map(|holder| gathered.process(holder.process, &comm_text(&holder.comm))),
                is_open: half.is_open,
            }
        });
        let is_kernel_socket = opened.is_kernel_s(row);
        if let Some(network) = look.networks.get(&row.sock.cookie) {
            // Netlink does not report the options, the scan of open files does.
            let options = network.options.or_else(|| holders.first()?.options);
            let network = Network { options, ..*network };
            gathered.networks.insert(row.sock.cookie, network);
        }
        let options = holders.first().and_then(|holder| holder.options);
        if let Some(range) = options.and_then(|options| options.port_range) {
            gathered.port_ranges.insert(row.sock.cookie, range);
        }
        let socket = Socket {
            is_asked_for,
            cookie: row.sock.cookie,
            endpoints: row.endpoints,
            netns: row.netns,
            kind: row.kind,
            state: row.state,
            age: better(
                known.and_then(|known| age_of(known, row.state, now)),
                kept(row, now),
            ),
            quiet: row.idle,
            owner,
            fds,
            unread: has_queues(row).then_some(row.unread),
            unsent: has_queues(row).then_some(row.unsent),
            is_orphan: Some(row.is_orphan),
            is_kernel_socket,
            flow: row.flow,
            peer,
            sharers,
            accepted_by,
            is_unheld: *sees_all
                && row.kind == SockKind::Full
                && !row.is_orphan
                && !is_kernel_socket
                && opened.holders(row.sock.cookie).is_empty(),
            left_close_wait: false,
            error: 0,
        };
        gathered.sockets.push(socket);
    }
    gathered.add_closed(opened, history, now);
    gathered
}

/// From the table alone, as of a recording: descriptors are not known, queues and what the network does only where the
/// latest snapshot is recent. Listeners are kept whatever the
/// filter, since they say what came to them.
#[must_use]
pub fn of_engine(engine: &Engine, history: &History, now: Nanos, filter: &Filter) -> GatheredSockets {
    let mut gathered = GatheredSockets::default();
    let is_wanted = |row: &Connection| engine.accepted_row(row, filter).is_some();
    let peers = peers_of(engine);
    for row in engine.table.iter().filter(|row| row.is_tcp()) {
        let is_asked_for = is_wanted(row);
        if !is_asked_for && row.state.tcp != TcpState::Listen {
            continue;
        }
        let kind = match row.state.tcp {
            _ if row.state.is_timewait => SockKind::Timewait,
            TcpState::SynRecv => SockKind::Request,
            _ => SockKind::Full,
        };
        let owner = gathered.owner_of(row, engine);
        let peer = peers.of(row.netns, &row.endpoints).map(|half| {
            let slot = engine.table.slot_of_cookie(half.cookie);
            let row = slot.and_then(|slot| engine.table.row(slot));
            Peer {
                state: half.state,
                process: row
                    .and_then(|row| gathered.owner_of(row, engine))
                    .map(|owner| owner.process),
                is_open: half.is_open,
            }
        });
        let latest = engine.network.recent(row, now);
        if let Some(latest) = latest.filter(|latest| latest.network.is_notable()) {
            gathered.networks.insert(row.id().cookie, latest.network);
        }
        gathered.sockets.push(Socket {
            is_asked_for,
            cookie: row.id().cookie,
            endpoints: row.endpoints,
            netns: row.netns,
            kind,
            state: row.state.tcp,
            age: Some(row.state.since.age(now)),
            quiet: latest.and_then(|latest| latest.row.idle),
            owner,
            fds: Vec::new(),
            unread: latest.map(|latest| latest.row.unread),
            unsent: latest.map(|latest| latest.row.unsent),
            is_orphan: latest
                .map(|latest| latest.row.is_orphan)
                .or_else(|| row.state.is_orphan.then_some(true)),
            is_kernel_socket: row.is_kernel_socket,
            flow: Flow::default(),
            peer,
            sharers: Vec::new(),
            accepted_by: None,
            is_unheld: false,
            left_close_wait: false,
            error: 0,
        });
    }
    for held in engine.holders.closed() {
        let Some(process) = engine.table.processes.get(held.process) else {
            continue;
        };
        let subject = FilterInput {
            endpoints: &held.endpoints,
            netns: held.netns,
            states: &[TcpState::Close],
            owner: Some(process),
        };
        if !filter.accepts(&subject) {
            continue;
        }
        let process = gathered.process(process.key, &process.name());
        let owner = Owner {
            process,
            is_guess: false,
        };
        let ended = history.ended(held.cookie, now);
        gathered.sockets.push(Socket {
            left_close_wait: ended.is_some_and(|ended| ended.left_close_wait.is_some()),
            age: ended.map(|ended| ended.age),
            ..closed(held.cookie, held.endpoints, held.netns, owner)
        });
    }
    gathered
}

/// What a filter asks for; `None` where that is everything. `processes` are those that it wants beside those that the
/// engine knows, `None` where it wants all.
#[must_use]
pub fn asked(
    filter: &Filter,
    mut processes: Option<HashSet<ProcessKey>>,
    engine: Option<&Engine>,
) -> Option<Asked> {
    if *filter == Filter::default() {
        return None;
    }
    if let (Some(processes), Some(engine)) = (&mut processes, engine) {
        let wanted = engine.table.processes.iter();
        processes.extend(
            wanted
                .filter(|process| filter.accepts_process(&(*process).into()))
                .map(|process| process.key),
        );
    }
    Some(Asked {
        processes,
        is_part: filter.is_narrower_than_netns(),
        changes: engine.map_or(0, |engine| engine.shown().changes()),
    })
}

impl GatheredSockets {
    /// Those that are CLOSE and open, which have no row.
    fn add_closed(&mut self, opened: &Opened, history: &History, now: Nanos) {
        for holders in opened.closed() {
            let Some(chosen) = Opened::chosen(holders) else {
                continue;
            };
            let process = self.process(chosen.process, &comm_text(&chosen.comm));
            let owner = Owner {
                process,
                is_guess: false,
            };
            let fds = self.fds(holders, Some(owner));
            let ended = history.ended(chosen.cookie, now);
            let closed = closed(chosen.cookie, chosen.endpoints, chosen.netns, owner);
            self.sockets.push(Socket {
                fds,
                error: chosen.error,
                // `tcp_reset` sets EPIPE in CLOSE_WAIT and in no other state (net/ipv4/tcp_input.c, Linux 6.18).
                left_close_wait: ended.is_some_and(|ended| ended.left_close_wait.is_some())
                    || chosen.error == libc::EPIPE.unsigned_abs(),
                age: ended.map(|ended| ended.age),
                ..closed
            });
        }
    }

    /// The place of a process in the list.
    fn process(&mut self, key: ProcessKey, comm: &str) -> usize {
        *self.locations.entry(key).or_insert_with(|| {
            self.processes.push(Process {
                key,
                comm: comm.to_owned(),
                descriptors: None,
            });
            self.processes.len() - 1
        })
    }

    fn owner_of(&mut self, row: &Connection, engine: &Engine) -> Option<Owner> {
        let owner = row.owner?;
        let process = engine.table.processes.get(owner.process)?;
        Some(Owner {
            process: self.process(process.key, &process.name()),
            is_guess: owner.evidence == Evidence::Listener,
        })
    }

    /// The holders of a socket other than its owner.
    fn sharers(&mut self, holders: &[Holder], owner: Option<Owner>) -> Vec<usize> {
        // Sorted by process: a descriptor more of the same follows at once.
        let of_each = holders.chunk_by(|a, b| a.process == b.process);
        let mut sharers: Vec<usize> = of_each
            .map(|group| self.process(group[0].process, &comm_text(&group[0].comm)))
            .collect();
        sharers.retain(|process| owner.is_none_or(|owner| owner.process != *process));
        sharers
    }

    fn fds(&self, holders: &[Holder], owner: Option<Owner>) -> Vec<u32> {
        let owner = owner
            .and_then(|owner| self.processes.get(owner.process))
            .map(|process| process.key);
        holders
            .iter()
            .filter(|holder| Some(holder.process) == owner)
            .map(|holder| holder.fd)
            .collect()
    }
}

fn peers_of(engine: &Engine) -> Peers {
    let half = |row: &Connection| Half {
        cookie: row.id().cookie,
        state: row.state.tcp,
        is_open: row.may_be_held(),
    };
    let is_connected = |row: &&Connection| row.is_tcp() && row.state.tcp != TcpState::Listen;
    let connected = || engine.table.iter().filter(is_connected);
    Peers::find(|| connected().map(|row| (row.netns, row.endpoints, half(row))))
}

fn closed(cookie: u64, endpoints: crate::event::Endpoints, netns: u32, owner: Owner) -> Socket {
    Socket {
        is_asked_for: true,
        cookie,
        endpoints,
        netns,
        kind: SockKind::Full,
        state: TcpState::Close,
        age: None,
        quiet: None,
        owner: Some(owner),
        fds: Vec::new(),
        unread: None,
        unsent: None,
        is_orphan: Some(false),
        is_kernel_socket: false,
        flow: Flow::default(),
        peer: None,
        sharers: Vec::new(),
        accepted_by: None,
        is_unheld: false,
        left_close_wait: false,
        error: 0,
    }
}

fn age_of(row: &Connection, state: TcpState, now: Nanos) -> Option<Age> {
    (row.state.tcp == state).then(|| row.state.since.age(now))
}

/// Whether the queues of the row are the program's. What an MPTCP socket has not delivered, or not sent, is not in those of
/// its paths.
const fn has_queues(row: &Row) -> bool {
    matches!(row.kind, SockKind::Full) && (matches!(row.state, TcpState::Listen) || !row.is_kernel_socket)
}

fn kept(row: &Row, now: Nanos) -> Option<Age> {
    Some(kernel_age::entered(row)?.age(now))
}

/// An exact age before a lower bound, of two bounds the higher.
fn better(one: Option<Age>, other: Option<Age>) -> Option<Age> {
    let rank = |age: Option<Age>| age.map(|age| (age.is_exact(), age.span()));
    if rank(one) >= rank(other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_ages_the_one_that_says_more_is_kept() {
        let exact = Some(Age::Exact(Nanos(5)));
        let low = Some(Age::AtLeast(Nanos(3)));
        let high = Some(Age::AtLeast(Nanos(9)));
        assert_eq!(better(low, exact), exact);
        assert_eq!(better(exact, high), exact);
        assert_eq!(better(low, high), high);
        assert_eq!(better(None, low), low);
        assert_eq!(better(None, None), None);
    }
}
