//! Peers that have acknowledged our FIN and never close themselves.

use super::Rule;
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

/// The rule.
pub static RULE: Rule = Rule {
    id: "fin-wait2-peers",
    title: "a peer does not close after we did",
    fires: "At least ten sockets towards one address and port are in FIN_WAIT2 for five seconds or longer, and nothing has come
from the peer meanwhile: a note, from 500 on a warning.",
    means: "This side has closed, the peer's kernel has acknowledged it, and the peer's program does not close: its half is in
CLOSE_WAIT. It leaks, or takes its time. Where that program runs on this host it is named.

A socket that is closed here waits for `tcp_fin_timeout`, 60 s, and is then forgotten, whatever the peer does. One that was
only shut down, and is still open here, waits for as long as the program lets it.",
    remedy: "Fix the peer: it is the one that leaks. On this side nothing is lost but some memory. A shorter
`net.ipv4.tcp_fin_timeout` forgets them sooner, and resets peers that close after that; it has no effect on TIME_WAIT.",
    spares: "FIN_WAIT2 for less than five seconds, as towards any peer that answers; half-closed connections that still carry data.",
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
            let is_served = listening.contains(&(socket.netns, socket.ends.local_port));
            let port = if is_served { 0 } else { socket.ends.remote_port };
            by_peer
                .entry((socket.netns, socket.ends.remote(), port))
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
    let open = sockets.iter().filter(|socket| !socket.fds.is_empty()).count();
    if open > 0 {
        let text = format!("{open} are still open here: shut down and not closed, they wait without a limit");
        evidence.push(Evidence::new("still_open", open, text));
    }
    if let Some((name, pid, halves)) = peer_here(scene, sockets) {
        let text = format!("the other half of {halves} is in CLOSE_WAIT here, held by {name} ({pid})");
        evidence.push(Evidence::new("halves_in_close_wait", halves, text));
    }
    Finding {
        rule: RULE.id,
        level: if count >= MANY { Level::Warning } else { Level::Note },
        subject: Subject::Destination {
            netns,
            addr,
            port: (port != 0).then_some(port),
        },
        title: format!("{count} connections that we closed and the peer does not"),
        evidence,
        meaning: "the peer's program does not close: there the same connections are in CLOSE_WAIT".to_owned(),
        remedy: "fix the peer; here they end by themselves after net.ipv4.tcp_fin_timeout, unless they are still open".to_owned(),
        weight: count.figure(),
    }
}

/// The process of this host that has most of the other halves.
fn peer_here<'a>(scene: &'a Scene, sockets: &[&Socket]) -> Option<(&'a str, u32, usize)> {
    let wanted: hashbrown::HashSet<_> = sockets
        .iter()
        .map(|socket| {
            (
                socket.ends.remote(),
                socket.ends.remote_port,
                socket.ends.local(),
                socket.ends.local_port,
            )
        })
        .collect();
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for half in scene.in_state(TcpState::CloseWait) {
        let ends = &half.ends;
        if let Some(owner) = half.owner
            && wanted.contains(&(ends.local(), ends.local_port, ends.remote(), ends.remote_port))
        {
            *counts.entry(owner.process).or_default() += 1;
        }
    }
    let (process, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let process = scene.processes.get(process)?;
    Some((&process.comm, process.key.pid, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        fixture::{scene, socket, told},
        judge_by,
    };

    fn waiting(index: u16, seconds: u64) -> Socket {
        Socket {
            quiet: None,
            fds: Vec::new(),
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
        for index in 0..10 {
            scene.add(1, &waiting(index, 20));
            let local = format!("10.0.0.1:{}", 40_000 + index);
            scene.add(
                1,
                &socket(TcpState::CloseWait, "10.0.0.9:443", &local, 20, Some(owner)),
            );
        }
        let findings = judge_by(&[&RULE], &scene);
        insta::assert_snapshot!(told(&findings[0]));
        assert_eq!(findings.len(), 1);
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
        assert_eq!(judge_by(&[&RULE], &scene), []);
    }
}
