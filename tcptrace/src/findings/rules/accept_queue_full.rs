//! Listeners whose accept queue is full.

use super::Rule;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level,
        scene::{Netns, Scene, Socket},
        waiting::seconds,
    },
    plural::{counted, verb},
};
use hashbrown::{HashMap, HashSet};
use std::net::IpAddr;

/// `accept-queue-full`
pub static RULE: Rule = Rule {
    id: "accept-queue-full",
    title: "a listener's accept queue is full",
    fires: "More connections wait for `accept` than the queue holds (critical); or `ListenOverflows` grew during the watch
(warning), which names the only listener at which the kernel dropped anything, or the one with the fullest queue; or a connection has been established for ten seconds and waits for `accept` (warning).",
    means: "A connection whose handshake is complete waits in the listener's queue until the program calls `accept`. The queue holds
as many as `listen` requested, at most `net.core.somaxconn` (`ss -ltn`: Recv-Q of Send-Q). Beyond it the kernel drops
the client's last ACK, and its SYNs: clients see connections that take a second and more, or time out, while the
server's CPU may be idle.",
    remedy: "First see why the program does not accept: the accepting thread is blocked, all workers are busy, or descriptors are
exhausted (see `close-wait-leak`). A longer queue helps with bursts only: raise the program's own backlog, and
`net.core.somaxconn` where it is the smaller of the two; the program must call `listen` again for it to take effect. Each waiting
connection uses the memory of a socket, and waits longer.",
    spares: "Queues that fill and drain without an overflow, and connections that wait for less than ten seconds.",
    check,
};

/// A connection that waits for `accept` for so long is noticed by its client.
const LATE: Nanos = Nanos::from_secs(10);

/// The connections that wait for `accept`, by the local end: how many, and for how long at least the oldest of them.
type Waiting = HashMap<(u32, IpAddr, u16), Queue>;

#[derive(Clone, Copy, Default)]
struct Queue {
    count: u64,
    longest: Nanos,
}

/// Why a listener is reported.
#[derive(Clone, Copy)]
enum Cause {
    /// Its queue is full.
    Full,
    /// Queues of its network namespace overflowed, this one most likely.
    Overflowed,
    /// Connections have waited for long.
    Late(Queue),
}

fn not_accepted(scene: &Scene) -> Waiting {
    let mut waiting = Waiting::new();
    let in_queue = scene
        .in_state(TcpState::Established)
        .filter(|socket| socket.accepted() == Some(false));
    for socket in in_queue {
        let queue = waiting
            .entry((
                socket.netns,
                socket.endpoints.local(),
                socket.endpoints.local_port,
            ))
            .or_default();
        queue.count += 1;
        queue.longest = queue.longest.max(socket.span());
    }
    waiting
}

/// Those that this listener, or another one of the same address and port, has made.
fn waiting_at(listener: &Socket, waiting: &Waiting) -> Queue {
    let local = listener.endpoints.local();
    let of_it = waiting.iter().filter(|((netns, addr, port), _)| {
        *netns == listener.netns
            && *port == listener.endpoints.local_port
            && (local.is_unspecified() || local == *addr)
    });
    of_it.fold(Queue::default(), |sum, (_, queue)| Queue {
        count: sum.count + queue.count,
        longest: sum.longest.max(queue.longest),
    })
}

fn check(scene: &Scene) -> Vec<Finding> {
    let waiting = not_accepted(scene);
    let mut findings: Vec<Finding> = scene
        .in_state(TcpState::Listen)
        .filter(|listener| is_full(listener))
        .map(|listener| finding(scene, listener, Cause::Full, &waiting))
        .collect();
    let is_named = |findings: &[Finding], listener: &Socket| {
        let subject = scene.listener_subject(listener);
        findings.iter().any(|finding| finding.subject == subject)
    };
    for namespace in &scene.namespaces {
        let overflows = namespace.grown("ListenOverflows");
        let is_explained = scene
            .in_state(TcpState::Listen)
            .any(|listener| listener.netns == namespace.netns && is_full(listener));
        if overflows > 0 && !is_explained {
            findings.push(overflowed(scene, namespace, overflows, &waiting));
        }
    }
    for listener in scene.in_state(TcpState::Listen) {
        let queue = waiting_at(listener, &waiting);
        if queue.longest >= LATE && !is_named(&findings, listener) {
            findings.push(finding(scene, listener, Cause::Late(queue), &waiting));
        }
    }
    findings
}

