//! Listeners that drop connections for another reason than a full queue.

use super::{Rule, accept_queue_full};
use crate::{
    event::TcpState,
    findings::{
        Figure as _, Finding, Level,
        scene::{Scene, Socket},
    },
    plural::{counted, was},
};

/// `listener-drops`
pub static RULE: Rule = Rule {
    id: "listener-drops",
    title: "a listener drops connections although its queues are not full",
    fires: "The kernel's own count of what it dropped at a listener (`sk_drops`: `d` in `ss -lm`) grew during the watch, while in
its network namespace no accept queue overflowed (`ListenOverflows`) and no SYN was dropped because a queue of requests was
full (`TCPReqQFullDrop`). A note; a warning from five on.",
    means: "A SYN, or the last ACK of a handshake, was dropped: the client sends it again, so that it connects seconds later or
times out. Without a full queue the kernel does so without SYN cookies, when three quarters of `tcp_max_syn_backlog` are in
use and the client is not known yet; if it finds no route back to the client; if it has no memory for the request; or if a
BPF or security module rejects the socket. An ICMP error for a SYN-ACK, and a segment that no handshake begins with, count
too.",
    remedy: "Look at `net.ipv4.tcp_syncookies` (1, the kernel's default, keeps the last quarter open), at the route to the clients
(`ip route get ADDRESS`), at `dmesg`, and at where the segments are dropped: `perf trace -e skb:kfree_skb`, or `dropwatch`.",
    spares: "Drops at a full accept queue (`accept-queue-full`) or a full queue of requests (`syn-backlog`), and what was dropped
before the watch. Recordings, which have no counters of the namespace: their endpoints view shows the drops.",
    check,
};

const MANY: u64 = 5;

fn check(scene: &Scene) -> Vec<Finding> {
    scene
        .in_state(TcpState::Listen)
        .filter_map(|listener| finding(scene, listener))
        .collect()
}

fn finding(scene: &Scene, listener: &Socket) -> Option<Finding> {
    let drops = scene.history.drops_at(listener.cookie);
    // Where the namespace's counters were not read, the cause may be any.
    let namespace = scene.namespace(listener.netns)?;
    let is_explained = ["ListenOverflows", "TCPReqQFullDrop"]
        .iter()
        .any(|counter| namespace.grown(counter) > 0);
    if drops == 0 || is_explained || accept_queue_full::is_full(listener) {
        return None;
    }
    Some(Finding {
        rule: RULE.id,
        level: if drops >= MANY { Level::Warning } else { Level::Note },
        subject: scene.listener_subject(listener),
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
        fixture::{scene, socket, told},
    };

    fn dropping(count: u32) -> Scene {
        let mut scene = scene();
        let owner = scene.process_at(5, "server");
        let listener = socket(TcpState::Listen, "10.0.0.1:8080", "0.0.0.0:0", 0, Some(owner));
        scene.add(1, &listener);
        scene.history.drops.insert(1, (0, count));
        scene
    }

    #[test]
    fn a_listener_that_drops_without_a_full_queue_is_named() {
        let findings = evaluate_by(&[&RULE], &dropping(7));
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(told(&findings[0]));
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
}
