//! Listeners that drop connections for another reason than a full queue.

use super::{
    Rule,
    accept_queue_full::{self, LISTEN_DROPS},
};
use crate::{
    event::TcpState,
    findings::{
        Figure as _, Finding, Level,
        scene::{Netns, Scene},
    },
    plural::{counted, was},
};

/// `listener-drops`
pub static RULE: Rule = Rule {
    id: "listener-drops",
    title: "a listener drops connections although its queues are not full",
    fires: "`ListenDrops` of a network namespace grew during the watch, while no accept queue overflowed there (`ListenOverflows`) and
no SYN was dropped because a queue of requests was full (`TCPReqQFullDrop`). A note; a warning from five on. It names the
listener if only one has dropped segments (`sk_drops`: `d` in `ss -lm`) and none was closed during the watch; else, and in
`serve`, the finding is the namespace's.",
    means: "A SYN, or the last ACK of a handshake, was dropped: the client sends it again, so that it connects seconds later or
times out. Without a full queue the kernel does so without SYN cookies, when three quarters of `tcp_max_syn_backlog` are in
use and the client is not known yet; if it finds no route back to the client; if it has no memory for the request; or if a
BPF or security module rejects the socket. An ICMP error for a SYN-ACK counts too.

`sk_drops` alone shows none of this: it also counts segments that a healthy handshake drops, such as the bare ACK to a listener with
TCP_DEFER_ACCEPT, a SYN that a client repeats, and a RST.",
    remedy: "Look at `net.ipv4.tcp_syncookies` (1, the kernel's default, keeps the last quarter open), at the route to the clients
(`ip route get ADDRESS`), at `dmesg`, and at where the segments are dropped: `perf trace -e skb:kfree_skb`, or `dropwatch`.",
    spares: "Drops at a full accept queue (`accept-queue-full`) or a full queue of requests (`syn-backlog`); listeners of which
only `sk_drops` grew; and what was dropped before the watch. Recordings, which have no counters of the namespace: their endpoints
view shows `sk_drops`.",
    check,
};

const MANY: u64 = 5;

fn check(scene: &Scene) -> Vec<Finding> {
    scene
        .namespaces
        .iter()
        .filter_map(|namespace| in_namespace(scene, namespace))
        .collect()
}

fn in_namespace(scene: &Scene, namespace: &Netns) -> Option<Finding> {
    let is_full = scene
        .in_state(TcpState::Listen)
        .any(|listener| listener.netns == namespace.netns && accept_queue_full::is_full(listener));
    let is_explained = ["ListenOverflows", "TCPReqQFullDrop"]
        .iter()
        .any(|counter| namespace.grown(counter) > 0);
    let dropped = namespace.grown(LISTEN_DROPS);
    if dropped == 0 || is_explained || is_full {
        return None;
    }
    let (subject, drops) = match accept_queue_full::dropped_at(scene, namespace) {
        Some((listener, drops)) => (scene.listener_subject(listener), drops),
        None => (scene.netns_subject(namespace.netns), dropped),
    };
    Some(Finding {
        rule: RULE.id,
        level: if drops >= MANY { Level::Warning } else { Level::Note },
        subject,
        title: format!(
            "{} {} dropped, and no queue is full",
            counted(drops, "connection attempt"),
            was(drops)
        ),
        evidence: vec![accept_queue_full::drops_evidence(scene, drops)],
        meaning: "the clients send again and connect seconds later, or time out; a missing route, memory, a quarter of the backlog \
            that is kept for known clients, or a security module can be the cause"
            .to_owned(),
        remedy: "leave net.ipv4.tcp_syncookies at 1, and look at the routes to the clients and where the kernel drops".to_owned(),
        weight: drops.figure(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{NETNS, rendered, scene, socket},
    };

    fn dropping(count: u32) -> Scene {
        let mut scene = scene();
        let owner = scene.process_at(5, "server");
        let listener = socket(TcpState::Listen, "10.0.0.1:8080", "0.0.0.0:0", 0, Some(owner));
        scene.add(1, &listener);
        scene.history.drops.insert(1, (0, count));
        scene.counted(LISTEN_DROPS, 3, 3 + u64::from(count));
        scene
    }

    #[test]
    fn a_listener_that_drops_without_a_full_queue_is_named() {
        let findings = evaluate_by(&[&RULE], &dropping(7));
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
        assert_eq!(evaluate_by(&[&RULE], &dropping(4))[0].level, Level::Note);
    }

    #[test]
    fn drops_of_a_full_queue_are_another_rule_s() {
        for counter in ["ListenOverflows", "TCPReqQFullDrop"] {
            let mut scene = dropping(7);
            scene.counted(counter, 3, 4);
            assert_eq!(evaluate_by(&[&RULE], &scene), [], "{counter}");
        }
        let mut full = dropping(7);
        (full.sockets[0].unread, full.sockets[0].unsent) = (Some(5), Some(4));
        assert_eq!(evaluate_by(&[&RULE], &full), []);
        assert_eq!(evaluate_by(&[&RULE], &dropping(0)), []);
    }

    #[test]
    fn segments_that_a_deferring_listener_drops_are_no_lost_attempts() {
        let mut scene = dropping(7);
        scene.counted(LISTEN_DROPS, 3, 3);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.counted(LISTEN_DROPS, 3, 5);
        let title = "2 connection attempts were dropped, and no queue is full";
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].title, title);
    }

    #[test]
    fn the_listener_is_named_only_if_no_other_one_can_have_dropped_them() {
        let subject = |scene: &Scene| {
            let findings = evaluate_by(&[&RULE], scene);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            findings[0].subject.clone()
        };
        let mut scene = dropping(7);
        scene.add(
            1,
            &socket(TcpState::Listen, "10.0.0.1:80", "0.0.0.0:0", 0, Some(0)),
        );
        scene.history.drops.insert(2, (10, 10));
        assert_eq!(subject(&scene), scene.listener_subject(&scene.sockets[0]));
        let of_netns = scene.netns_subject(NETNS);
        // Another one has dropped segments too, was closed meanwhile, or none was read.
        scene.history.drops.insert(2, (10, 12));
        assert_eq!(subject(&scene), of_netns);
        scene.history.drops = [(1, (0, 7)), (9, (0, 0))].into();
        assert_eq!(subject(&scene), of_netns);
        scene.history.drops.clear();
        assert_eq!(subject(&scene), of_netns);
    }
}
