//! Exhaustion of local ports towards one destination.

use super::Rule;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::{Destination, OfDestination},
        scene::{Netns, Scene, Socket},
    },
    plural::{counted, is},
    socket::SockKind,
};
use hashbrown::{HashMap, HashSet};
use std::{net::IpAddr, time::Duration};

/// `ephemeral-ports`
pub static RULE: Rule = Rule {
    id: "ephemeral-ports",
    title: "local ports run out towards one destination",
    fires: "A `connect` failed because no port was free (critical), or 80 % (warning) or 95 % (critical) of the ports towards one
destination are in use. Counted are the ports of `ip_local_port_range` without `ip_local_reserved_ports` that sockets use
from one local address to one remote address and port, including those in TIME_WAIT unless `connect` may reuse them. If no
two connections from an address share a port although there are several destinations, the sockets were bound before
`connect`, and the ports of that address are counted for all destinations together.",
    means: "A connection is its two addresses and two ports, so the ports run out for each local address, remote address and
remote port, and not for the host. The side that closes first keeps the port in TIME_WAIT for 60 s, so to one destination
(ports) / 60 s connections a second are sustainable: 470 with the kernel's defaults. Beyond it `connect` fails with
EADDRNOTAVAIL, \"Cannot assign requested address\". The kernel has no counter for it; tcptrace detects the failure as a
SYN_SENT that goes back to CLOSE at once and without a port.

`bind` with an address and port 0 before `connect` takes a port for all destinations, since the kernel does not know the
destination yet: then the ports run out for the local address, and `bind` fails with EADDRINUSE. A program that sets
IP_LOCAL_PORT_RANGE has fewer ports than the host: its `connect` fails while most ports of the host are free.",
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

/// `connect` reuses a TIME_WAIT from this age on (`tcp_twsk_unique`, net/ipv4/tcp_ipv4.c, Linux 6.18).
const REUSABLE: Nanos = Nanos::from_secs(1);

/// How long a TIME_WAIT keeps its port, seconds.
const TIME_WAIT: f64 = 60.0;

#[derive(Default)]
struct Taken {
    ports: HashSet<u16>,
    time_waits: usize,
    reusable: usize,
}

/// The ports of one local address.
#[derive(Default)]
struct Bound {
    ports: HashSet<u16>,
    connections: usize,
    destinations: HashSet<(IpAddr, u16)>,
}

impl Bound {
    /// Whether the ports were taken by `bind`. `connect` chooses a port for each destination without regard to others, so
    /// that of connections that would fill most of the range many share one.
    fn is_by_bind(&self) -> bool {
        self.destinations.len() > 1 && self.connections == self.ports.len()
    }
}

fn check(scene: &Scene) -> Vec<Finding> {
    let listening = scene.listening();
    let mut taken: HashMap<Destination, Taken> = HashMap::new();
    let mut by_address: HashMap<(u32, IpAddr), Bound> = HashMap::new();
    for socket in &scene.sockets {
        let Some(space) = scene.space(socket.netns) else {
            continue;
        };
        let port = socket.endpoints.local_port;
        let is_outgoing = !matches!(socket.state, TcpState::Listen | TcpState::Close)
            && space.ports().contains(&port)
            && !listening.contains(&(socket.netns, port));
        if !is_outgoing {
            continue;
        }
        let bound = by_address
            .entry((socket.netns, socket.endpoints.local()))
            .or_default();
        bound.ports.insert(port);
        bound.connections += 1;
        bound
            .destinations
            .insert((socket.endpoints.remote(), socket.endpoints.remote_port));
        let of = taken.entry(destination(socket)).or_default();
        of.ports.insert(port);
        if socket.kind == SockKind::Timewait && socket.state == TcpState::TimeWait {
            of.time_waits += 1;
            of.reusable += usize::from(may_be_reused(socket, space));
        }
    }
    for (destination, of) in &scene.history.by_destination {
        if of.without_port > 0 {
            taken.entry(*destination).or_default();
        }
    }
    let mut findings: Vec<Finding> = taken
        .iter()
        .filter_map(|(destination, taken)| finding(scene, destination, taken))
        .collect();
    for ((netns, local), bound) in &by_address {
        findings.extend(by_bind(scene, *netns, *local, bound));
    }
    findings
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

/// The ports of an address that sockets were bound to before they connected.
fn by_bind(scene: &Scene, netns: u32, local: IpAddr, bound: &Bound) -> Option<Finding> {
    if !bound.is_by_bind() {
        return None;
    }
    let available = scene.space(netns)?.free_ports();
    let count = bound.ports.len();
    let level = level_of(count, available)?;
    Some(Finding {
        rule: RULE.id,
        level,
        subject: scene.netns_subject(netns),
        title: format!("{count} of {available} local ports of {local} are in use, each for all destinations"),
        evidence: vec![
            Evidence::new(
                "ports_in_use",
                count,
                format!("from {local}: {count} of {available} ports in use"),
            ),
            Evidence::new(
                "destinations",
                bound.destinations.len(),
                format!(
                    "{} to {}, and no two of them share a port",
                    counted(bound.connections, "connection"),
                    counted(bound.destinations.len(), "destination")
                ),
            ),
        ],
        meaning: "sockets that are bound to an address before connect take a port for all destinations; without one, bind fails \
            with EADDRINUSE, \"Address already in use\""
            .to_owned(),
        remedy: "set IP_BIND_ADDRESS_NO_PORT on the socket before bind, so that connect chooses the port for each destination \
            anew; or leave bind out, and let routes choose the address"
            .to_owned(),
        weight: count.figure(),
    })
}

fn destination(socket: &Socket) -> Destination {
    Destination {
        netns: socket.netns,
        local: socket.endpoints.local(),
        remote: socket.endpoints.remote(),
        port: socket.endpoints.remote_port,
    }
}

/// Whether `connect` may take over a port in TIME_WAIT: `tcp_tw_reuse` 1 for all, 2 for loopback, with timestamps.
fn reuses(space: &Netns, is_loopback: bool) -> bool {
    let reuse = space.number("ipv4.tcp_tw_reuse").unwrap_or(2);
    let has_timestamps = space.number("ipv4.tcp_timestamps").unwrap_or(1) != 0;
    has_timestamps && (reuse == 1 || (reuse == 2 && is_loopback))
}

fn may_be_reused(socket: &Socket, space: &Netns) -> bool {
    reuses(space, socket.is_loopback()) && socket.span() >= REUSABLE
}

fn finding(scene: &Scene, destination: &Destination, taken: &Taken) -> Option<Finding> {
    let space = scene.space(destination.netns)?;
    let available = space.free_ports();
    let blocked = taken.ports.len().saturating_sub(taken.reusable);
    let of = scene.history.by_destination.get(destination);
    let failed = of.map_or(0, |of| of.without_port);
    let level = if failed > 0 {
        Level::Critical
    } else {
        level_of(blocked, available)?
    };
    // What was in use at any time of the watch; ports of one program's own range are far fewer than the host's.
    let most = of.map_or(0, |of| of.in_use.most()).max(taken.ports.len() as u64);
    if failed > 0 && most > 0 && level_of(usize::try_from(most).unwrap_or(usize::MAX), available).is_none() {
        return Some(narrowed(scene, destination, taken, available, failed));
    }
    let title = if failed > 0 {
        format!(
            "connect failed {} because no port was free",
            counted(failed, "time")
        )
    } else {
        format!("{blocked} of {available} local ports are in use")
    };
    Some(Finding {
        rule: RULE.id,
        level,
        subject: Subject::Destination {
            netns: destination.netns,
            addr: destination.remote,
            port: Some(destination.port),
        },
        title,
        evidence: evidence(scene, destination, taken, available),
        meaning: "to this address and port every connection needs a local port of its own, and keeps it for another 60 s \
            if this side closes first; without one, connect fails with EADDRNOTAVAIL, \"Cannot assign requested address\""
            .to_owned(),
        remedy: remedy(space, destination, taken),
        weight: blocked.figure(),
    })
}

/// A `connect` that found no port while most were free.
fn narrowed(
    scene: &Scene,
    destination: &Destination,
    taken: &Taken,
    available: usize,
    failed: u64,
) -> Finding {
    let mut evidence = evidence(scene, destination, taken, available);
    if let (Some(low), Some(high)) = (taken.ports.iter().min(), taken.ports.iter().max()) {
        evidence.push(Evidence::new(
            "port_range_in_use",
            usize::from(high - low) + 1,
            format!("they lie between {low} and {high}"),
        ));
    }
    Finding {
        rule: RULE.id,
        level: Level::Critical,
        subject: Subject::Destination {
            netns: destination.netns,
            addr: destination.remote,
            port: Some(destination.port),
        },
        title: format!(
            "connect failed {} because no port was free, although only {} of {available} are in use",
            counted(failed, "time"),
            taken.ports.len()
        ),
        evidence,
        meaning: "the host has free ports for this destination, so the program limits its own range (IP_LOCAL_PORT_RANGE), or \
            other sockets are bound to the rest"
            .to_owned(),
        remedy: "widen the range that the program sets by IP_LOCAL_PORT_RANGE (Linux 6.3), or keep connections open and reuse \
            them; net.ipv4.ip_local_port_range is not the limit here"
            .to_owned(),
        weight: failed.figure(),
    }
}

fn evidence(scene: &Scene, destination: &Destination, taken: &Taken, available: usize) -> Vec<Evidence> {
    let blocked = taken.ports.len().saturating_sub(taken.reusable);
    let mut list = vec![Evidence::new(
        "ports_in_use",
        taken.ports.len(),
        format!(
            "from {}: {} of {available} ports in use, {} of them in TIME_WAIT, {} of which connect may reuse",
            destination.local,
            taken.ports.len(),
            taken.time_waits,
            taken.reusable
        ),
    )];
    let Some(of) = scene.history.by_destination.get(destination) else {
        return list;
    };
    if of.without_port > 0 {
        list.push(Evidence::new(
            "connects_without_free_port",
            of.without_port,
            format!(
                "{} to connect found no free port in {}",
                counted(of.without_port, "call"),
                human(scene.watched)
            ),
        ));
    }
    let rate = of.connects.figure() / scene.seconds().max(1e-9);
    let sustainable = available.figure() / TIME_WAIT;
    list.push(Evidence::new(
        "connects_per_second",
        rate,
        format!("{rate:.1} connects a second; {sustainable:.1} are sustainable if each leaves a TIME_WAIT"),
    ));
    let free = available.saturating_sub(blocked);
    if let Some(left) = time_left(of, rate, free, available) {
        list.push(Evidence::new(
            "exhausted_in_seconds",
            Duration::from_nanos(left.0).as_secs_f64(),
            format!(
                "{} {} left, for {} at this growth",
                counted(free, "port"),
                is(free),
                human(left)
            ),
        ));
    }
    if let Some(process) = of.process {
        let subject = scene.process_subject(process);
        list.push(Evidence::new(
            "pid",
            u64::from(process.pid),
            format!("opened by {subject}"),
        ));
    }
    list
}

/// `None` where use will level off before the ports are gone: after a minute as many TIME_WAITs end as are made.
fn time_left(of: &OfDestination, rate: f64, free: usize, available: usize) -> Option<Nanos> {
    let growth = of
        .in_use
        .per_minute()
        .filter(crate::findings::slope::Slope::is_rising)?;
    if rate * TIME_WAIT < available.figure() {
        return None;
    }
    let left = Duration::try_from_secs_f64(free.figure() / growth.per_unit * 60.0).ok()?;
    Some(Nanos(u64::try_from(left.as_nanos()).ok()?))
}

fn remedy(space: &Netns, destination: &Destination, taken: &Taken) -> String {
    let mut text = "keep connections open and reuse them: keep-alive, or a pool".to_owned();
    let is_loopback = destination.remote.is_loopback();
    if taken.time_waits * 2 > taken.ports.len() && !reuses(space, is_loopback) {
        text.push_str(
            "; until then net.ipv4.tcp_tw_reuse=1 (with timestamps on both sides) lets connect take a port after a second \
             of TIME_WAIT",
        );
    }
    if space.ports().len() < 28_232 {
        text.push_str("; net.ipv4.ip_local_port_range is narrower than the kernel's default, 32768 60999");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        fixture::{NETNS, key, scene, socket, told},
        judge_by,
    };

    /// A client whose range has 100 ports, 10 of them reserved.
    fn narrow() -> Scene {
        let mut scene = scene();
        scene.set("ipv4.ip_local_port_range", "40000 40099");
        scene.set("ipv4.ip_local_reserved_ports", "40000-40009");
        scene.set("ipv4.tcp_tw_reuse", "2");
        scene
    }

    fn add_time_waits(scene: &mut Scene, count: u16, remote: &str) {
        for index in 0..count {
            let local = format!("10.0.0.1:{}", 40_010 + index);
            let left = Socket {
                kind: SockKind::Timewait,
                ..socket(TcpState::TimeWait, &local, remote, 30, None)
            };
            scene.add(1, &left);
        }
    }

    fn judged(scene: &Scene) -> Vec<Finding> {
        judge_by(&[&RULE], scene)
    }

    #[test]
    fn ports_that_are_nearly_gone_are_told() {
        let mut scene = narrow();
        add_time_waits(&mut scene, 72, "10.0.0.9:443");
        let owner = scene.process_at(5, "client");
        let mut of = OfDestination {
            connects: 40,
            process: Some(key(5)),
            ..OfDestination::default()
        };
        for second in 0..10 {
            of.in_use.push(Nanos::from_secs(second), 30 + 4 * second);
        }
        let wanted = destination(&scene.sockets[0]);
        scene.history.by_destination.insert(wanted, of);
        assert_eq!(owner, 0);
        let findings = judged(&scene);
        insta::assert_snapshot!(told(&findings[0]));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn just_below_four_fifths_nothing_is_said() {
        let mut scene = narrow();
        add_time_waits(&mut scene, 71, "10.0.0.9:443");
        assert_eq!(judged(&scene), []);
    }

    #[test]
    fn a_failed_connect_is_critical() {
        let mut scene = narrow();
        let wanted = Destination {
            netns: NETNS,
            local: "10.0.0.1".parse().unwrap(),
            remote: "10.0.0.9".parse().unwrap(),
            port: 443,
        };
        let of = OfDestination {
            connects: 3,
            without_port: 3,
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(wanted, of);
        let findings = judged(&scene);
        assert_eq!(findings[0].level, Level::Critical);
        assert_eq!(
            findings[0].title,
            "connect failed 3 times because no port was free"
        );
    }

    #[test]
    fn time_waits_that_connect_may_reuse_are_no_trouble() {
        let mut scene = narrow();
        scene.set("ipv4.tcp_tw_reuse", "1");
        add_time_waits(&mut scene, 90, "10.0.0.9:443");
        assert_eq!(judged(&scene), []);
        scene.set("ipv4.tcp_timestamps", "0");
        assert_eq!(judged(&scene).len(), 1);
    }

    fn bound(scene: &mut Scene, count: u16, destinations: u16) {
        for index in 0..count {
            let connected = socket(
                TcpState::Established,
                &format!("10.0.0.1:{}", 40_010 + index),
                &format!("10.0.1.{}:443", index % destinations),
                9,
                None,
            );
            scene.add(1, &connected);
        }
    }

    #[test]
    fn ports_bound_before_connect_are_taken_for_all_destinations() {
        let mut scene = narrow();
        bound(&mut scene, 90, 10);
        let findings = judged(&scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(told(&findings[0]));
    }

    #[test]
    fn ports_that_connect_has_chosen_are_shared_between_destinations() {
        let mut scene = narrow();
        bound(&mut scene, 45, 10);
        bound(&mut scene, 90, 9);
        assert_eq!(judged(&scene), []);
    }

    #[test]
    fn a_program_s_own_range_is_not_the_host_s() {
        let mut scene = narrow();
        for index in 0..11 {
            let connected = socket(
                TcpState::Established,
                &format!("10.0.0.1:{}", 40_020 + index),
                "10.0.0.9:443",
                9,
                None,
            );
            scene.add(1, &connected);
        }
        let wanted = destination(&scene.sockets[0]);
        let mut of = OfDestination {
            connects: 30,
            without_port: 19,
            ..OfDestination::default()
        };
        of.in_use.push(Nanos::from_secs(1), 11);
        scene.history.by_destination.insert(wanted, of.clone());
        insta::assert_snapshot!(told(&judged(&scene)[0]));
        // They were all taken a moment ago.
        of.in_use.push(Nanos::from_secs(2), 90);
        scene.history.by_destination.insert(wanted, of);
        assert_eq!(
            judged(&scene)[0].title,
            "connect failed 19 times because no port was free"
        );
    }

    #[test]
    fn many_destinations_and_a_server_s_own_port_are_no_trouble() {
        let mut scene = narrow();
        for host in 1..=90 {
            add_time_waits(&mut scene, 1, &format!("10.0.1.{host}:443"));
        }
        let listener = socket(TcpState::Listen, "10.0.0.1:40050", "0.0.0.0:0", 0, None);
        scene.add(1, &listener);
        let served = socket(TcpState::Established, "10.0.0.1:40050", "10.0.2.1:5000", 9, None);
        scene.add(200, &served);
        assert_eq!(judged(&scene), []);
    }
}
