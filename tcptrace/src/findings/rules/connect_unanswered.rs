//! Destinations to which `connect` fails.

use super::{Rule, accept_queue_full};
use crate::{
    duration::human,
    event::{Nanos, NetworkError, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::OfDestination,
        scene::{Scene, Socket},
        waiting,
    },
    plural::{counted, verb, was},
};
use hashbrown::HashMap;
use std::net::IpAddr;

/// `connect-unanswered`
pub static RULE: Rule = Rule {
    id: "connect-unanswered",
    title: "connects to a destination fail",
    fires: "A socket is in SYN_SENT for three seconds or longer, so that its SYN was sent three times at least; or during the watch a `connect`
timed out, failed as unreachable, or was cancelled: the program itself closed the socket after a second or longer, when the
SYN had been sent again. A note; a warning from five on. Five or more connects were refused and none succeeded (a note). If
the destination is a listener on this host whose accept queue is full, that is the cause, and it stays a note next to
`accept-queue-full`.",
    means: "Neither a SYN-ACK nor a RST arrives: the destination is down, a firewall drops the SYN or the answer, the route is
wrong, or its accept queue is full. `connect` blocks its caller for `tcp_syn_retries` (6: about two
minutes), or until a timeout of the program's own, which the kernel does not count: that is a cancelled connect.

The error of an unreachable destination is the ICMP error's: `EHOSTUNREACH` a host that does not answer ARP or neighbour
discovery, or a firewall that rejects; `ENETUNREACH` no route; `ECONNREFUSED` a port that a firewall rejects; `EACCES` an
ICMPv6 error of a firewall. A RST is a refusal: the host is up, and nothing listens on the port.",
    remedy: "Look at the path: `traceroute -T -p PORT`, the firewalls' counters, the other host; of refused connects, at the
service. Give `connect` a timeout in the program; one shorter than a second fails at the first lost segment.
`net.ipv4.tcp_syn_retries` affects the whole host: 2 gives up after 7 s, 3 after 15 s (after 19 s since Linux 6.5, which sends
the first SYNs a second apart: `tcp_syn_linear_timeouts`), on slow destinations too.",
    spares: "A SYN_SENT of less than three seconds, as after a single loss; connects that their program cancels within a second, as
after another address answered first; a few refused connects, and those to a destination that also accepts some.",
    check,
};

const SLOW: Nanos = Nanos::from_secs(3);
const MANY: u64 = 5;

#[derive(Default)]
struct Of {
    waiting: u64,
    longest: Nanos,
    timeouts: u64,
    unreachable: u64,
    error: Option<NetworkError>,
    cancelled: u64,
    cancelled_after: Option<(Nanos, Nanos)>,
    connected: u64,
    refused: u64,
}

impl Of {
    fn add(&mut self, counts: &OfDestination) {
        self.timeouts += counts.timeouts;
        self.unreachable += counts.unreachable;
        self.error = counts.error.or(self.error);
        self.cancelled += counts.cancelled;
        self.cancelled_after = match (self.cancelled_after, counts.cancelled_after) {
            (Some((shortest, longest)), Some((short, long))) => {
                Some((shortest.min(short), longest.max(long)))
            }
            (one, other) => one.or(other),
        };
        self.connected += counts.connected;
        self.refused += counts.refused;
    }

    const fn unanswered(&self) -> u64 {
        self.waiting + self.timeouts + self.unreachable + self.cancelled
    }

    const fn is_refused(&self) -> bool {
        self.refused >= MANY && self.connected == 0
    }
}

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_destination: HashMap<(u32, IpAddr, u16), Of> = HashMap::new();
    for socket in scene
        .in_state(TcpState::SynSent)
        .filter(|socket| socket.span() >= SLOW)
    {
        let key = (
            socket.netns,
            socket.endpoints.remote(),
            socket.endpoints.remote_port,
        );
        let of = by_destination.entry(key).or_default();
        of.waiting += 1;
        of.longest = of.longest.max(socket.span());
    }
    for (destination, counts) in &scene.history.by_destination {
        let key = (destination.netns, destination.remote, destination.port);
        by_destination.entry(key).or_default().add(counts);
    }
    by_destination
        .into_iter()
        .filter(|(_, of)| of.unanswered() > 0 || of.is_refused())
        .map(|((netns, addr, port), of)| finding(scene, netns, addr, port, &of))
        .collect()
}

