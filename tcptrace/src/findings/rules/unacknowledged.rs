//! The common part of the rules about unacknowledged FINs: FIN_WAIT1, CLOSING, LAST_ACK.

use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Scene, Socket},
        waiting::{self, Waiting},
    },
    plural::counted,
};

/// A FIN that is not acknowledged for this long has been retransmitted about six times.
const STUCK: Nanos = Nanos::from_secs(30);

/// From this number of sockets on it is a warning.
const MANY: usize = 100;

/// Time since the peer's last segment, as the kernel reports it, else the time in the state.
pub(super) fn silence(socket: &Socket) -> Nanos {
    socket.quiet.unwrap_or_else(|| socket.span())
}

/// One finding for each peer with stuck sockets in `state`.
pub(super) fn check(
    scene: &Scene,
    rule: &'static str,
    state: TcpState,
    meaning: &str,
    remedy: &str,
) -> Vec<Finding> {
    let silent = scene.in_state(state).filter(|socket| silence(socket) >= STUCK);
    waiting::by_peer(silent)
        .into_iter()
        .map(|((netns, addr), sockets)| {
            let count = sockets.len();
            let longest = sockets
                .iter()
                .map(|socket| silence(socket))
                .max()
                .unwrap_or_default();
            let each = || sockets.iter().copied();
            let unsent = waiting::unsent(each()).unwrap_or(0);
            let waiting = Waiting::of(scene, each());
            let mut evidence = vec![
                Evidence::new(
                    "unanswered_seconds",
                    waiting::seconds(longest),
                    format!("nothing received from this peer for up to {}", human(longest)),
                ),
                Evidence::new(
                    "unacknowledged_bytes",
                    unsent,
                    format!(
                        "{} not acknowledged or not sent yet, including FINs",
                        counted(unsent, "byte")
                    ),
                ),
            ];
            evidence.extend(waiting.evidence());
            // What is known takes the place of what may be.
            let meaning = if waiting.closed_windows == sockets.len() {
                "this side has closed, and the FIN waits behind data for which the peer's receive window is closed"
            } else {
                meaning
            };
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
                title: format!("{count} in {state} whose FIN is not acknowledged"),
                evidence,
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
        evaluate_by,
        fixture::{probing, rendered, retransmitting, scene, socket},
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
        let findings = evaluate_by(&[rule], &scene);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Note);
        // Established and quiet is a keep-alive client or a pool at rest.
        let mut at_rest = crate::findings::fixture::scene();
        let idle = Socket {
            state: TcpState::Established,
            ..silent.clone()
        };
        at_rest.add(200, &idle);
        assert_eq!(evaluate_by(&[rule], &at_rest), []);
        at_rest.add(100, &silent);
        assert_eq!(evaluate_by(&[rule], &at_rest)[0].level, Level::Warning);
        let text = rendered(&findings[0]);
        // With what is known of the sockets.
        let mut known = crate::findings::fixture::scene();
        known.set("ipv4.tcp_orphan_retries", "0");
        known.set("ipv4.tcp_retries2", "15");
        known.add_with(&silent, retransmitting(200, 7, 12_800));
        let retransmitted = rendered(&evaluate_by(&[rule], &known)[0]);
        known.networks.clear();
        known.sockets.clear();
        known.add_with(&silent, probing(7, 1, 12_800));
        let closed = rendered(&evaluate_by(&[rule], &known)[0]);
        format!("{text}{retransmitted}{closed}")
    }
}
