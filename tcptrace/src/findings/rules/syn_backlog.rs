//! Handshakes that do not complete: a SYN flood, or slow clients.

use super::{Rule, accept_queue_full};
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::OfListener,
        scene::{Netns, Scene, Socket},
    },
    plural::{counted, verb, was},
    socket::HeldUp,
};
use hashbrown::{HashMap, HashSet};

/// `syn-backlog`
pub static RULE: Rule = Rule {
    id: "syn-backlog",
    title: "handshakes are not finished: a SYN flood, or slow clients",
    fires: "On one listening port 64 or more handshakes have waited for their last ACK for a second or longer, or 20 or more
were abandoned during the watch, and more than were completed (warning). SYN cookies were sent, or SYNs dropped,
because the queue was full (critical, as a finding of the network namespace). 64 or more whose handshake is complete wait for
data (a note).",
    means: "A SYN_RECV lasts one round trip. One that is older than a second has had its SYN-ACK sent again. If nearly all are
abandoned, from many addresses, it is a SYN flood from forged ones. If most are completed eventually, clients are slow
or lose packets. While the listener's accept queue is full (`accept-queue-full`), the kernel drops the last ACK, so that the
handshakes of legitimate clients wait and are abandoned too: then nothing is called a flood. Where a queue of the namespace
was full during the watch (`ListenOverflows`), both are named.

The queue holds as many as `listen` requested, at most `somaxconn`; without SYN cookies `tcp_max_syn_backlog` limits it
too. Once it is full, `tcp_syncookies=1` answers without storing a request: connections are still established, but without window
scaling and SACK if the client sends no timestamps.",
    remedy: "Leave `net.ipv4.tcp_syncookies=1`: it keeps the service up during a flood. Drop the SYNs of a flood before they
reach this host. For legitimate clients raise the program's backlog, and `net.core.somaxconn` with it; `tcp_synack_retries`
at 2 drops a half-open connection after 7 s instead of 63 s, including those of slow clients.",
    spares: "Handshakes that are complete and wait for data, as on a listener with TCP_DEFER_ACCEPT (Apache httpd, nginx's
`deferred`): their SYN-ACK is not sent again, which netlink shows; from 64 on they are a note. SYN_RECVs of less than a second, however many: a busy server has (connections a second) × (round trip) of them.",
    check,
};

/// The SYN-ACK is sent again after this time (`TCP_TIMEOUT_INIT`).
const RESENT: Nanos = Nanos::from_secs(1);
/// An ACK without data is dropped by TCP_DEFER_ACCEPT, and from then on no SYN-ACK is sent again (`tcp_check_req`,
/// `syn_ack_recalc`; Linux 6.18). At this age it would have been, with time to spare.
const SURELY_RESENT: Nanos = Nanos::from_millis(1_200);
const MANY: u64 = 64;
const ABANDONED: u64 = 20;

#[derive(Default)]
struct Waiting {
    old: u64,
    deferred: u64,
    peers: HashSet<std::net::IpAddr>,
}

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_port: HashMap<(u32, u16), Waiting> = HashMap::new();
    for socket in scene
        .in_state(TcpState::SynRecv)
        .filter(|socket| socket.span() >= RESENT)
    {
        let of = by_port
            .entry((socket.netns, socket.endpoints.local_port))
            .or_default();
        if is_deferred(socket) {
            of.deferred += 1;
            continue;
        }
        of.old += 1;
        of.peers.insert(socket.endpoints.remote());
    }
    for (key, of) in &scene.history.by_listener {
        if of.abandoned > 0 {
            by_port.entry(*key).or_default();
        }
    }
    let mut findings = Vec::new();
    for (key, waiting) in by_port {
        findings.extend(on_port(scene, key, &waiting));
        findings.extend(without_data(scene, key, waiting.deferred));
    }
    findings.extend(
        scene
            .namespaces
            .iter()
            .filter_map(|namespace| in_namespace(scene, namespace)),
    );
    findings
}

/// Whether the handshake is done and the kernel waits for data: netlink, by which alone a request has a quiet time, reports that
/// its SYN-ACK was not sent again.
fn is_deferred(socket: &Socket) -> bool {
    socket.span() >= SURELY_RESENT && socket.quiet.is_some() && socket.flow.held_up == HeldUp::No
}