/// The SYNs and last ACKs that the kernel dropped at the listeners of a namespace (`tcp_listendrop`). `sk_drops` of each of
/// them also counts segments that a request drops (`tcp_check_req`, `discard_and_relse` in `tcp_v4_rcv`; Linux 6.18).
pub(super) const LISTEN_DROPS: &str = "ListenDrops";

/// The listener at which it dropped them, if only one has dropped anything, and how many. No other one may have been closed
/// since.
pub(super) fn dropped_at<'a>(scene: &'a Scene, namespace: &Netns) -> Option<(&'a Socket, u64)> {
    let mut listening: HashSet<u64> = HashSet::new();
    let mut dropping = Vec::new();
    for listener in scene.in_state(TcpState::Listen) {
        listening.insert(listener.cookie);
        let drops = scene.history.drops_at(listener.cookie);
        if listener.netns == namespace.netns && drops > 0 {
            dropping.push((listener, drops.min(namespace.grown(LISTEN_DROPS))));
        }
    }
    let has_closed = scene
        .history
        .drops
        .keys()
        .any(|cookie| !listening.contains(cookie));
    match dropping.as_slice() {
        [(only, drops)] if !has_closed && *drops > 0 => Some((*only, *drops)),
        _ => None,
    }
}

/// What the kernel dropped at a listener, or at all of a namespace.
pub(super) fn drops_evidence(scene: &Scene, drops: u64) -> Evidence {
    Evidence::new(
        "drops",
        drops,
        format!(
            "the kernel dropped {} or last {} in {}",
            counted(drops, "SYN"),
            if drops == 1 { "ACK" } else { "ACKs" },
            human(scene.watched)
        ),
    )
}

/// `sk_acceptq_is_full` of include/net/sock.h: more than the limit.
pub(super) fn is_full(listener: &Socket) -> bool {
    matches!((listener.unread, listener.unsent), (Some(queue), Some(limit)) if queue > limit)
}

fn overflowed(scene: &Scene, namespace: &Netns, overflows: u64, waiting: &Waiting) -> Finding {
    let listeners: Vec<&Socket> = scene
        .in_state(TcpState::Listen)
        .filter(|listener| listener.netns == namespace.netns)
        .collect();
    // One that overflowed has dropped something, as others may have.
    let dropping: Vec<&Socket> = listeners
        .iter()
        .copied()
        .filter(|listener| scene.history.drops_at(listener.cookie) > 0)
        .collect();
    let candidates = if dropping.is_empty() {
        &listeners
    } else {
        &dropping
    };
    let only = dropped_at(scene, namespace).map(|(only, _)| only);
    match only.or_else(|| fullest(candidates)) {
        Some(listener) => finding(scene, listener, Cause::Overflowed, waiting),
        None => Finding {
            rule: RULE.id,
            level: Level::Warning,
            subject: scene.netns_subject(namespace.netns),
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

/// The listener at which the most connections wait, if any do.
fn fullest<'a>(listeners: &[&'a Socket]) -> Option<&'a Socket> {
    let waiting = listeners.iter().filter(|listener| listener.unread > Some(0));
    waiting.max_by_key(|listener| listener.unread).copied()
}

