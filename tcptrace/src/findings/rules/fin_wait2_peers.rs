//! Peers that have acknowledged our FIN and do not close.

use super::Rule;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Scene, Socket},
    },
    plural::counted,
    socket::SockKind,
};
use hashbrown::HashMap;
use std::{net::IpAddr, time::Duration};

/// `fin-wait2-peers`
pub static RULE: Rule = Rule {
    id: "fin-wait2-peers",
    title: "a peer does not close after we did",
    fires: "At least ten sockets towards one address and port are in FIN_WAIT2 for five seconds or longer, and nothing has been
received from the peer in that time: a note; a warning from 500 on.",
    means: "This side has closed, the peer's kernel has acknowledged it, and the peer's program does not close: its half is in
CLOSE_WAIT. It leaks, or takes its time. If that program runs on this host, it is named.

A socket that is closed here waits for `tcp_fin_timeout`, 60 s, and is then forgotten, whatever the peer does. One that was
only shut down, and is still open here, waits for as long as the program lets it.",
    remedy: "Fix the peer: it is the one that leaks. This side loses only some memory. A shorter
`net.ipv4.tcp_fin_timeout` drops them sooner, and resets peers that close after that; it has no effect on TIME_WAIT.",
    spares: "FIN_WAIT2 for less than five seconds, as with any peer that answers; half-closed connections that still carry data.",
    check,
};

const FEW: usize = 10;
const MANY: usize = 500;
const SLOW: Nanos = Nanos::from_secs(5);

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_peer: HashMap<(u32, IpAddr, u16), Vec<&Socket>> = HashMap::new();
    let listening = scene.listening();
    for socket in scene.in_state(TcpState::FinWait2) {
        let is_in_use = socket.quiet.is_some_and(|quiet| quiet < SLOW);
        if socket.span() >= SLOW && !is_in_use {
            // A server's peers have a port each.
            let is_served = listening.contains(&(socket.netns, socket.endpoints.local_port));
            let port = if is_served {
                0
            } else {
                socket.endpoints.remote_port
            };
            by_peer
                .entry((socket.netns, socket.endpoints.remote(), port))
                .or_default()
                .push(socket);
        }
    }
    by_peer
        .into_iter()
        .filter(|(_, sockets)| sockets.len() >= FEW)
        .map(|(peer, sockets)| finding(scene, peer, &sockets))
        .collect()
}

fn finding(scene: &Scene, (netns, addr, port): (u32, IpAddr, u16), sockets: &[&Socket]) -> Finding {
    let count = sockets.len();
    let longest = sockets
        .iter()
        .map(|socket| socket.span())
        .max()
        .unwrap_or_default();
    let mut evidence = vec![Evidence::new(
        "longest_seconds",
        Duration::from_nanos(longest.0).as_secs_f64(),
        format!("the oldest has been in FIN_WAIT2 for {}", human(longest)),
    )];
    let open = sockets.iter().filter(|socket| is_open(socket)).count();
    let given_up = count - open;
    if open > 0 {
        let text = format!("{open} are still open here: shut down but not closed, they wait without a limit");
        evidence.push(Evidence::new("still_open", open, text));
    }
    if given_up > 0 {
        let text = format!(
            "{given_up} are orphaned: no process has them open, and they end after net.ipv4.tcp_fin_timeout"
        );
        evidence.push(Evidence::new("orphaned", given_up, text));
    }
    if let Some((name, pid, halves)) = peer_here(scene, sockets) {
        let text = format!("the peers of {halves} are on this host in CLOSE_WAIT, held by {name} ({pid})");
        evidence.push(Evidence::new("peers_in_close_wait", halves, text));
    }
    let (title, meaning, remedy) = if given_up == 0 {
        (
            format!(
                "{} that we shut down and the peer has not closed",
                counted(count, "connection")
            ),
            "this side has shut down its half and waits for the peer's remaining data and FIN; the peer is slow, or it leaks: there \
             the same connections are in CLOSE_WAIT",
            "look at the peer; make the program on this host close after a timeout what it has shut down",
        )
    } else {
        (
            format!(
                "{} that we closed and the peer has not",
                counted(count, "connection")
            ),
            "the peer's program does not close: there the same connections are in CLOSE_WAIT",
            "fix the peer; here they end by themselves after net.ipv4.tcp_fin_timeout, unless they are still open",
        )
    };
    Finding {
        rule: RULE.id,
        level: if count >= MANY {
            Level::Warning
        } else {
            Level::Note
        },
        subject: Subject::Destination {
            netns,
            addr,
            port: (port != 0).then_some(port),
        },
        title,
        evidence,
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        weight: count.figure(),
    }
}

/// Whether a process still has it open; else it is orphaned or a timewait socket.
fn is_open(socket: &Socket) -> bool {
    socket.kind == SockKind::Full && (socket.is_orphan == Some(false) || !socket.fds.is_empty())
}

/// The process on this host with most of the other endpoints in CLOSE_WAIT.
fn peer_here<'a>(scene: &'a Scene, sockets: &[&Socket]) -> Option<(&'a str, u32, usize)> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let closing = sockets
        .iter()
        .filter_map(|socket| socket.peer)
        .filter(|peer| peer.state == TcpState::CloseWait);
    for process in closing.filter_map(|peer| peer.process) {
        *counts.entry(process).or_default() += 1;
    }
    let (process, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let process = scene.processes.get(process)?;
    Some((&process.comm, process.key.pid, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{rendered, scene, socket},
        scene::Peer,
    };

    fn waiting(index: u16, seconds: u64) -> Socket {
        Socket {
            quiet: None,
            fds: Vec::new(),
            is_orphan: Some(true),
            ..socket(
                TcpState::FinWait2,
                &format!("10.0.0.1:{}", 40_000 + index),
                "10.0.0.9:443",
                seconds,
                None,
            )
        }
    }

    #[test]
    fn a_peer_on_this_host_is_named() {
        let mut scene = scene();
        let owner = scene.process_at(9, "leaky");
        let peer = Some(Peer {
            state: TcpState::CloseWait,
            process: Some(owner),
            is_open: true,
        });
        for index in 0..10 {
            scene.add(
                1,
                &Socket {
                    peer,
                    ..waiting(index, 20)
                },
            );
        }
        let findings = evaluate_by(&[&RULE], &scene);
        insta::assert_snapshot!(rendered(&findings[0]));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn those_still_open_here_are_distinguished() {
        let mut scene = scene();
        for index in 0..10 {
            let open = Socket {
                is_orphan: Some(false),
                fds: vec![9],
                ..waiting(index, 20)
            };
            scene.add(1, &open);
        }
        let findings = evaluate_by(&[&RULE], &scene);
        insta::assert_snapshot!(rendered(&findings[0]));
        scene.add(1, &waiting(10, 20));
        let names: Vec<&str> = evaluate_by(&[&RULE], &scene)[0]
            .evidence
            .iter()
            .map(|of| of.name)
            .collect();
        assert_eq!(names, ["longest_seconds", "still_open", "orphaned"]);
    }

    #[test]
    fn nine_or_younger_ones_or_those_in_use_are_no_trouble() {
        let mut scene = scene();
        for index in 0..9 {
            scene.add(1, &waiting(index, 20));
        }
        for index in 9..100 {
            scene.add(1, &waiting(index, 4));
            let streaming = Socket {
                quiet: Some(Nanos::from_secs(1)),
                ..waiting(index + 100, 600)
            };
            scene.add(1, &streaming);
        }
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
