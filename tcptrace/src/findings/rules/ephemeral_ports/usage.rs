//! Which local ports sockets use: towards each destination, and of each local address.

use crate::{
    event::{Nanos, TcpState},
    findings::{
        history::{self, Destination},
        scene::{Netns, Scene, Socket},
    },
    socket::{SockKind, network::PortRange},
};
use hashbrown::{HashMap, HashSet};
use std::{net::IpAddr, ops::RangeInclusive};

/// `connect` reuses a TIME_WAIT from this age on (`tcp_twsk_unique`, net/ipv4/tcp_ipv4.c, Linux 6.18).
const REUSABLE: Nanos = Nanos::from_secs(1);

/// Which ports are taken, by whom and towards which destinations.
#[derive(Default)]
pub(super) struct Usage {
    pub(super) towards: HashMap<Destination, Taken>,
    /// By namespace and local address.
    pub(super) by_address: HashMap<(u32, IpAddr), Bound>,
    /// By namespace.
    pub(super) usable: HashMap<u32, Usable>,
}

/// The ports of a namespace that `connect` may choose.
pub(super) struct Usable {
    pub(super) range: RangeInclusive<u16>,
    /// Those of the range that are reserved or have a listener.
    excluded: HashSet<u16>,
}

impl Usable {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.range.len() - self.excluded.len()
    }

    /// How many of them are in a part of the range.
    pub(super) fn count_in(&self, part: &RangeInclusive<u16>) -> usize {
        part.clone().filter(|port| !self.excluded.contains(port)).count()
    }
}

/// The ports towards one destination.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) ports: HashSet<u16>,
    pub(super) time_waits: usize,
    /// Of those, the ones that `connect` may reuse.
    pub(super) reusable: usize,
    /// Ports by process, a place in [`Scene::processes`].
    pub(super) by_process: HashMap<usize, usize>,
    ranges: HashSet<PortRange>,
    /// Open sockets without a range of their own, as far as is known.
    without_range: usize,
}

impl Taken {
    /// The ports from the lowest to the highest that its sockets may choose, if all that are open limit theirs.
    pub(super) fn own_range(&self, host: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
        if self.without_range > 0 {
            return None;
        }
        let ends = self.ranges.iter().map(|range| clamped(*range, host));
        ends.reduce(|all, more| *all.start().min(more.start())..=*all.end().max(more.end()))
    }

    /// The ports that `connect` may not take.
    pub(super) fn blocked(&self) -> usize {
        self.ports.len().saturating_sub(self.reusable)
    }
}

/// The part of the host's range that a socket may use: an end outside of it does not count
/// (`inet_sk_get_local_port_range`, net/ipv4/inet_connection_sock.c, Linux 6.18).
fn clamped(range: PortRange, host: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let end = |own: u16, other: u16| if host.contains(&own) { own } else { other };
    end(range.low, *host.start())..=end(range.high, *host.end())
}

/// The ports of one local address.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) ports: HashSet<u16>,
    pub(super) connections: usize,
    pub(super) destinations: HashSet<(IpAddr, u16)>,
    /// Those that are known to be without `IP_BIND_ADDRESS_NO_PORT`.
    pub(super) binds_early: usize,
}

impl Bound {
    /// Whether the ports were taken by `bind`. `connect` chooses a port for each destination without regard to others, so
    /// that of connections that would fill most of the range many share one.
    pub(super) fn is_by_bind(&self) -> bool {
        self.destinations.len() > 1 && self.connections == self.ports.len()
    }
}

impl Usage {
    pub(super) fn of(scene: &Scene) -> Self {
        let listening = scene.listening();
        let mut usage = Self::default();
        for namespace in &scene.namespaces {
            let usable = Usable {
                range: namespace.ports(),
                excluded: namespace.reserved_ports(),
            };
            usage.usable.insert(namespace.netns, usable);
        }
        for (netns, port) in &listening {
            if let Some(usable) = usage.usable.get_mut(netns)
                && usable.range.contains(port)
            {
                usable.excluded.insert(*port);
            }
        }
        for socket in &scene.sockets {
            let port = socket.endpoints.local_port;
            let Some(usable) = usage.usable.get(&socket.netns) else {
                continue;
            };
            let is_outgoing = !matches!(socket.state, TcpState::Listen | TcpState::Close)
                && usable.range.contains(&port)
                && !listening.contains(&(socket.netns, port));
            if is_outgoing {
                usage.add(scene, socket);
            }
        }
        usage
    }

    fn add(&mut self, scene: &Scene, socket: &Socket) {
        let port = socket.endpoints.local_port;
        let late = socket.flow.binds_late;
        if late != Some(true) {
            let bound = self
                .by_address
                .entry((socket.netns, socket.endpoints.local()))
                .or_default();
            bound.ports.insert(port);
            bound.connections += 1;
            bound.binds_early += usize::from(late == Some(false));
            bound
                .destinations
                .insert((socket.endpoints.remote(), socket.endpoints.remote_port));
        }
        let destination = history::destination(socket.netns, &socket.endpoints);
        let of = self.towards.entry(destination).or_default();
        of.ports.insert(port);
        if let Some(owner) = socket.owner {
            *of.by_process.entry(owner.process).or_default() += 1;
        }
        if socket.kind == SockKind::Timewait {
            if socket.state == TcpState::TimeWait {
                of.time_waits += 1;
                let namespace = scene.namespace(socket.netns);
                of.reusable +=
                    usize::from(namespace.is_some_and(|namespace| may_be_reused(socket, namespace)));
            }
        } else if let Some(range) = scene.port_ranges.get(&socket.cookie) {
            of.ranges.insert(*range);
        } else if socket.is_orphan != Some(true) {
            // The options of a socket without a descriptor are not read.
            of.without_range += 1;
        }
    }
}

/// Whether `connect` may take over a port in TIME_WAIT: `tcp_tw_reuse` 1 for all, 2 for loopback, with timestamps.
pub(super) fn reuses(namespace: &Netns, is_loopback: bool) -> bool {
    let reuse = namespace.number("ipv4.tcp_tw_reuse").unwrap_or(2);
    let has_timestamps = namespace.number("ipv4.tcp_timestamps").unwrap_or(1) != 0;
    has_timestamps && (reuse == 1 || (reuse == 2 && is_loopback))
}

fn may_be_reused(socket: &Socket, namespace: &Netns) -> bool {
    reuses(namespace, socket.is_loopback()) && socket.span() >= REUSABLE
}
