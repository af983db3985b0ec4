//! Peers that are alive and do not read: their receive window is closed, and data waits here.

use super::Rule;
use crate::{
    duration::human,
    event::{Endpoints, Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Scene, Socket},
        waiting::{self, Waiting},
    },
    plural::{counted, verb},
};
use hashbrown::{HashMap, HashSet};
use std::net::IpAddr;

/// `peer-not-reading`
pub static RULE: Rule = Rule {
    id: "peer-not-reading",
    title: "a peer does not read what it is sent",
    fires: "The receive window of a peer is closed, data waits in the socket, none could be sent for 10 s, and probes of the window are
answered: a note; a warning from 100 sockets with one peer, or from 64 MiB that wait for it.",
    means: "The peer's kernel is alive and acknowledges probes with a window of 0: its receive buffer is full, because the program
there does not read. The data waits here, in memory that cannot be swapped, and the program here blocks in `write`, or
buffers more and more. The kernel waits without limit, as long as probes are answered, unless `TCP_USER_TIMEOUT` is set, or the program has closed
the socket: then it gives up once the probes' timeout has reached its maximum, after about five minutes.",
    remedy: "Look at the reader: a stalled thread, a consumer that is too slow, a client that was suspended. On this side, bound
what is buffered for each peer, and give writes a timeout; `TCP_USER_TIMEOUT` ends such connections too. Larger buffers
(`tcp_wmem`, `tcp_rmem`) only delay it.",
    spares: "A window that is closed for less than 10 s, as of a reader that is slow; peers that have not answered the latest
probe, which dead-peer reports after three. Recordings that hold no evidence on sockets.",
    check,
};

/// Time without a segment of data.
const STUCK: Nanos = Nanos::from_secs(10);

/// From these numbers of sockets and bytes on it is a warning.
const MANY: usize = 100;
const MUCH: u64 = 64 << 20;

fn check(scene: &Scene) -> Vec<Finding> {
    let by_peer = waiting::by_peer(scene.sockets.iter().filter(|socket| is_stuck(scene, socket)));
    if by_peer.is_empty() {
        return Vec::new();
    }
    let readers = readers(scene, by_peer.values().flatten().copied());
    by_peer
        .iter()
        .map(|((netns, addr), sockets)| finding(scene, (*netns, *addr), sockets, &readers))
        .collect()
}

/// Whether data waits for a window that the peer keeps closed.
fn is_stuck(scene: &Scene, socket: &Socket) -> bool {
    let Some(network) = scene.network(socket) else {
        return false;
    };
    let is_open = !matches!(
        socket.state,
        TcpState::Close | TcpState::Listen | TcpState::TimeWait
    );
    let since_sent = socket.flow.sent_ms.map(|ms| Nanos::from_millis(ms.into()));
    is_open
        && network.is_window_closed()
        && network.probes == Some(0)
        && socket.unsent > Some(0)
        && since_sent >= Some(STUCK)
}

/// The other ends of these sockets, where they are on this host.
fn readers<'a>(scene: &'a Scene, stuck: impl Iterator<Item = &'a Socket>) -> HashMap<Endpoints, &'a Socket> {
    let wanted: HashSet<Endpoints> = stuck.map(|socket| socket.endpoints.reversed()).collect();
    let others = scene.sockets.iter();
    others
        .filter(|socket| wanted.contains(&socket.endpoints) && socket.unread > Some(0))
        .map(|socket| (socket.endpoints, socket))
        .collect()
}

