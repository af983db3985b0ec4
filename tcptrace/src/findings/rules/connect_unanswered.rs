//! Destinations that do not answer `connect`.

use super::Rule;
use crate::{
    event::{Nanos, TcpState},
    findings::{Evidence, Figure as _, Finding, Level, Subject, scene::Scene},
    output::duration::human,
};
use hashbrown::HashMap;
use std::{net::IpAddr, time::Duration};

/// The rule.
pub static RULE: Rule = Rule {
    id: "connect-unanswered",
    title: "a destination does not answer connect",
    fires: "A socket is in SYN_SENT for three seconds or longer, so that its SYN was sent three times; or a `connect` gave up, or
was told by the network that there is no way, while it was watched. A note, from five on a warning.",
    means: "No SYN-ACK comes, and no RST either: the destination is down, a firewall drops the SYN or the answer, the route is
wrong, or its accept queue is full. `connect` waits for `tcp_syn_retries` (6: some two minutes), and with it whoever
called it. A port where nobody listens is refused at once, and is not meant here.",
    remedy: "Look at the path: `traceroute -T -p PORT`, the firewalls' counters, the other host. Give `connect` a timeout in the
program that suits it; `net.ipv4.tcp_syn_retries` is for the whole host, and 2 gives up after 7 s, on destinations that
are only slow as well.",
    spares: "A SYN_SENT of less than three seconds, as over any long path with one loss; refused connections.",
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
}

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_destination: HashMap<(u32, IpAddr, u16), Of> = HashMap::new();
    for socket in scene
        .in_state(TcpState::SynSent)
        .filter(|socket| socket.span() >= SLOW)
    {
        let key = (socket.netns, socket.ends.remote(), socket.ends.remote_port);
        let of = by_destination.entry(key).or_default();
        of.waiting += 1;
        of.longest = of.longest.max(socket.span());
    }
    for (destination, counts) in &scene.history.by_destination {
        if counts.timeouts + counts.unreachable > 0 {
            let key = (destination.netns, destination.remote, destination.port);
            let of = by_destination.entry(key).or_default();
            of.timeouts += counts.timeouts;
            of.unreachable += counts.unreachable;
        }
    }
    by_destination
        .into_iter()
        .map(|((netns, addr, port), of)| finding(scene, netns, addr, port, &of))
        .collect()
}

fn finding(scene: &Scene, netns: u32, addr: IpAddr, port: u16, of: &Of) -> Finding {
    let count = of.waiting + of.timeouts + of.unreachable;
    let mut evidence = Vec::new();
    if of.waiting > 0 {
        evidence.push(Evidence::new(
            "longest_seconds",
            Duration::from_nanos(of.longest.0).as_secs_f64(),
            format!(
                "{} wait in SYN_SENT, the longest for {}",
                of.waiting,
                human(of.longest)
            ),
        ));
    }
    for (name, number, words) in [
        ("timeouts", of.timeouts, "gave up without an answer"),
        (
            "unreachable",
            of.unreachable,
            "were told by the network that there is no way",
        ),
    ] {
        if number > 0 {
            let text = format!("{number} {words} in {}", human(scene.watched));
            evidence.push(Evidence::new(name, number, text));
        }
    }
    let noun = if count == 1 { "connect" } else { "connects" };
    Finding {
        rule: RULE.id,
        level: if count >= MANY { Level::Warning } else { Level::Note },
        subject: Subject::Destination {
            netns,
            addr,
            port: Some(port),
        },
        title: format!("{count} {noun} without an answer"),
        evidence,
        meaning: "the destination is down, or something on the way drops the SYN or its answer; a refusal would have come at once"
            .to_owned(),
        remedy: "look at the path and its firewalls; give connect a timeout in the program, or it waits for some two minutes"
            .to_owned(),
        weight: count.figure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        fixture::{NETNS, scene, socket, told},
        history::{Destination, OfDestination},
        judge_by,
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
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(destination(), of);
        insta::assert_snapshot!(told(&judge_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn a_slow_handshake_and_a_refusal_are_no_trouble() {
        let mut scene = scene();
        let slow = socket(TcpState::SynSent, "10.0.0.1:40000", "192.0.2.1:5432", 2, None);
        scene.add(30, &slow);
        let of = OfDestination {
            connects: 900,
            refused: 900,
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(destination(), of);
        assert_eq!(judge_by(&[&RULE], &scene), []);
    }
}
