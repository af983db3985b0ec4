//! Handshakes that are not finished: a SYN flood, or slow clients.

use super::Rule;
use crate::{
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::OfListener,
        scene::{Scene, Socket, Space},
    },
    output::duration::human,
};
use hashbrown::{HashMap, HashSet};

/// The rule.
pub static RULE: Rule = Rule {
    id: "syn-backlog",
    title: "handshakes are not finished: a SYN flood, or slow clients",
    fires: "On one listening port 64 or more handshakes have waited for their last ACK for a second or longer, or 20 or more
were abandoned while it was watched, and more than were finished (warning). SYN cookies were sent, or SYNs dropped,
because the queue was full (critical, as a finding of the network namespace).",
    means: "A SYN_RECV lasts one round trip. One that is older than a second has had its SYN-ACK sent again. Where nearly all are
abandoned, from many addresses, it is a SYN flood from forged ones. Where most are finished in the end, clients are slow
or lose packets, or the accept queue is full (`accept-queue-full`).

The queue takes as many as `listen` asked for, at most `somaxconn`; without SYN cookies `tcp_max_syn_backlog` limits it
too. Once it is full, `tcp_syncookies=1` answers without remembering: connections still come about, without window
scaling and SACK where the client sends no timestamps.",
    remedy: "Leave `net.ipv4.tcp_syncookies=1`: it is what a flood is answered with. Against a flood drop its SYNs before they
reach this host. For honest clients raise the program's backlog, and `net.core.somaxconn` with it; `tcp_synack_retries`
at 2 forgets a half-open connection after 7 s instead of 63 s, slow clients among them.",
    spares: "SYN_RECVs of less than a second, however many: a busy server has (connections a second) × (round trip) of them.",
    check,
};

/// The SYN-ACK is sent again after this time (`TCP_TIMEOUT_INIT`).
const RESENT: Nanos = Nanos::from_secs(1);
const MANY: u64 = 64;
const ABANDONED: u64 = 20;

#[derive(Default)]
struct Waiting {
    old: u64,
    peers: HashSet<std::net::IpAddr>,
}

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_port: HashMap<(u32, u16), Waiting> = HashMap::new();
    for socket in scene
        .in_state(TcpState::SynRecv)
        .filter(|socket| socket.span() >= RESENT)
    {
        let of = by_port.entry((socket.netns, socket.ends.local_port)).or_default();
        of.old += 1;
        of.peers.insert(socket.ends.remote());
    }
    for (key, of) in &scene.history.by_listener {
        if of.abandoned > 0 {
            by_port.entry(*key).or_default();
        }
    }
    let mut findings: Vec<Finding> = by_port
        .into_iter()
        .filter_map(|(key, waiting)| on_port(scene, key, &waiting))
        .collect();
    findings.extend(scene.spaces.iter().filter_map(|space| in_namespace(scene, space)));
    findings
}

fn on_port(scene: &Scene, (netns, port): (u32, u16), waiting: &Waiting) -> Option<Finding> {
    let of = scene
        .history
        .by_listener
        .get(&(netns, port))
        .cloned()
        .unwrap_or_default();
    let is_abandoned = of.abandoned >= ABANDONED && of.abandoned > of.done;
    if waiting.old < MANY && !is_abandoned {
        return None;
    }
    let is_flood = of.abandoned + waiting.old > 9 * of.done;
    let listener = scene.listener(netns, port);
    let subject = listener.map_or_else(
        || scene.netns_subject(netns),
        |listener| scene.listener_subject(listener),
    );
    let kind = if is_flood {
        "hardly one is finished"
    } else {
        "many are slow"
    };
    Some(Finding {
        rule: RULE.id,
        level: Level::Warning,
        subject,
        title: format!("{} handshakes wait on port {port}, and {kind}", waiting.old),
        evidence: evidence(scene, waiting, &of, listener),
        meaning: if is_flood {
            "SYNs come whose senders never answer: a SYN flood, or a firewall that drops this host's SYN-ACKs".to_owned()
        } else {
            "clients are slow or lose packets, or the accept queue is full and their last ACK is dropped".to_owned()
        },
        remedy: "leave net.ipv4.tcp_syncookies at 1; against a flood drop the SYNs before they reach this host; for honest \
            clients a longer backlog helps"
            .to_owned(),
        weight: (waiting.old + of.abandoned).figure(),
    })
}

fn evidence(scene: &Scene, waiting: &Waiting, of: &OfListener, listener: Option<&Socket>) -> Vec<Evidence> {
    let mut list = vec![
        Evidence::new(
            "half_open",
            waiting.old,
            format!(
                "{} in SYN_RECV for a second or longer, from {} addresses",
                waiting.old,
                waiting.peers.len()
            ),
        ),
        Evidence::new(
            "handshakes_abandoned",
            of.abandoned,
            format!(
                "in {} {} begun, {} finished, {} abandoned, {} by SYN cookie",
                human(scene.watched),
                of.begun,
                of.done,
                of.abandoned,
                of.by_cookie
            ),
        ),
    ];
    if let Some(limit) = listener.and_then(|listener| listener.unsent) {
        list.push(Evidence::new(
            "backlog",
            u64::from(limit),
            format!("the queue takes {limit}"),
        ));
    }
    list
}

