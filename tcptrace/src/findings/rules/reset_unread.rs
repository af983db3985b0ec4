//! Connections that were reset because a program closed them with unread data.

use super::Rule;
use crate::plural::counted;
use crate::{
    duration::human,
    findings::{Evidence, Figure as _, Finding, Level, scene::Scene},
};
use std::cmp::Reverse;

/// `reset-unread`
pub static RULE: Rule = Rule {
    id: "reset-unread",
    title: "programs close connections with unread data, which resets them",
    fires: "`TCPAbortOnClose` grew by ten or more during the watch, and by at least one per second. It is never more than a
note.",
    means: "A program closed a socket whose data it had not read. The kernel then sends a RST instead of a FIN (RFC 9293 section
3.6): the peer loses data that was still in flight to it, and sees \"connection reset by peer\". Servers do this when they
answer and close without reading the whole request, clients when they abandon a response.",
    remedy: "Read to the end before closing, or `shutdown` for writing, read until the end of file, and then close. If
abandoning is intended, as in a client that cancels, there is nothing to do.",
    spares: "Resets that the program requested with `SO_LINGER` of 0, and resets by the peer.",
    check,
};

const FEW: u64 = 10;
const NAMED: usize = 3;

fn check(scene: &Scene) -> Vec<Finding> {
    scene
        .namespaces
        .iter()
        .filter_map(|namespace| {
            let count = namespace.grown("TCPAbortOnClose");
            if count < FEW || count.figure() < scene.seconds() {
                return None;
            }
            let text = format!("TCPAbortOnClose grew by {count} in {}", human(scene.watched));
            let mut evidence = vec![Evidence::new("aborted_on_close", count, text)];
            evidence.extend(senders(scene));
            Some(Finding {
                rule: RULE.id,
                level: Level::Note,
                subject: scene.netns_subject(namespace.netns),
                title: format!("{count} connections were reset by closing them with unread data"),
                evidence,
                meaning: "their peers may have lost data in flight, and see \"connection reset by peer\""
                    .to_owned(),
                remedy: "read to the end before closing, unless abandoning is intended".to_owned(),
                weight: count.figure(),
            })
        })
        .collect()
}

/// The processes on this host whose sockets sent most resets.
fn senders(scene: &Scene) -> Vec<Evidence> {
    let mut senders: Vec<(u64, u32, &str)> = scene
        .processes
        .iter()
        .filter_map(|process| {
            let sent = scene.history.of_process(process.key)?.resets_sent;
            (sent > 0).then_some((sent, process.key.pid, process.comm.as_str()))
        })
        .collect();
    senders.sort_by_key(|(sent, pid, _)| (Reverse(*sent), *pid));
    senders
        .into_iter()
        .take(NAMED)
        .map(|(sent, pid, comm)| {
            Evidence::new(
                "resets_sent_by_process",
                sent,
                format!("{comm} ({pid}) sent {}", counted(sent, "reset")),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{key, rendered, scene},
    };

    #[test]
    fn ten_in_ten_seconds_are_a_note_and_nine_are_none() {
        let mut scene = scene();
        scene.counted("TCPAbortOnClose", 100, 109);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.counted("TCPAbortOnClose", 100, 110);
        scene.process_at(5, "hasty");
        scene
            .history
            .by_process
            .entry(Some(key(5)))
            .or_default()
            .resets_sent = 8;
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
    }

    #[test]
    fn a_few_in_a_long_watch_and_those_from_before_it_are_no_trouble() {
        let mut scene = scene();
        scene.counted("TCPAbortOnClose", 5_000, 5_000);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.watched = crate::event::Nanos::from_secs(60);
        scene.counted("TCPAbortOnClose", 5_000, 5_059);
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