fn without_data(scene: &Scene, (netns, port): (u32, u16), count: u64) -> Option<Finding> {
    if count < MANY {
        return None;
    }
    let subject = scene.listener(netns, port).map_or_else(
        || scene.netns_subject(netns),
        |listener| scene.listener_subject(listener),
    );
    Some(Finding {
        rule: RULE.id,
        level: Level::Note,
        subject,
        title: format!("{count} handshakes on port {port} are complete and wait for data"),
        evidence: vec![Evidence::new(
            "deferred",
            count,
            format!("{count} in SYN_RECV for longer than a second, whose SYN-ACK was not sent again, so it is acknowledged"),
        )],
        meaning: "the listener has TCP_DEFER_ACCEPT: accept returns a connection once its first data has arrived, and these clients \
            have sent none, like browsers that connect in advance"
            .to_owned(),
        remedy: "nothing, unless the backlog fills: each occupies a slot until data arrives or the time set by \
            TCP_DEFER_ACCEPT has passed"
            .to_owned(),
        weight: count.figure(),
    })
}

/// Why handshakes are not completed.
#[derive(Clone, Copy)]
enum Kind {
    /// Almost no client answers.
    Flood,
    /// The accept queue is full, or one was during the watch and clients do answer.
    NotAccepted,
    /// Most clients answer late.
    Slow,
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
    let listener = scene.listener(netns, port);
    let overflows = scene
        .namespace(netns)
        .map_or(0, |namespace| namespace.grown("ListenOverflows"));
    let kind = if listener.is_some_and(accept_queue_full::is_full) {
        Kind::NotAccepted
    } else if of.abandoned + waiting.old > 9 * of.done {
        Kind::Flood
    } else if overflows > 0 {
        Kind::NotAccepted
    } else {
        Kind::Slow
    };
    let mut evidence = evidence(scene, waiting, &of, listener);
    if overflows > 0 {
        evidence.push(accept_queue_full::overflow_evidence(scene, overflows));
    }
    let subject = listener.map_or_else(
        || scene.netns_subject(netns),
        |listener| scene.listener_subject(listener),
    );
    Some(Finding {
        rule: RULE.id,
        level: Level::Warning,
        subject,
        title: format!(
            "{} {} on port {port}, and {}",
            counted(waiting.old, "handshake"),
            verb(waiting.old, "wait"),
            match kind {
                Kind::Flood => "almost none is completed",
                Kind::NotAccepted => "an accept queue is or was full",
                Kind::Slow => "many are slow",
            }
        ),
        evidence,
        meaning: match kind {
            Kind::Flood if overflows > 0 => {
                "the senders of these SYNs never answer: a SYN flood, or a firewall that drops this host's SYN-ACKs; or an accept queue \
                 was full, and their last ACKs were dropped"
            }
            Kind::Flood => {
                "the senders of these SYNs never answer: a SYN flood, or a firewall that drops this host's SYN-ACKs"
            }
            Kind::NotAccepted => {
                "while the accept queue is full, the kernel drops the last ACKs of handshakes, which stay half-open: no SYN flood \
                 has to be the cause"
            }
            Kind::Slow => "clients are slow or lose packets",
        }
        .to_owned(),
        remedy: match kind {
            Kind::Flood | Kind::Slow => {
                "leave net.ipv4.tcp_syncookies at 1; drop the SYNs of a flood before they reach this host; for legitimate clients, a \
                 longer backlog helps"
            }
            Kind::NotAccepted => "find out why the program does not call accept (accept-queue-full), and look again after that",
        }
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
                "{} in SYN_RECV for a second or longer, from {}",
                waiting.old,
                counted(waiting.peers.len(), "address")
            ),
        ),
        Evidence::new(
            "handshakes_abandoned",
            of.abandoned,
            format!(
                "in {} {} begun, {} completed, {} abandoned, {} reset, {} by SYN cookie, {} by Fast Open",
                human(scene.watched),
                of.begun,
                of.done,
                of.abandoned,
                of.reset,
                of.by_cookie,
                of.by_fast_open
            ),
        ),
    ];
    if let Some(limit) = listener.and_then(|listener| listener.unsent) {
        list.push(Evidence::new(
            "backlog",
            u64::from(limit),
            format!("the queue holds {limit}"),
        ));
    }
    list
}

