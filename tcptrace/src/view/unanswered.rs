//! Connections whose peers do not answer, by the network evidence of the latest snapshot.

use super::connections::{self, ConnectionView};
use crate::{engine::Engine, event::Nanos, filter::Filter, socket::network::Network};
use std::cmp::Reverse;

/// The most that are listed.
const MOST: usize = 20;

/// One such connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// The connection as it is.
    pub(crate) row: ConnectionView,
    /// When the evidence was read.
    pub(crate) read: Nanos,
    pub(crate) network: Network,
}

/// Those of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnansweredList {
    /// Their number.
    pub(crate) count: u64,
    /// Those with the most timeouts and probes, at most 20.
    pub(crate) worst: Vec<Unanswered>,
}

/// The connections that `filter` lets pass and that still exist.
pub(crate) fn gather(engine: &Engine, now: Nanos, filter: &Filter) -> UnansweredList {
    let mut list = UnansweredList::default();
    for connection in engine.table.iter() {
        let Some((read, network)) = engine.network.of(connection) else {
            continue;
        };
        if !network.is_stuck() {
            continue;
        }
        let Some(process) = engine.accepted_row(connection, filter) else {
            continue;
        };
        list.count += 1;
        list.worst.push(Unanswered {
            row: connections::row(engine, connection, process, now),
            read,
            network,
        });
        if list.worst.len() >= 2 * MOST {
            keep_worst(&mut list.worst);
        }
    }
    keep_worst(&mut list.worst);
    list
}

fn keep_worst(list: &mut Vec<Unanswered>) {
    list.sort_by_key(|of| {
        let unanswered = of.network.retransmits.max(of.network.probes);
        (Reverse(unanswered), of.row.identity.id.cookie)
    });
    list.truncate(MOST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Input,
        event::{SockRef, TcpState, fixture::endpoints},
        socket::{Row, SockKind, network::SocketNetwork, snapshot::Snapshot},
    };

    #[test]
    fn the_worst_come_first_and_the_rest_is_counted() {
        let row = |cookie: u64| {
            let ends = endpoints("10.0.0.1:80", &format!("10.0.0.2:{cookie}"));
            let sock = SockRef::new(cookie, 0);
            Row::bare(Nanos(5), sock, ends, 1, SockKind::Full, TcpState::Established)
        };
        let network = |cookie| SocketNetwork {
            cookie,
            network: Network {
                retransmits: Some(u8::try_from(cookie / 2).unwrap()),
                ..Network::default()
            },
        };
        let snapshot = Snapshot {
            rows: (1..=100).map(row).collect(),
            network: (1..=100).map(network).collect(),
            ..Snapshot::default()
        };
        let mut engine = Engine::new(200);
        engine.apply(Input::Snapshot(&snapshot, &[]));
        let list = gather(&engine, Nanos(9), &Filter::default());
        assert_eq!(list.count, 99, "one has no timeout");
        let cookies: Vec<u64> = list.worst.iter().map(|of| of.row.identity.id.cookie).collect();
        assert_eq!(cookies[..5], [100, 98, 99, 96, 97]);
        assert_eq!(cookies.len(), MOST);
        let nobody = Filter {
            states: vec![TcpState::CloseWait],
            ..Filter::default()
        };
        assert_eq!(gather(&engine, Nanos(9), &nobody), UnansweredList::default());
    }
}