fn finding(scene: &Scene, netns: u32, addr: IpAddr, port: u16, of: &Of) -> Finding {
    let unanswered = of.unanswered();
    let evidence = evidence(scene, of);
    let (count, how) = if unanswered > 0 {
        (unanswered, "unanswered")
    } else {
        (of.refused, "refused")
    };
    let noun = if count == 1 { "connect" } else { "connects" };
    if unanswered > 0
        && let Some(listener) = full_listener(scene, netns, addr, port)
    {
        return by_full_queue(
            scene,
            (netns, addr, port),
            &format!("{count} {noun}"),
            evidence,
            listener,
            count,
        );
    }
    let (meaning, remedy) = if unanswered > 0 && of.unreachable == unanswered {
        (
            "this host has no route to the destination, or it, a router or a firewall rejects the SYN by an ICMP error",
            "look at the routes with ip route get, and at the firewalls on the path",
        )
    } else if unanswered > 0 {
        (
            "the destination is down, or something on the path drops the SYN or its answer; a closed port would refuse at once",
            if of.cancelled == unanswered {
                "look at the path and its firewalls, which traceroute -T shows; the timeout is the program's own, and no setting changes it"
            } else {
                "look at the path and its firewalls; give connect a timeout in the program, else it blocks for about two minutes"
            },
        )
    } else {
        (
            "the destination is up, and nothing listens on this port, or a firewall resets what it does not let pass",
            "look whether the service runs there, and on which port and address it listens",
        )
    };
    Finding {
        rule: RULE.id,
        level: if unanswered >= MANY {
            Level::Warning
        } else {
            Level::Note
        },
        subject: Subject::Destination {
            netns,
            addr,
            port: Some(port),
        },
        title: format!("{count} {how} {noun}"),
        evidence,
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        weight: count.figure(),
    }
}

/// How its connects ended, or still wait.
fn evidence(scene: &Scene, of: &Of) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    if of.waiting > 0 {
        evidence.push(Evidence::new(
            "longest_seconds",
            waiting::seconds(of.longest),
            format!(
                "{} in SYN_SENT, the longest for {}",
                of.waiting,
                human(of.longest)
            ),
        ));
    }
    let error = of
        .error
        .map_or_else(String::new, |error| format!(", the last with {}", error.name()));
    let none = if of.connected == 0 {
        ", and none succeeded"
    } else {
        ""
    };
    for (name, number, words, more) in [
        ("timeouts", of.timeouts, "timed out".to_owned(), ""),
        (
            "unreachable",
            of.unreachable,
            "failed as unreachable".to_owned(),
            &*error,
        ),
        (
            "cancelled",
            of.cancelled,
            format!("{} cancelled by the program", was(of.cancelled)),
            "",
        ),
        (
            "refused",
            of.refused,
            format!("{} refused", was(of.refused)),
            none,
        ),
    ] {
        if number > 0 {
            let text = format!("{number} {words} in {}{more}", human(scene.watched));
            evidence.push(Evidence::new(name, number, text));
        }
    }
    if let Some((shortest, longest)) = of.cancelled_after {
        evidence.push(Evidence::new(
            "cancelled_after_seconds",
            waiting::seconds(longest),
            waited(shortest, longest),
        ));
    }
    evidence
}

/// `the program waited 2.00s`, or `the program waited 1.50s to 2.00s`.
fn waited(shortest: Nanos, longest: Nanos) -> String {
    let (shortest, longest) = (human(shortest), human(longest));
    if shortest == longest {
        format!("the program waited {longest}")
    } else {
        format!("the program waited {shortest} to {longest}")
    }
}

/// The listener of this host behind a destination, where its accept queue is full. Sockets show which addresses are this
/// host's.
fn full_listener(scene: &Scene, netns: u32, addr: IpAddr, port: u16) -> Option<&Socket> {
    scene
        .in_state(TcpState::Listen)
        .filter(|listener| listener.endpoints.local_port == port && accept_queue_full::is_full(listener))
        .find(|listener| {
            let local = listener.endpoints.local();
            let is_everywhere = local.is_unspecified();
            let has_address = || {
                let is_there =
                    |socket: &Socket| socket.netns == listener.netns && socket.endpoints.local() == addr;
                scene.sockets.iter().any(is_there)
            };
            let is_here = listener.netns == netns;
            if addr.is_loopback() {
                is_here && (is_everywhere || local == addr)
            } else {
                local == addr || (is_everywhere && has_address())
            }
        })
}

