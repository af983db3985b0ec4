//! What the network did to connections by the latest snapshot that has evidence on it, as those of recordings have.

use crate::{
    connection::row::Connection,
    event::Nanos,
    socket::{
        network::{Network, SocketOptions},
        scan::Scan,
        snapshot::Snapshot,
    },
};
use hashbrown::HashMap;

/// The evidence of the latest snapshot, with the options that the latest scan found.
#[derive(Debug, Default)]
pub(crate) struct LatestNetwork {
    /// When the last of its sockets was read.
    read: Nanos,
    by_cookie: HashMap<u64, Network>,
    options: HashMap<u64, SocketOptions>,
}

impl LatestNetwork {
    /// Takes the evidence of a snapshot instead of that of the one before.
    pub(super) fn replace(&mut self, snapshot: &Snapshot) {
        let times = snapshot.rows.iter().map(|row| row.time);
        self.read = times.max().unwrap_or(snapshot.started);
        self.by_cookie = snapshot
            .network
            .sockets
            .iter()
            .map(|socket| (socket.cookie, socket.network))
            .collect();
    }

    /// Takes the options of these sockets from a scan.
    pub(super) fn replace_options(&mut self, scan: &Scan) {
        self.options.clear();
        if self.by_cookie.is_empty() {
            return;
        }
        let options = scan
            .holders
            .iter()
            .filter(|holder| self.by_cookie.contains_key(&holder.cookie))
            .filter_map(|holder| Some((holder.cookie, holder.options?)));
        self.options.extend(options);
    }

    /// What the network did to a connection, and when that was read. `None` if the connection began later, if a timewait
    /// socket represents it, or if nothing is known.
    pub(crate) fn of(&self, connection: &Connection) -> Option<(Nanos, Network)> {
        let cookie = connection.id().cookie;
        if connection.began.time() > self.read || connection.state.is_timewait {
            return None;
        }
        let network = Network {
            options: self.options.get(&cookie).copied(),
            ..*self.by_cookie.get(&cookie)?
        };
        Some((self.read, network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Engine, Input},
        event::{Endpoints, SockRef, TcpState, fixture::endpoints},
        socket::{Holder, Row, SockKind, network::SocketNetwork},
    };

    const OPTIONS: SocketOptions = SocketOptions {
        user_timeout_ms: 30_000,
        has_keepalive: false,
        keepalive_time_ms: 0,
        keepalive_interval_ms: 0,
        keepalive_probes: 0,
        port_range: None,
    };

    fn row(cookie: u64, kind: SockKind, state: TcpState) -> Row {
        let ends = endpoints("10.0.0.1:80", &format!("10.0.0.2:{cookie}"));
        Row::bare(Nanos(50), SockRef::new(cookie, 0), ends, 1, kind, state)
    }

    fn network(rtt_us: u32) -> Network {
        Network {
            rtt_us: Some(rtt_us),
            ..Network::default()
        }
    }

    fn snapshot(started: u64, rtts: &[(u64, u32)]) -> Snapshot {
        let rows = [
            row(1, SockKind::Full, TcpState::Established),
            row(2, SockKind::Timewait, TcpState::TimeWait),
        ];
        let network = rtts.iter().map(|(cookie, rtt)| SocketNetwork {
            cookie: *cookie,
            network: network(*rtt),
        });
        Snapshot {
            started: Nanos(started),
            rows: rows.into(),
            network: network.collect(),
            covered: [1].into(),
            ..Snapshot::default()
        }
    }

    fn of(engine: &Engine, cookie: u64) -> Option<(Nanos, Network)> {
        let slot = engine.table.slot_of_cookie(cookie)?;
        engine.network.of(engine.table.row(slot)?)
    }

    #[test]
    fn a_connection_has_the_evidence_of_the_latest_snapshot_and_the_options_of_the_latest_scan() {
        let mut engine = Engine::new(4);
        engine.apply(Input::Snapshot(&snapshot(40, &[(1, 7), (2, 8)]), &[]));
        assert_eq!(of(&engine, 1), Some((Nanos(50), network(7))));
        assert_eq!(of(&engine, 2), None, "its full socket is gone");
        let holder = |cookie| Holder {
            cookie,
            is_mptcp: false,
            process: crate::event::ProcessKey::new(3, 3),
            comm: [0; 16],
            cgroup: 0,
            fd: 3,
            state: TcpState::Established,
            netns: 1,
            endpoints: Endpoints::default(),
            error: 0,
            options: Some(OPTIONS),
        };
        let scan = Scan {
            started: Nanos(60),
            holders: vec![holder(1), holder(9)],
            ..Scan::default()
        };
        engine.apply(Input::Holders { scan, cost: Nanos(0) });
        assert_eq!(engine.network.options.len(), 1);
        let with_options = Network {
            options: Some(OPTIONS),
            ..network(7)
        };
        assert_eq!(of(&engine, 1), Some((Nanos(50), with_options)));
        engine.apply(Input::Snapshot(&snapshot(70, &[]), &[]));
        assert_eq!(of(&engine, 1), None, "the latest snapshot has nothing of it");
    }
}
