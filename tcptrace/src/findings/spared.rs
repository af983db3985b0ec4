//! Sockets in CLOSE_WAIT that do not count as leaked: those that wait for their peer, and those younger than the
//! threshold. Pure.

use super::{
    leak,
    scene::{Process, Scene, Socket},
    verdict::Verdict,
};
use crate::{
    event::{Age, Nanos, TcpState},
    socket::HeldUp,
};
use std::cmp::Reverse;

/// Sockets of one process that have one reason to be open, past their threshold as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting<'a> {
    /// Whose; `None` where no owner is known.
    pub process: Option<&'a Process>,
    /// Why they are open.
    pub verdict: Verdict,
    /// The sockets, oldest first; never empty.
    pub sockets: Vec<&'a Socket>,
    /// Who has the other ends, where that is on this host.
    pub peer: Option<&'a Process>,
}

/// Sockets that are younger than their threshold, of all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Younger {
    /// Number of sockets in CLOSE_WAIT younger than the threshold.
    pub count: usize,
    /// The least threshold among their processes.
    pub threshold: Nanos,
    /// How old the oldest is.
    pub oldest: Age,
    /// Those whose age is a lower bound, and that may be past the threshold: their peers answer probes.
    pub unsure: usize,
}

/// Those that wait, most first.
#[must_use]
pub fn waiting(scene: &Scene) -> Vec<Waiting<'_>> {
    let listening = scene.listening();
    let mut list: Vec<Waiting<'_>> = Vec::new();
    for group in leak::groups(scene) {
        let (process, threshold) = (group.process, group.threshold.age());
        for socket in group.sockets {
            let verdict = Verdict::on(socket, Scene::came_in(socket, &listening));
            let may_be_old = socket.span() >= threshold || is_unsure(socket, threshold);
            if verdict.is_leaked() || !may_be_old || leak::is_in_use(socket, threshold) {
                continue;
            }
            let peer = socket.peer.and_then(|peer| scene.processes.get(peer.process?));
            let known = list
                .iter_mut()
                .find(|of| (of.process, of.verdict, of.peer) == (process, verdict, peer));
            match known {
                Some(of) => of.sockets.push(socket),
                None => list.push(Waiting {
                    process,
                    verdict,
                    sockets: vec![socket],
                    peer,
                }),
            }
        }
    }
    for of in &mut list {
        of.sockets
            .sort_by_key(|socket| (Reverse(socket.span()), socket.cookie));
    }
    list.sort_by_key(|of| {
        let pid = of.process.map(|process| process.key.pid);
        (Reverse(of.sockets.len()), pid, of.verdict)
    });
    list
}

/// Those that are too young, as far as any has been there for [`super::history::SETTLED`]: a service that closes in
/// time has younger ones at any moment.
#[must_use]
pub fn younger(scene: &Scene) -> Option<Younger> {
    let mut all: Option<Younger> = None;
    let listening = scene.listening();
    for group in leak::groups(scene) {
        let threshold = group.threshold.age();
        for socket in group.sockets {
            let Some(age) = socket.age.filter(|age| age.span() < threshold) else {
                continue;
            };
            let is_leaked = Verdict::on(socket, Scene::came_in(socket, &listening)).is_leaked();
            if socket.state != TcpState::CloseWait || !is_leaked || streams(socket, threshold) {
                continue;
            }
            let of = all.get_or_insert(Younger {
                count: 0,
                threshold,
                oldest: age,
                unsure: 0,
            });
            of.count += 1;
            of.threshold = of.threshold.min(threshold);
            of.unsure += usize::from(is_unsure(socket, threshold));
            if age.span() > of.oldest.span() {
                of.oldest = age;
            }
        }
    }
    all.filter(|of| of.oldest.span() >= super::history::SETTLED || of.unsure > 0)
}

/// Whether the program is known to have sent something since its peer closed.
fn streams(socket: &Socket, threshold: Nanos) -> bool {
    let since = socket.flow.sent_ms.is_some_and(|ms| {
        let is_exact = socket.age.is_some_and(Age::is_exact);
        !is_exact || Nanos::from_millis(ms.into()) < socket.span()
    });
    since && leak::is_in_use(socket, threshold)
}

/// Whether its age is a lower bound below the threshold, since the peer has answered probes, and its FIN, which came
/// after the last data, may be older.
fn is_unsure(socket: &Socket, threshold: Nanos) -> bool {
    let came = socket.flow.received_ms.map(|ms| Nanos::from_millis(ms.into()));
    let is_probed = socket.flow.has_keepalive || socket.flow.held_up != HeldUp::No;
    is_probed
        && socket
            .age
            .is_some_and(|age| !age.is_exact() && age.span() < threshold)
        && came.is_none_or(|came| came >= threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            fixture::{scene, socket},
            scene::Peer,
        },
        socket::Flow,
    };

    fn half_closed(seconds: u64, owner: usize) -> Socket {
        socket(
            TcpState::CloseWait,
            "10.0.0.1:80",
            "10.0.0.1:4000",
            seconds,
            Some(owner),
        )
    }

    #[test]
    fn what_waits_for_its_peer_is_not_forgotten_and_is_named() {
        let mut scene = scene();
        let (server, client) = (scene.process_at(1, "server"), scene.process_at(2, "client"));
        let asked = Socket {
            peer: Some(Peer {
                state: TcpState::FinWait2,
                process: Some(client),
                is_open: true,
            }),
            ..half_closed(100, server)
        };
        scene.add(3, &asked);
        let blocked = Socket {
            unsent: Some(3_700_000),
            flow: Flow {
                held_up: HeldUp::Window,
                ..Flow::default()
            },
            ..half_closed(100, server)
        };
        scene.add(2, &blocked);
        assert_eq!(leak::leaks(&scene), []);
        let listed: Vec<_> = waiting(&scene)
            .iter()
            .map(|of| (of.sockets.len(), of.verdict, of.peer.map(|peer| peer.key.pid)))
            .collect();
        assert_eq!(
            listed,
            [(3, Verdict::PeerWaits, Some(2)), (2, Verdict::WindowClosed, None)]
        );
    }

    #[test]
    fn the_younger_are_counted_with_the_oldest_and_those_of_unknown_age() {
        let mut scene = scene();
        let owner = scene.process_at(1, "go-svc");
        assert_eq!(younger(&scene), None);
        let exact = |seconds| Socket {
            age: Some(Age::Exact(Nanos::from_secs(seconds))),
            ..half_closed(seconds, owner)
        };
        scene.add(3, &exact(1));
        assert_eq!(younger(&scene), None);
        scene.add(1, &exact(25));
        let bound = |seconds, received_ms| Socket {
            flow: Flow {
                sent_ms: Some(received_ms),
                received_ms: Some(received_ms),
                has_keepalive: true,
                ..Flow::default()
            },
            ..half_closed(seconds, owner)
        };
        scene.add(2, &bound(3, 50_000));
        scene.add(4, &bound(3, 70_000));
        let found = younger(&scene).unwrap();
        assert_eq!((found.count, found.unsure), (10, 4));
        assert_eq!(found.oldest, Age::Exact(Nanos::from_secs(25)));
    }
}