pub(super) fn overflow_evidence(scene: &Scene, overflows: u64) -> Evidence {
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

fn finding(scene: &Scene, listener: &Socket, cause: Cause, waiting: &Waiting) -> Finding {
    let queue = u64::from(listener.unread.unwrap_or(0));
    let limit = u64::from(listener.unsent.unwrap_or(0));
    let namespace = scene.namespace(listener.netns);
    let somaxconn = namespace.and_then(|namespace| namespace.number("core.somaxconn"));
    let mut evidence = vec![Evidence::new(
        "accept_queue",
        queue,
        format!(
            "{} {} for accept, and the queue holds {limit}",
            counted(queue, "connection"),
            verb(queue, "wait")
        ),
    )];
    if let Some(somaxconn) = somaxconn {
        evidence.push(Evidence::new(
            "somaxconn",
            somaxconn,
            format!("net.core.somaxconn is {somaxconn}"),
        ));
    }
    let overflows = namespace.map_or(0, |namespace| namespace.grown("ListenOverflows"));
    if overflows > 0 {
        evidence.push(overflow_evidence(scene, overflows));
    }
    let dropped = namespace.and_then(|namespace| dropped_at(scene, namespace));
    if let Some((_, drops)) = dropped.filter(|(only, _)| only.cookie == listener.cookie) {
        evidence.push(drops_evidence(scene, drops));
    }
    let longest = waiting_at(listener, waiting).longest;
    if longest > Nanos(0) {
        evidence.push(Evidence::new(
            "longest_wait_seconds",
            seconds(longest),
            format!("the oldest connection has waited for {}", human(longest)),
        ));
    }
    let limited_by = if somaxconn == Some(limit) {
        "a longer queue would need a higher net.core.somaxconn, and a backlog as high in the program"
    } else {
        "a longer queue would need a higher backlog in the program's call to listen"
    };
    Finding {
        rule: RULE.id,
        level: match cause {
            Cause::Full => Level::Critical,
            Cause::Overflowed | Cause::Late(_) => Level::Warning,
        },
        subject: scene.listener_subject(listener),
        title: match cause {
            Cause::Full => format!("the accept queue is full: {queue} wait, and it holds {limit}"),
            Cause::Overflowed => {
                format!("the accept queue overflowed; now {queue} wait, and it holds {limit}")
            }
            Cause::Late(late) => format!(
                "{} {} for accept, the oldest for {}",
                counted(late.count, "connection"),
                verb(late.count, "wait"),
                human(late.longest)
            ),
        },
        evidence,
        meaning: match cause {
            Cause::Full | Cause::Overflowed => meaning(),
            Cause::Late(_) => {
                "their handshakes are complete, and their clients wait for an answer of the program"
                    .to_owned()
            }
        },
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
        evaluate_by,
        fixture::{rendered, scene, socket},
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
        let findings = evaluate_by(&[&RULE], &scene);
        insta::assert_snapshot!(rendered(&findings[0]));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn a_queue_at_its_limit_is_not_yet_full_and_a_burst_that_drains_is_none() {
        let mut scene = scene();
        scene.add(1, &listening(128, 128, None));
        scene.counted("ListenOverflows", 9, 9);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }

    #[test]
    fn an_overflow_is_that_of_the_listener_at_which_the_kernel_dropped() {
        let mut scene = scene();
        scene.counted("ListenOverflows", 9, 12);
        scene.add(1, &listening(4, 128, None));
        let other = socket(TcpState::Listen, "10.0.0.1:9090", "0.0.0.0:0", 0, None);
        scene.add(
            1,
            &Socket {
                unread: Some(0),
                unsent: Some(16),
                ..other
            },
        );
        scene.history.drops.extend([(1, (4, 4)), (2, (0, 6))]);
        scene.counted(LISTEN_DROPS, 9, 12);
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
        // The other one may defer what it accepts: then the fuller queue is the likelier.
        scene.history.drops.insert(1, (4, 5));
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings[0].subject, scene.listener_subject(&scene.sockets[0]));
        assert_eq!(findings[0].level, Level::Warning);
    }

    #[test]
    fn a_connection_that_is_not_accepted_in_time_is_a_warning() {
        let with = |seconds, is_orphan| {
            let mut scene = scene();
            scene.add(1, &listening(2, 128, None));
            let waiting = Socket {
                is_orphan: Some(is_orphan),
                ..socket(
                    TcpState::Established,
                    "10.0.0.1:8080",
                    "10.0.0.2:4000",
                    seconds,
                    None,
                )
            };
            scene.add(2, &waiting);
            evaluate_by(&[&RULE], &scene)
        };
        let findings = with(12, true);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
        assert_eq!(with(9, true), []);
        assert_eq!(with(12, false), [], "they are accepted");
    }

    #[test]
    fn an_overflow_that_is_over_is_a_warning() {
        let mut scene = scene();
        scene.counted("ListenOverflows", 9, 12);
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings[0].title, "3 connections arrived at a full accept queue");
        scene.add(1, &listening(4, 128, None));
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings[0].level, Level::Warning);
        assert_eq!(
            findings[0].title,
            "the accept queue overflowed; now 4 wait, and it holds 128"
        );
    }
}