fn by_full_queue(
    scene: &Scene,
    (netns, addr, port): (u32, IpAddr, u16),
    connects: &str,
    mut evidence: Vec<Evidence>,
    listener: &Socket,
    count: u64,
) -> Finding {
    let whose = scene.owner(listener).map_or_else(
        || "a listener of this host".to_owned(),
        |owner| format!("{}/{} on this host", owner.key.pid, owner.comm),
    );
    let queue = u64::from(listener.unread.unwrap_or(0));
    evidence.push(Evidence::new(
        "accept_queue",
        queue,
        format!(
            "{whose} listens there: {} {} for accept, and the queue holds {}",
            counted(queue, "connection"),
            verb(queue, "wait"),
            listener.unsent.unwrap_or(0)
        ),
    ));
    Finding {
        rule: RULE.id,
        level: Level::Note,
        subject: Subject::Destination {
            netns,
            addr,
            port: Some(port),
        },
        title: format!("{connects} unanswered: the accept queue of {whose} is full"),
        evidence,
        meaning: "the kernel drops SYNs to a listener whose accept queue is full; with SO_REUSEPORT only those assigned to it, so that some connects succeed"
            .to_owned(),
        remedy: "see accept-queue-full, which names that listener: it does not call accept".to_owned(),
        weight: count.figure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{NETNS, rendered, scene, socket},
        history::Destination,
    };

    fn destination() -> Destination {
        Destination {
            netns: NETNS,
            local: "10.0.0.1".parse().unwrap(),
            remote: "192.0.2.1".parse().unwrap(),
            port: 5432,
        }
    }

    #[test]
    fn those_that_wait_and_those_that_gave_up_are_put_together() {
        let mut scene = scene();
        for (port, seconds) in [(40_000, 3), (40_001, 9)] {
            let waiting = socket(
                TcpState::SynSent,
                &format!("10.0.0.1:{port}"),
                "192.0.2.1:5432",
                seconds,
                None,
            );
            scene.add(1, &waiting);
        }
        let of = OfDestination {
            connects: 9,
            timeouts: 2,
            unreachable: 1,
            error: Some(NetworkError::Host),
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(destination(), of);
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    fn stuck(listener: &str, waits_from: &str, waits_for: &str) -> Finding {
        let mut scene = scene();
        let worker = scene.process_at(7, "worker-stuck");
        let full = Socket {
            unread: Some(2),
            unsent: Some(1),
            ..socket(TcpState::Listen, listener, "0.0.0.0:0", 0, Some(worker))
        };
        scene.add(1, &full);
        let waiting = socket(TcpState::SynSent, waits_from, waits_for, 4, None);
        for _ in 0..6 {
            scene.add(1, &waiting);
        }
        evaluate_by(&[&RULE], &scene).remove(0)
    }

    #[test]
    fn a_full_queue_of_this_host_is_named_as_the_cause() {
        insta::assert_snapshot!(rendered(&stuck("0.0.0.0:80", "127.0.0.1:40000", "127.0.0.1:80")));
        let named = "accept queue of 7/worker-stuck on this host is full";
        for (listener, from, to, is_cause) in [
            ("10.0.0.1:80", "10.0.0.1:40000", "10.0.0.1:80", true),
            ("0.0.0.0:80", "10.0.0.1:40000", "10.0.0.1:80", true),
            ("0.0.0.0:80", "10.0.0.1:40000", "192.0.2.1:80", false),
            ("10.0.0.1:80", "10.0.0.1:40000", "10.0.0.1:81", false),
        ] {
            let finding = stuck(listener, from, to);
            assert_eq!(
                finding.title.contains(named),
                is_cause,
                "{listener} {to} {}",
                finding.title
            );
        }
    }

    #[test]
    fn a_timeout_of_the_program_s_own_is_reported_with_its_length() {
        let mut scene = scene();
        let waited = (Nanos::from_millis(1_500), Nanos::from_secs(2));
        let of = OfDestination {
            connects: 6,
            cancelled: 6,
            cancelled_after: Some(waited),
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(destination(), of);
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn a_service_that_refuses_every_connect_is_a_note() {
        let refused = |refused, connected| {
            let mut scene = scene();
            let of = OfDestination {
                connects: refused + connected,
                connected,
                refused,
                ..OfDestination::default()
            };
            scene.history.by_destination.insert(destination(), of);
            evaluate_by(&[&RULE], &scene)
        };
        insta::assert_snapshot!(rendered(&refused(900, 0)[0]));
        assert_eq!(refused(900, 1), [], "it accepts some");
        assert_eq!(
            refused(4, 0),
            [],
            "a few, as of a client that tries two addresses"
        );
    }

    #[test]
    fn a_slow_handshake_is_no_trouble() {
        let mut scene = scene();
        let slow = socket(TcpState::SynSent, "10.0.0.1:40000", "192.0.2.1:5432", 2, None);
        scene.add(30, &slow);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
