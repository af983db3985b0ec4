//! Exhaustion of local ports: towards one destination, and of a local address whose sockets are bound before `connect`.

mod bound;
mod towards;
mod usage;

use self::usage::Usage;
use super::Rule;
use crate::findings::{Finding, Level, history::Destination, scene::Scene};

/// `ephemeral-ports`
pub static RULE: Rule = Rule {
    id: "ephemeral-ports",
    title: "local ports run out towards one destination",
    fires: "A `connect` failed because no port was free (critical), or 80 % (warning) or 95 % (critical) of the ports towards one
destination are in use. Available are the ports of `ip_local_port_range` that are not in `ip_local_reserved_ports` and have no
listener, or, if every open socket towards the destination has one, those of its `IP_LOCAL_PORT_RANGE`. In use are those that
sockets have from one local address to one remote address and port, including those in TIME_WAIT unless `connect` may reuse them.
If no two connections from an address share a port although there are several destinations, the sockets were bound before
`connect`, and the ports of that address are counted for all destinations together; sockets with `IP_BIND_ADDRESS_NO_PORT`
are not among them.",
    means: "A connection is its two addresses and two ports, so the ports run out for each local address, remote address and
remote port, and not for the host. The side that closes first keeps the port in TIME_WAIT for 60 s, so to one destination
(ports) / 60 s connections a second are sustainable: 470 with the kernel's defaults. Beyond it `connect` fails with
EADDRNOTAVAIL, \"Cannot assign requested address\". The kernel has no counter for it; tcptrace detects the failure as a
SYN_SENT that goes back to CLOSE at once and without a port.

`bind` with an address and port 0 before `connect` takes a port for all destinations, since the kernel does not know the
destination yet: then the ports run out for the local address, and `bind` fails with EADDRINUSE. A program that sets
IP_LOCAL_PORT_RANGE (Linux 6.3) has fewer ports than the host: its `connect` fails while most ports of the host are free. The
range is known of sockets that a process has open, if open files are read through the kernel's iterator.

The evidence names the processes that have the ports, how many ports are left, and how many TIME_WAITs `connect` really
reused during the watch.",
    remedy: "Reuse connections: keep-alive, a pool, HTTP/2. That also saves the handshakes.

Where sockets are bound to an address before `connect`, set `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2) on them before `bind`:
`connect` then chooses the port, for each destination anew.

If that is not possible: let the server close first, which moves TIME_WAIT to its side, where it takes no port; connect from
or to more addresses; widen `net.ipv4.ip_local_port_range` (and reserve what listens in it with
`ip_local_reserved_ports`); or set `net.ipv4.tcp_tw_reuse=1`, which lets `connect` take a port whose TIME_WAIT is older
than a second. It needs timestamps on both sides, and only helps the side that connects.

Not: `tcp_fin_timeout`, which is about FIN_WAIT2; `tcp_max_tw_buckets`, which makes connections skip TIME_WAIT and lets
late segments reach new connections; `tcp_tw_recycle`, which broke clients behind NAT and was removed in Linux 4.12;
`SO_LINGER` of 0, which resets and can lose data.",
    spares: "Ports that a listener's connections share; TIME_WAITs that `connect` may reuse, as on loopback with the default
`tcp_tw_reuse=2`; many connections to many destinations.",
    check,
};

/// Shares of the ports, in percent.
const WARNING: usize = 80;
const CRITICAL: usize = 95;

fn check(scene: &Scene) -> Vec<Finding> {
    let mut usage = Usage::of(scene);
    for (destination, of) in &scene.history.by_destination {
        if of.without_port > 0 {
            usage.towards.entry(*destination).or_default();
        }
    }
    let towards = usage.towards.iter();
    let mut findings: Vec<Finding> = towards
        .filter_map(|(destination, taken)| {
            let usable = usage.usable.get(&destination.netns)?;
            towards::finding(scene, destination, taken, usable)
        })
        .collect();
    for ((netns, local), bound) in &usage.by_address {
        let Some(usable) = usage.usable.get(netns) else {
            continue;
        };
        findings.extend(bound::finding(scene, *netns, *local, bound, usable.count()));
    }
    findings
}

/// The ports towards one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortsTowards {
    pub(crate) destination: Destination,
    /// Those that `connect` may not choose.
    pub(crate) used: usize,
    /// Those that it chooses from, used ones included.
    pub(crate) available: usize,
}

/// The `most` destinations towards which the fewest ports are left, of those with any in use.
pub(crate) fn scarcest(scene: &Scene, most: usize) -> Vec<PortsTowards> {
    let usage = Usage::of(scene);
    let mut all: Vec<PortsTowards> = usage
        .towards
        .iter()
        .filter_map(|(destination, taken)| {
            Some(PortsTowards {
                destination: *destination,
                used: taken.blocked(),
                available: towards::available(taken, usage.usable.get(&destination.netns)?),
            })
        })
        .filter(|ports| ports.used > 0)
        .collect();
    all.sort_by_key(|ports| {
        let left = ports.available.saturating_sub(ports.used);
        (left, ports.destination)
    });
    all.truncate(most);
    all
}

/// The level for a share of the ports in use.
fn level_of(taken: usize, available: usize) -> Option<Level> {
    if taken * 100 >= available * CRITICAL {
        Some(Level::Critical)
    } else if taken * 100 >= available * WARNING {
        Some(Level::Warning)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
