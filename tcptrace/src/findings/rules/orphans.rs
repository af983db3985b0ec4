//! Orphaned sockets near the kernel's limit.

use super::Rule;
use crate::{
    duration::human,
    event::TcpState,
    findings::{Evidence, Figure as _, Finding, Level, Subject, scene::Scene, waiting::Waiting},
    plural::{counted, was},
};

/// `orphans`
pub static RULE: Rule = Rule {
    id: "orphans",
    title: "orphaned sockets are near the kernel's limit",
    fires: "`TCPAbortOnMemory` grew during the watch (critical), or the orphans in `/proc/net/sockstat` reach half of
`tcp_max_orphans` (warning).",
    means: "An orphan is a socket that its program has closed and that still has data or a FIN to deliver: FIN_WAIT1, LAST_ACK,
CLOSING. Each may hold some 64 KB of memory that cannot be swapped. Above `tcp_max_orphans`, or when `tcp_mem` runs
out, the kernel resets them at once, and what was not delivered is lost. The kernel logs \"too many orphaned sockets\".",
    remedy: "Find the peers that do not acknowledge (`fin-wait1-stuck`). Raise `net.ipv4.tcp_max_orphans` if there is memory
for it; never lower it. `net.ipv4.tcp_orphan_retries` at 2 or 3 gives up on silent peers sooner.",
    spares: "Orphans after a burst of closes, which are gone after a round trip, if the limit is not near.",
    check,
};

/// Share of the limit from which it fires, percent.
const NEAR: u64 = 50;

/// The limit and the count are the host's, not a namespace's.
fn check(scene: &Scene) -> Vec<Finding> {
    let limit = scene
        .namespaces
        .iter()
        .find_map(|namespace| namespace.number("ipv4.tcp_max_orphans"));
    let orphans = scene
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.counters.get("sockstat.orphan").copied())
        .max();
    let aborted: u64 = scene
        .namespaces
        .iter()
        .map(|namespace| namespace.grown("TCPAbortOnMemory"))
        .sum();
    let near = orphans
        .zip(limit)
        .filter(|(orphans, limit)| orphans.saturating_mul(100) >= limit.saturating_mul(NEAR));
    let (level, title) = if aborted > 0 {
        let title = format!(
            "{} {} reset because memory or the limit on orphans was exhausted",
            counted(aborted, "connection"),
            was(aborted)
        );
        (Level::Critical, title)
    } else if let Some((orphans, limit)) = near {
        let title = format!(
            "{}, and the limit is {limit}",
            counted(orphans, "orphaned socket")
        );
        (Level::Warning, title)
    } else {
        return Vec::new();
    };
    let mut evidence = Vec::new();
    if let Some(orphans) = orphans {
        let limit = limit.map_or_else(String::new, |limit| format!("; tcp_max_orphans is {limit}"));
        let text = format!("{}{limit}", counted(orphans, "orphaned socket"));
        evidence.push(Evidence::new("orphans", orphans, text));
    }
    if aborted > 0 {
        let text = format!("TCPAbortOnMemory grew by {aborted} in {}", human(scene.watched));
        evidence.push(Evidence::new("aborted_on_memory", aborted, text));
    }
    for state in [TcpState::FinWait1, TcpState::LastAck, TcpState::Closing] {
        let count = scene.in_state(state).count();
        if count > 0 {
            evidence.push(Evidence::new(
                "sockets_in_state",
                count,
                format!("{count} in {state}"),
            ));
        }
    }
    let closing = scene.sockets.iter().filter(|socket| {
        let state = socket.state;
        matches!(state, TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing)
    });
    evidence.extend(Waiting::of(scene, closing).evidence());
    vec![Finding {
        rule: RULE.id,
        level,
        subject: Subject::Host,
        title,
        evidence,
        meaning:
            "these wait for acknowledgements; above the limit the kernel resets them, and their data is lost"
                .to_owned(),
        remedy:
            "find the peers that do not acknowledge; raise net.ipv4.tcp_max_orphans if there is memory for it"
                .to_owned(),
        weight: aborted.max(orphans.unwrap_or(0)).figure(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{rendered, retransmitting, scene, socket},
    };

    #[test]
    fn half_of_the_limit_is_a_warning_and_a_reset_critical() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_orphans", "1000");
        scene.counted("sockstat.orphan", 0, 499);
        scene.counted("TCPAbortOnMemory", 4, 4);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.counted("sockstat.orphan", 0, 500);
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings[0].level, Level::Warning);
        assert_eq!(findings[0].title, "500 orphaned sockets, and the limit is 1000");
        scene.counted("TCPAbortOnMemory", 4, 9);
        scene.add(
            3,
            &socket(TcpState::FinWait1, "10.0.0.1:80", "10.0.0.2:4000", 2, None),
        );
        let stuck = socket(TcpState::LastAck, "10.0.0.1:80", "10.0.0.3:4000", 2, None);
        scene.add_with(&stuck, retransmitting(200, 4, 100));
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn a_limit_or_a_count_that_is_not_known_is_left_out() {
        let mut scene = scene();
        scene.counted("TCPAbortOnMemory", 4, 9);
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].evidence.len(), 1);
        scene.counted("sockstat.orphan", 0, 500);
        assert_eq!(
            evaluate_by(&[&RULE], &scene)[0].evidence[0].text,
            "500 orphaned sockets"
        );
    }

    #[test]
    fn a_burst_of_closes_far_from_the_limit_is_no_trouble() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_orphans", "65536");
        scene.counted("sockstat.orphan", 0, 2_000);
        scene.add(
            2_000,
            &socket(TcpState::FinWait1, "10.0.0.1:80", "10.0.0.2:4000", 0, None),
        );
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
