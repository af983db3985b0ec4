//! Local ports that run out towards one destination.

use super::Rule;
use crate::{
    decode::SockKind,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::{Destination, OfDestination},
        scene::{Scene, Socket, Space},
    },
    output::duration::human,
};
use hashbrown::{HashMap, HashSet};
use std::time::Duration;

/// The rule.
pub static RULE: Rule = Rule {
    id: "ephemeral-ports",
    title: "local ports run out towards one destination",
    fires: "A `connect` failed because no port was free (critical), or the ports towards one destination are taken to four
fifths (warning) or nineteen twentieths (critical). Counted are the ports of `ip_local_port_range` less
`ip_local_reserved_ports` that a socket has from one local address to one remote address and port, those in TIME_WAIT
included unless `connect` may reuse them.",
    means: "A connection is its two addresses and two ports, so the ports run out for each local address, remote address and
remote port, and not for the host. Whoever closes first keeps the port in TIME_WAIT for 60 s, so to one destination
(ports) / 60 s connections a second can be kept up: 470 with the kernel's defaults. Beyond it `connect` fails with
EADDRNOTAVAIL, \"Cannot assign requested address\". The kernel has no counter for it; tcptrace sees the failure as a
SYN_SENT that goes back to CLOSE at once and without a port.",
    remedy: "Reuse connections: keep-alive, a pool, HTTP/2. That also saves the handshakes.

If that cannot be: let the server close first, which moves TIME_WAIT to its side, where it takes no port; connect from
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

fn check(scene: &Scene) -> Vec<Finding> {
    let listening = scene.listening();
    let mut taken: HashMap<Destination, Taken> = HashMap::new();
    for socket in &scene.sockets {
        let Some(space) = scene.space(socket.netns) else {
            continue;
        };
        let port = socket.ends.local_port;
        let is_outgoing = !matches!(socket.state, TcpState::Listen | TcpState::Close)
            && space.ports().contains(&port)
            && !listening.contains(&(socket.netns, port));
        if !is_outgoing {
            continue;
        }
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
    taken
        .iter()
        .filter_map(|(destination, taken)| finding(scene, destination, taken))
        .collect()
}

fn destination(socket: &Socket) -> Destination {
    Destination {
        netns: socket.netns,
        local: socket.ends.local(),
        remote: socket.ends.remote(),
        port: socket.ends.remote_port,
    }
}

/// Whether `connect` may take over a port in TIME_WAIT: `tcp_tw_reuse` 1 for all, 2 for loopback, with timestamps.
fn reuses(space: &Space, is_loopback: bool) -> bool {
    let reuse = space.number("ipv4.tcp_tw_reuse").unwrap_or(2);
    let has_timestamps = space.number("ipv4.tcp_timestamps").unwrap_or(1) != 0;
    has_timestamps && (reuse == 1 || (reuse == 2 && is_loopback))
}

fn may_be_reused(socket: &Socket, space: &Space) -> bool {
    reuses(space, socket.is_loopback()) && socket.span() >= REUSABLE
}

fn finding(scene: &Scene, destination: &Destination, taken: &Taken) -> Option<Finding> {
    let space = scene.space(destination.netns)?;
    let available = space.free_ports();
    let blocked = taken.ports.len().saturating_sub(taken.reusable);
    let of = scene.history.by_destination.get(destination);
    let failed = of.map_or(0, |of| of.without_port);
    let level = if failed > 0 || blocked * 100 >= available * CRITICAL {
        Level::Critical
    } else if blocked * 100 >= available * WARNING {
        Level::Warning
    } else {
        return None;
    };
    let title = if failed > 0 {
        format!("connect failed {failed} times for want of a port")
    } else {
        format!("{blocked} of {available} local ports are taken")
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
        meaning: "to this address and port every connection needs a local port of its own, and each keeps it for 60 s more \
            where this side closes first; without one, connect fails with EADDRNOTAVAIL, \"Cannot assign requested address\""
            .to_owned(),
        remedy: remedy(space, destination, taken),
        weight: blocked.figure(),
    })
}

fn evidence(scene: &Scene, destination: &Destination, taken: &Taken, available: usize) -> Vec<Evidence> {
    let blocked = taken.ports.len().saturating_sub(taken.reusable);
    let mut list = vec![Evidence::new(
        "ports_taken",
        taken.ports.len(),
        format!(
            "from {}: {} of {available} ports taken, {} of them in TIME_WAIT, {} of which connect may reuse",
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
            "connects_without_port",
            of.without_port,
            format!(
                "{} calls of connect found no port in {}",
                of.without_port,
                human(scene.watched)
            ),
        ));
    }
    let rate = of.connects.figure() / scene.seconds().max(1e-9);
    let sustainable = available.figure() / TIME_WAIT;
    list.push(Evidence::new(
        "connects_per_second",
        rate,
        format!("{rate:.1} connects a second; {sustainable:.1} can be kept up if each leaves a TIME_WAIT"),
    ));
    let free = available.saturating_sub(blocked);
    if let Some(left) = time_left(of, rate, free, available) {
        list.push(Evidence::new(
            "exhausted_in_seconds",
            Duration::from_nanos(left.0).as_secs_f64(),
            format!("{free} ports are left, for {} at this growth", human(left)),
        ));
    }
    if let Some(process) = of.process {
        let subject = scene.process_subject(process);
        list.push(Evidence::new(
            "pid",
            u64::from(process.pid),
            format!("connects: {subject}"),
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

fn remedy(space: &Space, destination: &Destination, taken: &Taken) -> String {
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
        assert_eq!(findings[0].title, "connect failed 3 times for want of a port");
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
