//! The table of timewait sockets is full: connections skip TIME_WAIT.

use super::Rule;
use crate::{
    duration::human,
    event::TcpState,
    findings::{Evidence, Figure as _, Finding, Level, scene::Scene},
    plural::{counted, was},
};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// `time-wait-overflow`
pub static RULE: Rule = Rule {
    id: "time-wait-overflow",
    title: "the table of sockets in TIME_WAIT is full",
    fires: "`TCPTimeWaitOverflow` grew during the watch (warning), or nine tenths of `tcp_max_tw_buckets` are used (note).",
    means: "TIME_WAIT keeps late segments of a connection away from the next one between the same two endpoints (RFC 9293 section
3.6.1). If the table is full, the kernel destroys the connection at once instead, so that this protection is gone, and
logs \"time wait bucket table overflow\".",
    remedy: "Raise `net.ipv4.tcp_max_tw_buckets` to its default or beyond; a timewait socket costs some 250 bytes and no file
descriptor, and no process waits for it. A small limit saves nothing significant. Then find out which process creates them:
connections that are kept open create none.",
    spares: "Any number of sockets in TIME_WAIT for which the table has room: they are a normal part of closing.",
    check,
};

/// Share of the table from which it fires, percent.
const NEARLY_FULL: u64 = 90;

/// Most processes named.
const MAKERS: usize = 3;

fn check(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for namespace in &scene.namespaces {
        let Some(limit) = namespace.number("ipv4.tcp_max_tw_buckets") else {
            continue;
        };
        let there = namespace.counters.get("sockstat.tw").copied().unwrap_or(0);
        let skipped = namespace.grown("TCPTimeWaitOverflow");
        let (level, title) = if skipped > 0 {
            let title = format!(
                "{} skipped TIME_WAIT in {}",
                counted(skipped, "connection"),
                human(scene.watched)
            );
            (Level::Warning, title)
        } else if limit > 0 && there * 100 >= limit * NEARLY_FULL {
            (
                Level::Note,
                format!("{there} of {limit} TIME_WAIT slots are in use"),
            )
        } else {
            continue;
        };
        let mut evidence = vec![Evidence::new(
            "time_waits",
            there,
            format!(
                "{} in TIME_WAIT, and tcp_max_tw_buckets is {limit}",
                counted(there, "socket")
            ),
        )];
        if skipped > 0 {
            let text = format!("{skipped} more found the table full");
            evidence.push(Evidence::new("time_waits_skipped", skipped, text));
        }
        evidence.extend(makers(scene, namespace.netns));
        findings.push(Finding {
            rule: RULE.id,
            level,
            subject: scene.netns_subject(namespace.netns),
            title,
            evidence,
            meaning: "late segments of a connection that skipped TIME_WAIT can reach the next one between the same two endpoints"
                .to_owned(),
            remedy: format!(
                "raise net.ipv4.tcp_max_tw_buckets above {limit}: a timewait socket costs some 250 bytes and no descriptor"
            ),
            weight: skipped.figure(),
        });
    }
    findings
}

/// The processes whose sockets they were, as far as known.
fn makers(scene: &Scene, netns: u32) -> Vec<Evidence> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let left = scene
        .in_state(TcpState::TimeWait)
        .filter(|socket| socket.netns == netns);
    for owner in left.filter_map(|socket| socket.owner) {
        *counts.entry(owner.process).or_default() += 1;
    }
    let mut makers: Vec<(usize, usize)> = counts.into_iter().collect();
    makers.sort_by_key(|(process, count)| (Reverse(*count), *process));
    makers
        .into_iter()
        .take(MAKERS)
        .filter_map(|(process, count)| {
            let process = scene.processes.get(process)?;
            let text = format!(
                "{count} {} left by {} ({})",
                was(count),
                process.comm,
                process.key.pid
            );
            Some(Evidence::new("time_waits_of_process", count, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{rendered, scene, socket},
    };

    #[test]
    fn skipped_time_waits_are_reported_with_who_fills_the_table() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_tw_buckets", "100");
        scene.counted("sockstat.tw", 90, 100);
        scene.counted("TCPTimeWaitOverflow", 7, 49);
        let owner = scene.process_at(5, "client");
        let left = socket(
            TcpState::TimeWait,
            "10.0.0.1:40000",
            "10.0.0.9:443",
            30,
            Some(owner),
        );
        scene.add(60, &left);
        let findings = evaluate_by(&[&RULE], &scene);
        insta::assert_snapshot!(rendered(&findings[0]));
    }

    #[test]
    fn a_table_with_room_is_no_trouble_however_many_there_are() {
        let mut scene = scene();
        scene.set("ipv4.tcp_max_tw_buckets", "100");
        scene.counted("sockstat.tw", 0, 89);
        scene.counted("TCPTimeWaitOverflow", 7, 7);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.counted("sockstat.tw", 0, 90);
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings[0].level, Level::Note);
        scene.set("ipv4.tcp_max_tw_buckets", "65536");
        scene.counted("sockstat.tw", 50_000, 50_000);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