fn finding(
    scene: &Scene,
    (netns, addr): (u32, IpAddr),
    sockets: &[&Socket],
    readers: &HashMap<Endpoints, &Socket>,
) -> Finding {
    let each = || sockets.iter().copied();
    let waiting = waiting::unsent(each()).unwrap_or(0);
    let longest = each().filter_map(|socket| socket.flow.sent_ms).max().unwrap_or(0);
    let longest = Nanos::from_millis(longest.into());
    let mut evidence = vec![
        Evidence::new(
            "waiting_bytes",
            waiting,
            format!(
                "{} {} in the sockets",
                counted(waiting, "byte"),
                verb(waiting, "wait")
            ),
        ),
        Evidence::new(
            "blocked_seconds",
            waiting::seconds(longest),
            format!("no data could be sent for up to {}", human(longest)),
        ),
    ];
    evidence.extend(Waiting::of(scene, each()).evidence());
    evidence.extend(waiting::processes(scene, each()));
    let reader = each().find_map(|socket| {
        let reader = readers.get(&socket.endpoints.reversed())?;
        Some((reader.unread?, scene.owner(reader)?))
    });
    if let Some((unread, process)) = reader {
        let text = format!(
            "the reader is {} ({}), with {} unread",
            process.comm,
            process.key.pid,
            counted(unread, "byte")
        );
        evidence.push(Evidence::new("reader_pid", u64::from(process.key.pid), text));
    }
    Finding {
        rule: RULE.id,
        level: if sockets.len() >= MANY || waiting >= MUCH {
            Level::Warning
        } else {
            Level::Note
        },
        subject: Subject::Destination {
            netns,
            addr,
            port: None,
        },
        title: format!("{} for a peer that does not read", waits(sockets.len())),
        evidence,
        meaning: "the peer's kernel answers, its program does not read: what is written here waits in memory, and the program here \
            blocks or buffers"
            .to_owned(),
        remedy: "look at the program that should read; bound what is buffered for a peer here, and give writes a timeout".to_owned(),
        weight: waiting.figure(),
    }
}

fn waits(count: usize) -> String {
    format!("{} {}", counted(count, "connection"), verb(count, "wait"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            evaluate_by,
            fixture::{probing, rendered, scene, socket},
        },
        socket::{Flow, network::Network},
    };

    fn stuck(owner: usize, sent_ms: u32) -> Socket {
        Socket {
            unsent: Some(3_782_144),
            flow: Flow {
                sent_ms: Some(sent_ms),
                ..Flow::default()
            },
            ..socket(
                TcpState::Established,
                "127.0.0.1:8080",
                "127.0.0.1:40000",
                60,
                Some(owner),
            )
        }
    }

    #[test]
    fn a_window_that_stays_closed_is_reported_with_who_does_not_read() {
        let mut scene = scene();
        let (server, client) = (scene.process_at(7, "server"), scene.process_at(8, "client"));
        scene.add_with(&stuck(server, 42_000), probing(5, 0, 700));
        let reader = Socket {
            unread: Some(65_536),
            ..socket(
                TcpState::Established,
                "127.0.0.1:40000",
                "127.0.0.1:8080",
                60,
                Some(client),
            )
        };
        scene.add(1, &reader);
        let findings = evaluate_by(&[&RULE], &scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
    }

    #[test]
    fn a_slow_reader_a_dead_one_and_an_unknown_one_are_not() {
        let mut scene = scene();
        scene.add_with(&stuck(0, 9_999), probing(3, 0, 700));
        // The latest probe is not answered: whether the peer is there is not known.
        scene.add_with(&stuck(0, 42_000), probing(5, 1, 700));
        // The same timer runs where this host cannot send.
        let no_route = Network {
            send_window: Some(65_536),
            mss: Some(1_448),
            ..probing(5, 0, 700)
        };
        scene.add_with(&stuck(0, 42_000), no_route);
        scene.add(1, &stuck(0, 42_000));
        let empty = Socket {
            unsent: Some(0),
            ..stuck(0, 42_000)
        };
        scene.add_with(&empty, probing(5, 0, 700));
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }

    #[test]
    fn much_data_is_a_warning() {
        let mut scene = scene();
        for _ in 0..18 {
            scene.add_with(&stuck(0, 10_000), probing(3, 0, 700));
        }
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].level, Level::Warning);
        scene.networks.retain(|cookie, _| *cookie < 10);
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].level, Level::Note);
    }
}
