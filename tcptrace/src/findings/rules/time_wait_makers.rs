//! Processes that leave many sockets in TIME_WAIT.

use super::Rule;
use crate::{
    event::{EndReason, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Process, Scene},
    },
};
use hashbrown::HashMap;

/// `time-wait-makers`
pub static RULE: Rule = Rule {
    id: "time-wait-makers",
    title: "a process leaves many sockets in TIME_WAIT",
    fires: "One process, or all processes of one name together, have left at least 10,000 of the sockets that are in TIME_WAIT. It is never
more than a note.",
    means: "This process closes first, and does not keep its connections. The side that closes first keeps TIME_WAIT for 60 s, a
constant of the kernel (`TCP_TIMEWAIT_LEN`); its timer makes that up to two seconds longer. Such a socket costs some 250
bytes, and no descriptor or CPU time. It is a problem only if local ports (`ephemeral-ports`) or the table
(`time-wait-overflow`) run out.",
    remedy: "Nothing, unless one of those two is reported too. Keeping connections open saves handshakes: HTTP keep-alive, a pool
towards databases and caches.

Not: `tcp_tw_recycle` (removed in Linux 4.12), `tcp_fin_timeout` (about FIN_WAIT2), a small `tcp_max_tw_buckets`.",
    spares: "Fewer; sockets in TIME_WAIT from before the watch, whose owner the kernel does not record.",
    check,
};

const MANY: usize = 10_000;

fn check(scene: &Scene) -> Vec<Finding> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for owner in scene
        .in_state(TcpState::TimeWait)
        .filter_map(|socket| socket.owner)
    {
        *counts.entry(owner.process).or_default() += 1;
    }
    // A process that lives for one connection, as a cron job or a health check, is one of many of its name.
    let mut by_name: HashMap<&str, (Vec<&Process>, usize)> = HashMap::new();
    for (process, count) in counts {
        if let Some(process) = scene.processes.get(process) {
            let (processes, sum) = by_name.entry(&process.comm).or_default();
            processes.push(process);
            *sum += count;
        }
    }
    by_name
        .into_iter()
        .filter(|(_, (_, count))| *count >= MANY)
        .map(|(name, (processes, count))| {
            let made: u64 = processes
                .iter()
                .filter_map(|process| scene.history.of_process(process.key))
                .map(|of| of.time_waits)
                .sum();
            let rate = made.figure() / scene.seconds().max(1e-9);
            let mut evidence = vec![Evidence::new(
                "time_waits_per_second",
                rate,
                format!("{rate:.1} more a second"),
            )];
            evidence.extend(ended(scene));
            let (subject, title) = match processes.as_slice() {
                [process] => (
                    Subject::process(process.key, &process.comm),
                    format!("{count} sockets that it closed first are in TIME_WAIT"),
                ),
                several => (
                    Subject::Host,
                    format!(
                        "{count} sockets that {} processes named {name} closed first are in TIME_WAIT",
                        several.len()
                    ),
                ),
            };
            Finding {
                rule: RULE.id,
                level: Level::Note,
                subject,
                title,
                evidence,
                meaning: "it opens a connection for each request and closes it first; TIME_WAIT itself is harmless"
                    .to_owned(),
                remedy: "nothing, unless ports or the table run out too; keeping connections open would save the handshakes"
                    .to_owned(),
                weight: count.figure(),
            }
        })
        .collect()
}

/// How the TIME_WAITs of this host ended during the watch.
fn ended(scene: &Scene) -> Vec<Evidence> {
    let kinds = [
        (
            EndReason::TimewaitExpired,
            "time_waits_expired",
            ("expired", "expired"),
        ),
        (
            EndReason::TimewaitReused,
            "time_waits_reused",
            (
                "was reused by a new connection",
                "were reused by a new connection",
            ),
        ),
        (
            EndReason::TimewaitReset,
            "time_waits_reset",
            ("was ended by a RST", "were ended by a RST"),
        ),
    ];
    kinds
        .into_iter()
        .filter_map(|(reason, name, (of_one, of_many))| {
            let count = *scene.history.time_wait_ends.get(&reason)?;
            let words = if count == 1 { of_one } else { of_many };
            Some(Evidence::new(
                name,
                count,
                format!("{count} on this host {words}"),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{key, rendered, scene, socket},
    };

    #[test]
    fn many_short_processes_of_one_name_are_one_finding() {
        let mut scene = scene();
        for pid in 0..100 {
            let owner = scene.process_at(1_000 + pid, "healthcheck");
            let left = socket(
                TcpState::TimeWait,
                "10.0.0.1:40000",
                "10.0.0.9:443",
                30,
                Some(owner),
            );
            scene.add(100, &left);
            scene
                .history
                .by_process
                .entry(Some(key(1_000 + pid)))
                .or_default()
                .time_waits = 1;
        }
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
    }

    #[test]
    fn ten_thousand_of_one_process_are_a_note() {
        let mut scene = scene();
        let owner = scene.process_at(5, "client");
        let left = socket(
            TcpState::TimeWait,
            "10.0.0.1:40000",
            "10.0.0.9:443",
            30,
            Some(owner),
        );
        scene.add(9_999, &left);
        let unknown = socket(TcpState::TimeWait, "10.0.0.1:40000", "10.0.0.9:443", 30, None);
        scene.add(20_000, &unknown);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.add(1, &left);
        scene
            .history
            .by_process
            .entry(Some(key(5)))
            .or_default()
            .time_waits = 1_670;
        scene.history.time_wait_ends.insert(EndReason::TimewaitReused, 12);
        scene.history.time_wait_ends.insert(EndReason::TimewaitExpired, 1);
        let findings = evaluate_by(&[&RULE], &scene);
        insta::assert_snapshot!(rendered(&findings[0]));
    }
}
