//! Listeners whose accept queue is full.

use super::Rule;
use crate::{
    duration::human,
    event::TcpState,
    findings::{
        Evidence, Figure as _, Finding, Level,
        scene::{Netns, Scene, Socket},
    },
    plural::counted,
};

/// `accept-queue-full`
pub static RULE: Rule = Rule {
    id: "accept-queue-full",
    title: "a listener's accept queue is full",
    fires: "More connections wait for `accept` than the queue holds (critical), or `ListenOverflows` grew during the watch
(warning), which names the listener with the fullest queue.",
    means: "A connection whose handshake is complete waits in the listener's queue until the program calls `accept`. The queue holds
as many as `listen` requested, at most `net.core.somaxconn` (`ss -ltn`: Recv-Q of Send-Q). Beyond it the kernel drops
the client's last ACK, and its SYNs: clients see connections that take 1, 3, 7 s, or time out, while the server's
CPU may be idle.",
    remedy: "First see why the program does not accept: the accepting thread is blocked, all workers are busy, or descriptors are
exhausted (see `close-wait-leak`). A longer queue helps with bursts only: raise the program's own backlog, and
`net.core.somaxconn` where it is the smaller of the two; the program must call `listen` again for it to take effect. Each waiting
connection uses the memory of a socket, and waits longer.",
    spares: "Queues that fill and drain without an overflow.",
    check,
};

fn check(scene: &Scene) -> Vec<Finding> {
    let mut findings: Vec<Finding> = scene
        .in_state(TcpState::Listen)
        .filter(|listener| is_full(listener))
        .map(|listener| finding(scene, listener, Level::Critical))
        .collect();
    for space in &scene.spaces {
        let overflows = space.grown("ListenOverflows");
        let is_explained = scene
            .in_state(TcpState::Listen)
            .any(|listener| listener.netns == space.netns && is_full(listener));
        if overflows > 0 && !is_explained {
            findings.push(overflowed(scene, space, overflows));
        }
    }
    findings
}

/// `sk_acceptq_is_full` of include/net/sock.h: more than the limit.
pub(super) fn is_full(listener: &Socket) -> bool {
    matches!((listener.unread, listener.unsent), (Some(queue), Some(limit)) if queue > limit)
}

fn overflowed(scene: &Scene, space: &Netns, overflows: u64) -> Finding {
    let fullest = scene
        .in_state(TcpState::Listen)
        .filter(|listener| listener.netns == space.netns && listener.unread > Some(0))
        .max_by_key(|listener| listener.unread);
    match fullest {
        Some(listener) => finding(scene, listener, Level::Warning),
        None => Finding {
            rule: RULE.id,
            level: Level::Warning,
            subject: scene.netns_subject(space.netns),
            title: format!(
                "{} arrived at a full accept queue",
                counted(overflows, "connection")
            ),
            evidence: vec![overflow_evidence(scene, overflows)],
            meaning: meaning(),
            remedy: "no queue is full now: watch again while it happens, with --duration".to_owned(),
            weight: overflows.figure(),
        },
    }
}

fn overflow_evidence(scene: &Scene, overflows: u64) -> Evidence {
    Evidence::new(
        "listen_overflows",
        overflows,
        format!("ListenOverflows grew by {overflows} in {}", human(scene.watched)),
    )
}

fn meaning() -> String {
    "the kernel drops the last ACK of a handshake, and SYNs, while the queue is full: clients wait for seconds, or time out"
        .to_owned()
}

fn finding(scene: &Scene, listener: &Socket, level: Level) -> Finding {
    let queue = u64::from(listener.unread.unwrap_or(0));
    let limit = u64::from(listener.unsent.unwrap_or(0));
    let space = scene.space(listener.netns);
    let somaxconn = space.and_then(|space| space.number("core.somaxconn"));
    let mut evidence = vec![Evidence::new(
        "accept_queue",
        queue,
        format!(
            "{} {} for accept, and the queue holds {limit}",
            counted(queue, "connection"),
            if queue == 1 { "waits" } else { "wait" }
        ),
    )];
    if let Some(somaxconn) = somaxconn {
        evidence.push(Evidence::new(
            "somaxconn",
            somaxconn,
            format!("net.core.somaxconn is {somaxconn}"),
        ));
    }
    let overflows = space.map_or(0, |space| space.grown("ListenOverflows"));
    if overflows > 0 {
        evidence.push(overflow_evidence(scene, overflows));
    }
    let limited_by = if somaxconn == Some(limit) {
        "a longer queue would need a higher net.core.somaxconn, and a backlog as high in the program"
    } else {
        "a longer queue would need a higher backlog in the program's call to listen"
    };
    Finding {
        rule: RULE.id,
        level,
        subject: scene.listener_subject(listener),
        title: if level == Level::Critical {
            format!("the accept queue is full: {queue} wait, and it holds {limit}")
        } else {
            format!("the accept queue overflowed; now {queue} wait, and it holds {limit}")
        },
        evidence,
        meaning: meaning(),
        remedy: format!(
            "find out why the program does not call accept: a blocked thread, all workers busy, no descriptors left; \
             {limited_by}, and helps with bursts only"
        ),
        weight: queue.figure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        fixture::{scene, socket, told},
        judge_by,
    };

    fn listening(queue: u32, limit: u32, owner: Option<usize>) -> Socket {
        Socket {
            unread: Some(queue),
            unsent: Some(limit),
            ..socket(TcpState::Listen, "10.0.0.1:8080", "0.0.0.0:0", 0, owner)
        }
    }

    #[test]
    fn a_full_queue_names_its_listener_and_what_limits_it() {
        let mut scene = scene();
        let owner = scene.process_at(5, "server");
        scene.set("core.somaxconn", "128");
        scene.counted("ListenOverflows", 1, 35);
        scene.add(1, &listening(129, 128, Some(owner)));
        let findings = judge_by(&[&RULE], &scene);
        insta::assert_snapshot!(told(&findings[0]));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn a_queue_at_its_limit_is_not_yet_full_and_a_burst_that_drains_is_none() {
        let mut scene = scene();
        scene.add(1, &listening(128, 128, None));
        scene.counted("ListenOverflows", 9, 9);
        assert_eq!(judge_by(&[&RULE], &scene), []);
    }

    #[test]
    fn an_overflow_that_is_over_is_a_warning() {
        let mut scene = scene();
        scene.counted("ListenOverflows", 9, 12);
        let findings = judge_by(&[&RULE], &scene);
        assert_eq!(findings[0].title, "3 connections arrived at a full accept queue");
        scene.add(1, &listening(4, 128, None));
        let findings = judge_by(&[&RULE], &scene);
        assert_eq!(findings[0].level, Level::Warning);
        assert_eq!(
            findings[0].title,
            "the accept queue overflowed; now 4 wait, and it holds 128"
        );
    }
}
