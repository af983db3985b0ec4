//! What the three rules about a FIN that nobody acknowledges have in common: FIN_WAIT1, CLOSING, LAST_ACK.

use crate::{
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Scene, Socket},
    },
    output::duration::human,
};
use hashbrown::HashMap;
use std::{net::IpAddr, time::Duration};

/// A FIN that is not acknowledged for so long has been sent again six times or so.
const STUCK: Nanos = Nanos::from_secs(30);

/// So many are a warning.
const MANY: usize = 100;

/// How long nothing has come from the peer: what the kernel knows, else how long the state lasts.
pub(super) fn silence(socket: &Socket) -> Nanos {
    socket.quiet.unwrap_or_else(|| socket.span())
}

/// A finding for each peer with sockets in `state` that are stuck.
pub(super) fn check(
    scene: &Scene,
    rule: &'static str,
    state: TcpState,
    meaning: &str,
    remedy: &str,
) -> Vec<Finding> {
    let mut by_peer: HashMap<(u32, IpAddr), Vec<&Socket>> = HashMap::new();
    for socket in scene.in_state(state).filter(|socket| silence(socket) >= STUCK) {
        by_peer
            .entry((socket.netns, socket.ends.remote()))
            .or_default()
            .push(socket);
    }
    by_peer
        .into_iter()
        .map(|((netns, addr), sockets)| {
            let count = sockets.len();
            let longest = sockets
                .iter()
                .map(|socket| silence(socket))
                .max()
                .unwrap_or_default();
            let unsent: u64 = sockets
                .iter()
                .filter_map(|socket| socket.unsent)
                .map(u64::from)
                .sum();
            Finding {
                rule,
                level: if count >= MANY {
                    Level::Warning
                } else {
                    Level::Note
                },
                subject: Subject::Destination {
                    netns,
                    addr,
                    port: None,
                },
                title: format!("{count} in {state} for whose FIN no acknowledgement comes"),
                evidence: vec![
                    Evidence::new(
                        "silent_seconds",
                        Duration::from_nanos(longest.0).as_secs_f64(),
                        format!("nothing has come from this peer for up to {}", human(longest)),
                    ),
                    Evidence::new(
                        "unacknowledged_bytes",
                        unsent,
                        format!("{unsent} bytes sent and not acknowledged, each FIN among them"),
                    ),
                ],
                meaning: meaning.to_owned(),
                remedy: remedy.to_owned(),
                weight: count.figure(),
            }
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::findings::{
        fixture::{scene, socket, told},
        judge_by,
        rules::Rule,
    };

    /// What holds for each of the three; the text of a finding.
    pub(crate) fn holds(rule: &'static Rule, state: TcpState) -> String {
        let mut scene = scene();
        let silent = socket(state, "10.0.0.1:8080", "10.0.0.2:40000", 31, None);
        let silent = Socket {
            unsent: Some(5),
            ..silent
        };
        scene.add(2, &silent);
        let heard = Socket {
            quiet: Some(Nanos::from_millis(29_999)),
            ..silent.clone()
        };
        scene.add(500, &heard);
        let findings = judge_by(&[rule], &scene);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Note);
        // Established and quiet is a keep-alive client or a pool at rest.
        let mut at_rest = crate::findings::fixture::scene();
        let idle = Socket {
            state: TcpState::Established,
            ..silent.clone()
        };
        at_rest.add(200, &idle);
        assert_eq!(judge_by(&[rule], &at_rest), []);
        at_rest.add(100, &silent);
        assert_eq!(judge_by(&[rule], &at_rest)[0].level, Level::Warning);
        told(&findings[0])
    }
}