fn in_namespace(scene: &Scene, space: &Space) -> Option<Finding> {
    let cookies = space.grown("SyncookiesSent");
    let dropped = space.grown("TCPReqQFullDrop");
    // 2 sends cookies always, for a test.
    let is_wanted = space.number("ipv4.tcp_syncookies") == Some(2);
    if (cookies == 0 || is_wanted) && dropped == 0 {
        return None;
    }
    let mut evidence = Vec::new();
    for (name, count, words) in [
        ("syncookies_sent", cookies, "SYN cookies were sent"),
        ("syns_dropped", dropped, "SYNs were dropped"),
    ] {
        if count > 0 {
            let text = format!("{count} {words} in {}", human(scene.watched));
            evidence.push(Evidence::new(name, count, text));
        }
    }
    if let Some(backlog) = space.number("ipv4.tcp_max_syn_backlog") {
        let text = format!("tcp_max_syn_backlog is {backlog}");
        evidence.push(Evidence::new("tcp_max_syn_backlog", backlog, text));
    }
    Some(Finding {
        rule: RULE.id,
        level: Level::Critical,
        subject: Subject::Netns {
            netns: space.netns,
            name: space.name.clone(),
        },
        title: if dropped > 0 {
            format!("{dropped} SYNs were dropped: a queue of handshakes is full")
        } else {
            format!("SYN cookies are in force: {cookies} sent, a queue of handshakes is full")
        },
        evidence,
        meaning: "more handshakes wait for their last ACK than the listener's queue takes".to_owned(),
        remedy: if dropped > 0 {
            "set net.ipv4.tcp_syncookies to 1, the kernel's default: without it a full queue drops honest clients too"
        } else {
            "cookies keep the service up; find the listener whose handshakes wait, and whether it is a flood"
        }
        .to_owned(),
        weight: (cookies + dropped).figure(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::SockKind,
        findings::{
            fixture::{NETNS, scene, socket, told},
            judge_by,
        },
    };

    fn half_open(host: u16, seconds: u64) -> Socket {
        Socket {
            kind: SockKind::Request,
            ..socket(
                TcpState::SynRecv,
                "10.0.0.1:80",
                &format!("10.1.{}.{}:5000", host / 256, host % 256),
                seconds,
                None,
            )
        }
    }

    fn flooded(count: u16, seconds: u64, of: OfListener) -> Scene {
        let mut scene = scene();
        let owner = scene.process_at(5, "server");
        let listener = Socket {
            unsent: Some(128),
            ..socket(TcpState::Listen, "10.0.0.1:80", "0.0.0.0:0", 0, Some(owner))
        };
        scene.add(1, &listener);
        for host in 0..count {
            scene.add(1, &half_open(host, seconds));
        }
        scene.history.by_listener.insert((NETNS, 80), of);
        scene
    }

    fn listener(begun: u64, done: u64, abandoned: u64) -> OfListener {
        OfListener {
            begun,
            done,
            by_cookie: 0,
            abandoned,
        }
    }

    #[test]
    fn a_flood_names_its_listener() {
        let scene = flooded(64, 5, listener(90, 2, 24));
        insta::assert_snapshot!(told(&judge_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn slow_clients_are_no_flood() {
        let scene = flooded(64, 2, listener(900, 800, 3));
        let findings = judge_by(&[&RULE], &scene);
        assert_eq!(
            findings[0].title,
            "64 handshakes wait on port 80, and many are slow"
        );
    }

    #[test]
    fn just_below_and_a_busy_server_are_no_trouble() {
        assert_eq!(judge_by(&[&RULE], &flooded(63, 5, listener(90, 2, 19))), []);
        assert_eq!(
            judge_by(&[&RULE], &flooded(2_000, 0, listener(90_000, 88_000, 30))),
            []
        );
    }

    #[test]
    fn cookies_and_drops_are_critical_unless_cookies_are_always_sent() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_syn_backlog", "512");
        scene.counted("SyncookiesSent", 3, 45);
        insta::assert_snapshot!(told(&judge_by(&[&RULE], &scene)[0]));
        scene.set("ipv4.tcp_syncookies", "2");
        assert_eq!(judge_by(&[&RULE], &scene), []);
        scene.counted("TCPReqQFullDrop", 0, 8);
        assert_eq!(
            judge_by(&[&RULE], &scene)[0].title,
            "8 SYNs were dropped: a queue of handshakes is full"
        );
    }
}
