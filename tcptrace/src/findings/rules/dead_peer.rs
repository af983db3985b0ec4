//! Peers that have stopped answering while a program still has the connection.

use super::Rule;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Netns, Scene, Socket},
        waiting::{self, Waiting},
    },
    plural::counted,
    socket::{network::Network, patience},
};

/// `dead-peer`
pub static RULE: Rule = Rule {
    id: "dead-peer",
    title: "a peer has stopped answering",
    fires: "A connection in ESTABLISHED or CLOSE_WAIT has retransmitted the same segment three times, or sent three probes of a closed window
or of keep-alive, without an answer, and nothing has been received from its peer for 3 s: a warning where this host connected
to the peer, or from 100 connections with one peer; otherwise a note.",
    means: "The peer is gone, or a link or a firewall on the way drops its segments, or this host has no route to it any more.
The program does not notice: its writes succeed until the send buffer is full, its reads wait. The kernel retransmits at
growing intervals and gives up once `tcp_retries2` is used up, after 15 minutes and more by default; only then `read` and
`write` fail with ETIMEDOUT. The evidence says when that will be: the kernel checks the limit when its timer expires, so
the end is up to 2 minutes after the limit.",
    remedy: "Find out what happened to the peer and to the path. To notice sooner, set `TCP_USER_TIMEOUT` in the program (Linux
2.6.37), for the connections that need it: the connection fails after this time without an acknowledgement. It also ends
connections whose peer is alive and keeps its window closed for that long.

`net.ipv4.tcp_retries2=8` gives up after about 100 s, the least that RFC 1122 permits, for every connection of the host. A
timeout in the program (for a response, for a write) works without either.",
    spares: "Fewer retransmissions, as on a lossy path; connections of whose peer something was received; idle connections
without keep-alive, where nothing shows whether the peer is there (unnoticed-death); peers that answer probes and do not
read (peer-not-reading). Recordings that hold no evidence on sockets.",
    check,
};

/// Unanswered timeouts or probes of a peer that is not merely slow.
const UNANSWERED: u8 = 3;

/// Time without a segment from the peer.
const SILENCE: Nanos = Nanos::from_secs(3);

/// From this number of connections on, peers that connected here are a warning too.
const MANY: usize = 100;

fn check(scene: &Scene) -> Vec<Finding> {
    let dead = scene.sockets.iter().filter(|socket| is_dead(scene, socket));
    let listening = scene.listening();
    waiting::by_peer(dead)
        .into_iter()
        .map(|((netns, addr), sockets)| {
            let outgoing = sockets
                .iter()
                .filter(|socket| !Scene::came_in(socket, &listening))
                .count();
            let port = sockets[0].endpoints.remote_port;
            let is_one_port = sockets.iter().all(|socket| socket.endpoints.remote_port == port);
            Finding {
                rule: RULE.id,
                level: if outgoing > 0 || sockets.len() >= MANY {
                    Level::Warning
                } else {
                    Level::Note
                },
                subject: Subject::Destination {
                    netns,
                    addr,
                    port: (is_one_port && outgoing > 0).then_some(port),
                },
                title: format!(
                    "the peer of {} has stopped answering",
                    counted(sockets.len(), "connection")
                ),
                evidence: evidence(scene, &sockets),
                meaning: "the peer is gone, or something on the way drops its segments; the program notices only when the kernel \
                    gives up"
                    .to_owned(),
                remedy: "look at the peer and the path to it; to notice sooner, set TCP_USER_TIMEOUT in the program, or for the \
                    whole host net.ipv4.tcp_retries2 (8 is about 100 s)"
                    .to_owned(),
                weight: sockets.len().figure(),
            }
        })
        .collect()
}

/// Whether the peer has left a connection without an answer for long enough.
pub(super) fn is_dead(scene: &Scene, socket: &Socket) -> bool {
    matches!(socket.state, TcpState::Established | TcpState::CloseWait)
        && socket.quiet.is_none_or(|quiet| quiet >= SILENCE)
        && scene.network(socket).is_some_and(is_unanswered)
}

/// Whether retransmissions or probes of this socket are unanswered.
fn is_unanswered(network: &Network) -> bool {
    network.retransmits >= Some(UNANSWERED) || network.probes >= Some(UNANSWERED)
}