fn in_namespace(scene: &Scene, namespace: &Netns) -> Option<Finding> {
    let cookies = namespace.grown("SyncookiesSent");
    let dropped = namespace.grown("TCPReqQFullDrop");
    // 2 sends cookies always, for a test.
    let is_wanted = namespace.number("ipv4.tcp_syncookies") == Some(2);
    if (cookies == 0 || is_wanted) && dropped == 0 {
        return None;
    }
    let mut evidence = Vec::new();
    for (name, count, words) in [
        ("syncookies_sent", cookies, ("SYN cookie", "sent")),
        ("syns_dropped", dropped, ("SYN", "dropped")),
    ] {
        if count > 0 {
            let (noun, done) = words;
            let what = counted(count, noun);
            let text = format!("{what} {} {done} in {}", was(count), human(scene.watched));
            evidence.push(Evidence::new(name, count, text));
        }
    }
    if let Some(backlog) = namespace.number("ipv4.tcp_max_syn_backlog") {
        let text = format!("tcp_max_syn_backlog is {backlog}");
        evidence.push(Evidence::new("tcp_max_syn_backlog", backlog, text));
    }
    Some(Finding {
        rule: RULE.id,
        level: Level::Critical,
        subject: Subject::Netns {
            netns: namespace.netns,
            name: namespace.name.clone(),
        },
        title: if dropped > 0 {
            format!("{} {} dropped: a SYN queue is full", counted(dropped, "SYN"), was(dropped))
        } else {
            format!("SYN cookies are in use: {cookies} sent, a SYN queue is full")
        },
        evidence,
        meaning: "more handshakes wait for their last ACK than the listener's queue holds".to_owned(),
        remedy: if dropped > 0 {
            "set net.ipv4.tcp_syncookies to 1, the kernel's default: without it, a full queue drops legitimate clients too"
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
        findings::{
            evaluate_by,
            fixture::{NETNS, rendered, scene, socket},
        },
        socket::{Flow, SockKind},
    };

    fn half_open(host: u16, seconds: u64) -> Socket {
        Socket {
            kind: SockKind::Request,
            flow: Flow {
                held_up: HeldUp::Unanswered,
                ..Flow::default()
            },
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
            abandoned,
            ..OfListener::default()
        }
    }

    #[test]
    fn a_flood_names_its_listener() {
        let scene = flooded(64, 5, listener(90, 2, 24));
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn handshakes_that_a_full_accept_queue_holds_up_are_no_flood() {
        let title = "64 handshakes wait on port 80, and an accept queue is or was full";
        let mut scene = flooded(64, 5, listener(90, 2, 24));
        scene.sockets[0].unread = Some(129);
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].title, title);
        // One was full, and most clients answer.
        let mut scene = flooded(64, 5, listener(90, 30, 24));
        scene.counted("ListenOverflows", 3, 9);
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].title, title);
    }

    #[test]
    fn a_queue_that_was_full_somewhere_does_not_hide_a_flood() {
        let mut scene = flooded(64, 5, listener(90, 2, 24));
        scene.counted("ListenOverflows", 3, 9);
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    /// Requests of this age, whose SYN-ACK was sent again or not.
    fn waiting_for_data(count: u16, seconds: u64, held_up: HeldUp) -> Scene {
        let mut scene = flooded(0, 0, OfListener::default());
        for host in 0..count {
            let request = Socket {
                quiet: Some(Nanos::from_millis(400)),
                flow: Flow {
                    held_up,
                    ..Flow::default()
                },
                ..half_open(host, seconds)
            };
            scene.add(1, &request);
        }
        scene
    }

    #[test]
    fn handshakes_that_are_done_and_wait_for_data_are_no_flood() {
        let findings = evaluate_by(&[&RULE], &waiting_for_data(70, 5, HeldUp::No));
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
        // Their SYN-ACKs were sent again.
        let findings = evaluate_by(&[&RULE], &waiting_for_data(70, 5, HeldUp::Unanswered));
        assert_eq!(findings[0].level, Level::Warning);
        // The first timeout is not over: nothing is known yet, and nothing is said.
        assert_eq!(evaluate_by(&[&RULE], &waiting_for_data(63, 1, HeldUp::No)), []);
    }

    #[test]
    fn slow_clients_are_no_flood() {
        let scene = flooded(64, 2, listener(900, 800, 3));
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(
            findings[0].title,
            "64 handshakes wait on port 80, and many are slow"
        );
    }

    #[test]
    fn just_below_and_a_busy_server_are_no_trouble() {
        assert_eq!(evaluate_by(&[&RULE], &flooded(63, 5, listener(90, 2, 19))), []);
        assert_eq!(
            evaluate_by(&[&RULE], &flooded(2_000, 0, listener(90_000, 88_000, 30))),
            []
        );
    }

    #[test]
    fn cookies_and_drops_are_critical_unless_cookies_are_always_sent() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_syn_backlog", "512");
        scene.counted("SyncookiesSent", 3, 45);
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
        scene.set("ipv4.tcp_syncookies", "2");
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.counted("TCPReqQFullDrop", 0, 8);
        assert_eq!(
            evaluate_by(&[&RULE], &scene)[0].title,
            "8 SYNs were dropped: a SYN queue is full"
        );
    }
}
