//! Connections that have been silent for long, in processes whose peers are known to vanish: nothing would notice that these
//! peers are gone too.

use super::{Rule, dead_peer};
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::OfProcess,
        scene::{Process, Scene, Socket},
        waiting,
    },
    plural::counted,
    socket::Flow,
};
use hashbrown::HashMap;

/// `unnoticed-death`
pub static RULE: Rule = Rule {
    id: "unnoticed-death",
    title: "nothing would notice that peers are gone",
    fires: "A process has at least 100 connections in ESTABLISHED in which nothing was sent or received for 10 minutes, with neither
keep-alive nor anything else in progress, and there is a sign that its peers vanish: the peer of another of its connections
has stopped answering (dead-peer), or during the watch it opened at least ten connections and closed at most a tenth as many. A
note; a warning if four of five of its file descriptors are used.",
    means: "An idle TCP connection sends nothing. If the peer loses power, moves to another network, or a firewall forgets the
connection, this end stays ESTABLISHED forever: `TCP_USER_TIMEOUT` and `tcp_retries2` count only while something is not
acknowledged. Each such connection keeps its descriptor and its memory. How many of them are dead cannot be seen from here.",
    remedy: "Let the program close idle connections, or probe them in its own protocol (ping frames, heartbeats). Otherwise set
`SO_KEEPALIVE` on them, with `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT` below the idle times of the firewalls on the
way: the defaults probe after two hours. The sysctls `tcp_keepalive_*` only apply to sockets with `SO_KEEPALIVE`.",
    spares: "Idle connections of a process without such a sign, as of a pool at rest; connections with keep-alive; connections
over loopback, or from an address to itself. Recordings, in which the idle times are not known.",
    check,
};

/// Time without data in either direction.
const SILENT_MS: u32 = 600_000;

const MANY: usize = 100;

/// Opened during the watch, and how many times as many as were closed, for a number that only grows.
const OPENED: u64 = 10;
const CLOSED: u64 = 10;

/// Whether a connection has been silent for long and has nothing that would notice the peer's end.
#[must_use]
pub fn is_silent(state: TcpState, flow: &Flow) -> bool {
    state == TcpState::Established
        && !flow.has_keepalive
        && flow.sent_ms >= Some(SILENT_MS)
        && flow.received_ms >= Some(SILENT_MS)
}

fn check(scene: &Scene) -> Vec<Finding> {
    let mut silent: HashMap<usize, Vec<&Socket>> = HashMap::new();
    let mut dead: HashMap<usize, usize> = HashMap::new();
    for socket in &scene.sockets {
        let Some(owner) = socket.owner else { continue };
        if dead_peer::is_dead(scene, socket) {
            *dead.entry(owner.process).or_default() += 1;
        } else if is_silent(socket.state, &socket.flow)
            && socket.unsent.is_none_or(|unsent| unsent == 0)
            && !is_here(socket)
        {
            silent.entry(owner.process).or_default().push(socket);
        }
    }
    silent
        .iter()
        .filter(|(_, sockets)| sockets.len() >= MANY)
        .filter_map(|(process, sockets)| {
            let dead = dead.get(process).copied().unwrap_or(0);
            finding(scene, scene.processes.get(*process)?, sockets, dead)
        })
        .collect()
}

/// Whether both ends have the same address: a peer on this host is reset when its program ends.
fn is_here(socket: &Socket) -> bool {
    socket.is_loopback() || socket.endpoints.local() == socket.endpoints.remote()
}

