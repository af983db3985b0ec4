//! The half-closed sockets that `leaks` does not count as leaked: those that wait for the peer, and those younger than
//! the threshold.

use crate::{
    duration::{human, human_age},
    event::{Age, Nanos},
    findings::{
        spared::{Waiting, Younger},
        verdict::Verdict,
    },
    plural::counted,
};
use serde::Serialize;
use std::fmt::Write as _;

/// Ages that are suggested, in seconds: the first that the oldest has.
const SUGGESTED: [u64; 2] = [5, 2];

/// The sentence if there are no leaks and everything was seen.
pub(super) fn push_no_leaks(text: &mut String, younger: Option<&Younger>) {
    let _ = match younger {
        None => writeln!(text, "no leaks found"),
        Some(younger) => writeln!(text, "no leaks older than {} found", human(younger.threshold)),
    };
}

/// Lines on the younger ones.
pub(super) fn push_younger(text: &mut String, younger: &Younger) {
    let Younger {
        count,
        threshold,
        oldest,
        ..
    } = *younger;
    let _ = write!(
        text,
        "{count} in CLOSE_WAIT younger than {}, the oldest {}",
        human(threshold),
        human_age(oldest)
    );
    let below = |seconds: &&u64| Nanos::from_secs(**seconds) <= oldest.span();
    if let Some(seconds) = SUGGESTED.iter().find(below) {
        let _ = write!(text, "; --older-than {seconds} includes them");
    }
    text.push('\n');
}

/// A line for each reason to wait.
pub(super) fn push_waiting(text: &mut String, waiting: &[Waiting<'_>]) {
    if waiting.is_empty() {
        return;
    }
    text.push_str("\nhalf-closed, waiting for the peer, not counted:\n");
    for of in waiting {
        let name = of.process.map_or_else(
            || "unknown process".to_owned(),
            |process| format!("{} ({})", process.comm, process.key.pid),
        );
        let _ = write!(text, "  {name}: {}: {}", of.sockets.len(), of.verdict);
        if let Some(peer) = of.peer {
            let _ = write!(text, ", {} ({})", peer.comm, peer.key.pid);
        }
        if unsent(of) > 0 {
            let _ = write!(text, ", {} in Send-Q", counted(unsent(of), "byte"));
        }
        let _ = writeln!(text, "; the oldest {}", human(oldest(of)));
        let _ = writeln!(text, "    {}", of.verdict.remedy(false));
    }
}

fn unsent(of: &Waiting<'_>) -> u64 {
    of.sockets
        .iter()
        .map(|socket| u64::from(socket.unsent.unwrap_or(0)))
        .sum()
}

fn oldest(of: &Waiting<'_>) -> Nanos {
    of.sockets.first().map_or(Nanos(0), |socket| socket.span())
}

#[derive(Serialize)]
pub(super) struct YoungerJson {
    count: usize,
    threshold_ns: Nanos,
    oldest_ns: Nanos,
    oldest_exact: bool,
    uncertain: usize,
}

impl YoungerJson {
    pub(super) fn new(younger: &Younger) -> Self {
        Self {
            count: younger.count,
            threshold_ns: younger.threshold,
            oldest_ns: Age::span(younger.oldest),
            oldest_exact: younger.oldest.is_exact(),
            uncertain: younger.unsure,
        }
    }
}

#[derive(Serialize)]
pub(super) struct WaitingJson<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    verdict: Verdict,
    count: usize,
    oldest_ns: Nanos,
    unsent_bytes: u64,
    peer_pid: Option<u32>,
    peer_comm: Option<&'a str>,
}

impl<'a> WaitingJson<'a> {
    pub(super) fn new(of: &Waiting<'a>) -> Self {
        Self {
            pid: of.process.map(|process| process.key.pid),
            comm: of.process.map(|process| process.comm.as_str()),
            verdict: of.verdict,
            count: of.sockets.len(),
            oldest_ns: oldest(of),
            unsent_bytes: unsent(of),
            peer_pid: of.peer.map(|peer| peer.key.pid),
            peer_comm: of.peer.map(|peer| peer.comm.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_younger_are_named_with_the_age_that_includes_them() {
        let mut text = String::new();
        let younger = Younger {
            count: 51,
            threshold: Nanos::from_secs(60),
            oldest: Age::Exact(Nanos::from_secs(25)),
            unsure: 0,
        };
        push_no_leaks(&mut text, Some(&younger));
        push_younger(&mut text, &younger);
        let young = Younger {
            oldest: Age::AtLeast(Nanos::from_secs(3)),
            ..younger
        };
        push_younger(&mut text, &young);
        push_no_leaks(&mut text, None);
        insta::assert_snapshot!(text);
    }
}