fn evidence(scene: &Scene, sockets: &[&Socket]) -> Vec<Evidence> {
    let quiet = sockets.iter().filter_map(|socket| socket.quiet).max();
    let unacknowledged = sockets
        .iter()
        .filter_map(|socket| {
            let limits = scene
                .namespace(socket.netns)
                .map(Netns::limits)
                .unwrap_or_default();
            patience::unacknowledged_for(scene.network(socket)?, &limits)
        })
        .max();
    let mut evidence = Vec::new();
    if let Some(quiet) = quiet {
        let text = format!("nothing received from this peer for up to {}", human(quiet));
        evidence.push(Evidence::new("unanswered_seconds", waiting::seconds(quiet), text));
    } else if let Some(time) = unacknowledged {
        let text = format!("no acknowledgement from this peer for up to {}", human(time));
        evidence.push(Evidence::new(
            "unacknowledged_seconds",
            waiting::seconds(time),
            text,
        ));
    }
    let each = || sockets.iter().copied();
    if let Some(unsent) = waiting::unsent(each()).filter(|unsent| *unsent > 0) {
        let text = format!("{} not acknowledged or not sent yet", counted(unsent, "byte"));
        evidence.push(Evidence::new("unacknowledged_bytes", unsent, text));
    }
    evidence.extend(Waiting::of(scene, each()).evidence());
    evidence.extend(waiting::processes(scene, each()));
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            evaluate_by,
            fixture::{rendered, retransmitting, scene, socket},
        },
        socket::network::{Timer, TimerPurpose},
    };

    const PEER: &str = "10.0.0.9:443";

    /// A client of `PEER`, of which nothing has been received for 7 s.
    fn client() -> (Scene, Socket) {
        let mut scene = scene();
        scene.set("ipv4.tcp_retries2", "6");
        let owner = scene.process_at(7, "client");
        let stuck = Socket {
            unsent: Some(512),
            quiet: Some(Nanos::from_secs(7)),
            ..socket(TcpState::Established, "10.0.0.1:40000", PEER, 60, Some(owner))
        };
        (scene, stuck)
    }

    fn evaluated(scene: &Scene) -> Vec<Finding> {
        evaluate_by(&[&RULE], scene)
    }

    #[test]
    fn a_peer_that_left_three_retransmissions_unanswered_is_dead() {
        let (mut scene, stuck) = client();
        scene.add_with(&stuck, retransmitting(204, 5, 1_000));
        let later = Socket {
            endpoints: crate::event::Endpoints::new(
                ([10, 0, 0, 1].into(), 40_001),
                ([10, 0, 0, 9].into(), 443),
            ),
            ..stuck
        };
        scene.add_with(&later, retransmitting(204, 3, 500));
        let findings = evaluated(&scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
    }

    #[test]
    fn a_slow_a_lossy_and_an_idle_peer_are_alive() {
        let (mut scene, stuck) = client();
        scene.add_with(&stuck, retransmitting(204, 2, 100));
        let heard = Socket {
            quiet: Some(Nanos::from_millis(2_999)),
            ..stuck.clone()
        };
        scene.add_with(&heard, retransmitting(204, 5, 100));
        // Idle, or of a recording: nothing is known.
        scene.add(300, &stuck);
        // Other rules are about what a program has closed.
        let closed = Socket {
            state: TcpState::FinWait1,
            ..stuck
        };
        scene.add_with(&closed, retransmitting(204, 5, 100));
        assert_eq!(evaluated(&scene), []);
    }

    #[test]
    fn clients_that_vanish_are_a_note_and_many_of_one_address_a_warning() {
        let (mut scene, stuck) = client();
        let listener = socket(TcpState::Listen, "10.0.0.1:40000", "0.0.0.0:0", 60, Some(0));
        scene.add(1, &listener);
        scene.add_with(&stuck, retransmitting(204, 4, 100));
        assert_eq!(evaluated(&scene)[0].level, Level::Note);
        for _ in 1..MANY {
            scene.add_with(&stuck, retransmitting(204, 4, 100));
        }
        assert_eq!(evaluated(&scene)[0].level, Level::Warning);
    }

    #[test]
    fn probes_that_are_not_answered_count_as_retransmissions_do() {
        for purpose in [TimerPurpose::KeepAlive, TimerPurpose::WindowProbe] {
            let of = |probes| Network {
                probes: Some(probes),
                timer: Some(Timer::Running {
                    purpose,
                    expires_in: Nanos::from_secs(1),
                }),
                ..Network::default()
            };
            let (mut scene, stuck) = client();
            scene.add_with(&stuck, of(2));
            assert_eq!(evaluated(&scene), []);
            scene.add_with(&stuck, of(3));
            assert_eq!(evaluated(&scene).len(), 1);
        }
    }
}