fn finding(scene: &Scene, process: &Process, sockets: &[&Socket], dead: usize) -> Option<Finding> {
    let grown = scene.history.of_process(process.key).filter(|of| only_grows(of));
    if dead == 0 && grown.is_none() {
        return None;
    }
    let idle = |socket: &&Socket| socket.flow.sent_ms.min(socket.flow.received_ms);
    let longest = sockets.iter().filter_map(idle).max().unwrap_or(0);
    let longest = Nanos::from_millis(longest.into());
    let mut evidence = vec![Evidence::new(
        "silent_seconds",
        waiting::seconds(longest),
        format!(
            "nothing was sent or received for up to {}, and no timer runs",
            human(longest)
        ),
    )];
    if dead > 0 {
        let text = format!(
            "{} more whose peer has stopped answering",
            counted(dead, "connection")
        );
        evidence.push(Evidence::new("dead_peers", dead, text));
    }
    if let Some(of) = grown {
        let text = format!(
            "{} opened and {} closed in {}",
            of.opened,
            of.closed,
            human(scene.watched)
        );
        evidence.push(Evidence::new("opened", of.opened, text));
    }
    let mut level = Level::Note;
    if let Some(fds) = process.descriptors {
        let text = format!("{} of {} file descriptors are used", fds.used, fds.limit);
        evidence.push(Evidence::new("descriptors_used", fds.used, text));
        if fds.is_nearly_all() {
            level = Level::Warning;
        }
    }
    Some(Finding {
        rule: RULE.id,
        level,
        subject: Subject::process(process.key, &process.comm),
        title: format!(
            "{} silent for 10 minutes and more, whose peers may be gone",
            counted(sockets.len(), "connection")
        ),
        evidence,
        meaning: "an idle connection sends nothing, so that nothing shows whether its peer is still there; each keeps a descriptor and \
            memory"
            .to_owned(),
        remedy: "close idle connections in the program, or set SO_KEEPALIVE with TCP_KEEPIDLE of some minutes on them; TCP_USER_TIMEOUT \
            alone does not help while nothing is sent"
            .to_owned(),
        weight: sockets.len().figure(),
    })
}

fn only_grows(of: &OfProcess) -> bool {
    of.opened >= OPENED && of.closed * CLOSED <= of.opened
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{key, rendered, retransmitting, scene, socket},
        scene::Descriptors,
    };

    /// A server with so many connections, silent for this long.
    fn server(count: u16, silent_ms: u32, has_keepalive: bool) -> Scene {
        let mut scene = scene();
        let owner = scene.process_at(7, "server");
        let silent = Socket {
            flow: Flow {
                sent_ms: Some(silent_ms),
                received_ms: Some(silent_ms),
                has_keepalive,
                ..Flow::default()
            },
            ..socket(
                TcpState::Established,
                "10.0.0.1:80",
                "10.0.0.2:1000",
                900,
                Some(owner),
            )
        };
        scene.add(count, &silent);
        scene
    }

    fn grows(scene: &mut Scene, opened: u64, closed: u64) {
        let of = OfProcess {
            opened,
            closed,
            ..OfProcess::default()
        };
        scene.history.by_process.insert(Some(key(7)), of);
    }

    fn with_a_dead_peer(mut scene: Scene) -> Scene {
        let dead = socket(
            TcpState::Established,
            "10.0.0.1:80",
            "10.0.0.3:1000",
            900,
            Some(0),
        );
        scene.add_with(&dead, retransmitting(204, 5, 100));
        scene
    }

    fn evaluated(scene: &Scene) -> Vec<Finding> {
        evaluate_by(&[&RULE], scene)
    }

    #[test]
    fn many_silent_connections_beside_a_dead_peer_are_reported() {
        let mut scene = with_a_dead_peer(server(120, 3_600_000, false));
        grows(&mut scene, 40, 1);
        let findings = evaluated(&scene);
        assert_eq!(findings.len(), 1);
        insta::assert_snapshot!(rendered(&findings[0]));
        scene.processes[0].descriptors = Some(Descriptors {
            used: 1000,
            limit: 1024,
        });
        assert_eq!(evaluated(&scene)[0].level, Level::Warning);
    }

    #[test]
    fn silence_alone_is_none_and_neither_are_few() {
        assert_eq!(evaluated(&server(500, 3_600_000, false)), []);
        assert_eq!(evaluated(&with_a_dead_peer(server(99, 3_600_000, false))), []);
        let mut balanced = server(500, 3_600_000, false);
        grows(&mut balanced, 40, 5);
        assert_eq!(evaluated(&balanced), []);
        grows(&mut balanced, 40, 4);
        assert_eq!(evaluated(&balanced).len(), 1);
    }

    #[test]
    fn keep_alive_and_traffic_and_unknown_silence_are_none() {
        assert_eq!(evaluated(&with_a_dead_peer(server(500, 3_600_000, true))), []);
        assert_eq!(evaluated(&with_a_dead_peer(server(500, 599_999, false))), []);
        let mut recorded = with_a_dead_peer(server(500, 3_600_000, false));
        for socket in &mut recorded.sockets {
            socket.flow = Flow::default();
        }
        assert_eq!(evaluated(&recorded), []);
    }
}
