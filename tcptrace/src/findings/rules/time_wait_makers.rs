//! Who leaves many sockets in TIME_WAIT.

use super::Rule;
use crate::{
    event::{EndReason, TcpState},
    findings::{Evidence, Figure as _, Finding, Level, Subject, scene::Scene},
};
use hashbrown::HashMap;

/// The rule.
pub static RULE: Rule = Rule {
    id: "time-wait-makers",
    title: "a process leaves many sockets in TIME_WAIT",
    fires: "One process has left at least 10,000 of the sockets that are in TIME_WAIT. It is never more than a note.",
    means: "This process closes first, and does not keep its connections. Whoever closes first keeps TIME_WAIT for 60 s, a
constant of the kernel (`TCP_TIMEWAIT_LEN`); its timer makes that up to two seconds longer. Such a socket costs some 250
bytes, no descriptor and no time. It is in the way only where local ports (`ephemeral-ports`) or the table
(`time-wait-overflow`) run out.",
    remedy: "Nothing, unless one of those two is found too. Keeping connections open saves handshakes: HTTP keep-alive, a pool
towards databases and caches.

Not: `tcp_tw_recycle` (removed in Linux 4.12), `tcp_fin_timeout` (about FIN_WAIT2), a small `tcp_max_tw_buckets`.",
    spares: "Fewer; sockets in TIME_WAIT from before the watch, whose owner the kernel does not keep.",
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
    counts
        .into_iter()
        .filter(|(_, count)| *count >= MANY)
        .filter_map(|(process, count)| {
            let process = scene.processes.get(process)?;
            let made = scene.history.of_process(process.key).map_or(0, |of| of.time_waits);
            let rate = made.figure() / scene.seconds().max(1e-9);
            let mut evidence = vec![Evidence::new(
                "time_waits_per_second",
                rate,
                format!("{rate:.1} more a second"),
            )];
            evidence.extend(ends(scene));
            Some(Finding {
                rule: RULE.id,
                level: Level::Note,
                subject: Subject::process(process.key, &process.comm),
                title: format!("{count} sockets that it closed first are in TIME_WAIT"),
                evidence,
                meaning: "it makes a connection for each request and closes it first; TIME_WAIT itself does no harm"
                    .to_owned(),
                remedy: "nothing, unless ports or the table run out too; keeping connections open would save the handshakes"
                    .to_owned(),
                weight: count.figure(),
            })
        })
        .collect()
}

/// How those of this host ended meanwhile.
fn ends(scene: &Scene) -> Vec<Evidence> {
    let kinds = [
        (
            EndReason::TimewaitExpired,
            "time_waits_expired",
            "ran their minute",
        ),
        (
            EndReason::TimewaitReused,
            "time_waits_reused",
            "were taken over by a new connection",
        ),
        (
            EndReason::TimewaitReset,
            "time_waits_reset",
            "were ended by a RST",
        ),
    ];
    kinds
        .into_iter()
        .filter_map(|(reason, name, words)| {
            let count = *scene.history.time_wait_ends.get(&reason)?;
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
        fixture::{key, scene, socket, told},
        judge_by,
    };

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
        assert_eq!(judge_by(&[&RULE], &scene), []);
        scene.add(1, &left);
        scene
            .history
            .by_process
            .entry(Some(key(5)))
            .or_default()
            .time_waits = 1_670;
        scene.history.time_wait_ends.insert(EndReason::TimewaitReused, 12);
        let findings = judge_by(&[&RULE], &scene);
        insta::assert_snapshot!(told(&findings[0]));
    }
}
