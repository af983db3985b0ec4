//! Idle connections that a process opens to one destination and never closes.

use super::Rule;
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        growth::{Basis, Growth},
        history::{OfPool, Pool},
        scene::{Scene, Socket},
        slope::Slope,
    },
    plural::{counted, is},
};
use std::net::SocketAddr;

/// `connections-only-grow`
pub static RULE: Rule = Rule {
    id: "connections-only-grow",
    title: "a process opens connections and keeps them",
    fires: "During the watch a process opened at least ten connections to one address and port and closed at most a tenth as
many, their number grows significantly until the end, and at least half of those that exist are idle: nothing was sent or
received for two seconds. A note; a warning from 100 existing ones on.",
    means: "The connections are in ESTABLISHED, and each keeps a descriptor here and at the peer. A client does this
if it takes a connection from its pool for each request and does not return it, or never reads or closes the bodies of
responses, whose data then stays unread. Once the peer closes, they are in CLOSE_WAIT, and close-wait-leak reports them.

A pool that fills grows too, and then stops.",
    remedy: "Read and close every response, in a `finally`, `with` or `defer`; bound the pool (its maximum and its idle time);
share one client instead of creating one for each request. `tcptrace leaks --stacks` shows which code opens connections.",
    spares: "Connections that are closed again, that carry data, whose number has stopped growing, or that were accepted. A watch
of a few seconds cannot distinguish a pool that fills from one that leaks: watch for longer than the pool takes to fill.",
    check,
};

/// Opened during the watch.
const FEW: u64 = 10;

/// At most one in this many of those opened may be closed.
const CLOSED: u64 = 10;

const MANY: usize = 100;

/// A connection is idle after this time without a byte, milliseconds or seconds as in its type.
const IDLE: Nanos = Nanos::from_secs(2);

fn check(scene: &Scene) -> Vec<Finding> {
    scene
        .history
        .by_pool
        .iter()
        .filter(|(_, of)| of.opened >= FEW && of.closed * CLOSED <= of.opened)
        .filter_map(|(pool, of)| finding(scene, pool, of))
        .collect()
}

fn finding(scene: &Scene, pool: &Pool, of: &OfPool) -> Option<Finding> {
    let growth = Growth {
        per_minute: of.open.per_minute().filter(Slope::is_rising)?,
        basis: Basis::Watched,
    };
    let index = scene
        .processes
        .iter()
        .position(|process| process.key == pool.process)?;
    let process = scene.processes.get(index)?;
    let here: Vec<&Socket> = scene
        .in_state(TcpState::Established)
        .filter(|socket| {
            socket.owner.is_some_and(|owner| owner.process == index)
                && (
                    socket.netns,
                    socket.endpoints.remote(),
                    socket.endpoints.remote_port,
                ) == (pool.netns, pool.remote, pool.port)
        })
        .collect();
    let idle = here.iter().filter(|socket| is_idle(socket)).count();
    if here.is_empty() || idle * 2 < here.len() {
        return None;
    }
    let to = SocketAddr::new(pool.remote, pool.port);
    let mut evidence = vec![
        Evidence::new(
            "opened",
            of.opened,
            format!(
                "{} opened and {} closed in {}",
                of.opened,
                of.closed,
                human(scene.watched)
            ),
        ),
        Evidence::new(
            "growth_per_minute",
            growth.per_minute.rounded().per_unit,
            growth.to_string(),
        ),
        Evidence::new(
            "idle",
            idle,
            format!("{idle} of {} {} idle", here.len(), is(idle)),
        ),
    ];
    let unread = here
        .iter()
        .filter(|socket| socket.unread.is_some_and(|unread| unread > 0))
        .count();
    if unread > 0 {
        let text = format!(
            "{} with data that the program has not read",
            counted(unread, "connection")
        );
        evidence.push(Evidence::new("with_unread_data", unread, text));
    }
    if let Some(fds) = process.descriptors {
        let text = format!("{} of {} file descriptors are used", fds.used, fds.limit);
        evidence.push(Evidence::new("descriptors_used", fds.used, text));
        if let Some(left) = growth.exhausts(fds) {
            let seconds = std::time::Duration::from_nanos(left.0).as_secs_f64();
            let text = format!("\"Too many open files\" in {} at this growth", human(left));
            evidence.push(Evidence::new("exhausted_in_seconds", seconds, text));
        }
    }
    Some(Finding {
        rule: RULE.id,
        level: if here.len() >= MANY { Level::Warning } else { Level::Note },
        subject: Subject::process(process.key, &process.comm),
        title: format!("{} to {to} in ESTABLISHED, opened and not closed", counted(here.len(), "connection")),
        evidence,
        meaning: "connections are opened faster than they are returned: a leak in ESTABLISHED, or a pool that is still filling"
            .to_owned(),
        remedy: "read and close every response, bound the pool, and share one client; watch for longer to see whether it stops"
            .to_owned(),
        weight: here.len().figure(),
    })
}

/// A connection of which nothing is known, as in a recording, counts as idle.
fn is_idle(socket: &Socket) -> bool {
    let flow = &socket.flow;
    [flow.sent_ms, flow.received_ms]
        .into_iter()
        .flatten()
        .all(|ms| Nanos::from_millis(ms.into()) >= IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            evaluate_by,
            fixture::{NETNS, key, rendered, scene, socket},
            history::Series,
        },
        socket::Flow,
    };

    /// A client with these numbers of connections, from second to second.
    fn client(counts: impl IntoIterator<Item = u64>, closed: u64, quiet_ms: u32) -> Scene {
        let mut scene = scene();
        let owner = scene.process_at(7, "java");
        let mut open = Series::default();
        for (second, count) in counts.into_iter().enumerate() {
            open.push(Nanos::from_secs(second as u64), count);
        }
        let here = u16::try_from(open.latest()).unwrap();
        let mut of = OfPool {
            opened: 40,
            closed,
            ..OfPool::default()
        };
        of.open = open;
        let pool = Pool {
            process: key(7),
            netns: NETNS,
            remote: [10, 0, 0, 9].into(),
            port: 443,
        };
        scene.history.by_pool.insert(pool, of);
        for index in 0..here {
            let local = format!("10.0.0.1:{}", 40_000 + index);
            let idle = Socket {
                unread: Some(500),
                flow: Flow {
                    sent_ms: Some(quiet_ms),
                    received_ms: Some(quiet_ms),
                    ..Flow::default()
                },
                ..socket(TcpState::Established, &local, "10.0.0.9:443", 10, Some(owner))
            };
            scene.sockets.push(idle);
        }
        scene
    }

    #[test]
    fn connections_that_only_grow_are_reported_with_what_waits_in_them() {
        let findings = evaluate_by(
            &[&RULE],
            &client((0..11).map(|second| 148 + 4 * second), 1, 5_000),
        );
        insta::assert_snapshot!(rendered(&findings[0]));
    }

    #[test]
    fn a_pool_that_is_full_closes_or_works_is_no_trouble() {
        let full = (0..21).map(|second: u64| 10 + 4 * second.min(8));
        assert_eq!(evaluate_by(&[&RULE], &client(full, 0, 5_000)), []);
        let grows = || (0..11).map(|second| 10 + 4 * second);
        assert_eq!(evaluate_by(&[&RULE], &client(grows(), 5, 5_000)), []);
        assert_eq!(evaluate_by(&[&RULE], &client(grows(), 0, 100)), []);
        assert_eq!(evaluate_by(&[&RULE], &client(grows(), 0, 5_000)).len(), 1);
    }
}
