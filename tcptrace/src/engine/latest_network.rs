//! Sockets, and what the network did to them, by the latest snapshot that has evidence on it, as those of recordings have.

use crate::{
    connection::row::Connection,
    event::Nanos,
    socket::{
        Listed, SockKind,
        network::{Network, SocketOptions},
        scan::Scan,
        snapshot::Snapshot,
    },
};
use hashbrown::HashMap;

/// The age up to which a snapshot says what a socket is like now: a program may read at any moment. At the end of a
/// recording, what follows the last snapshot takes a part of that.
const RECENT: Nanos = Nanos::from_secs(2);

/// The sockets of the latest snapshot of which there is evidence, with the options that the latest scan found.
#[derive(Debug, Default)]
pub(crate) struct LatestNetwork {
    /// When the last of its sockets was read.
    read: Nanos,
    by_cookie: HashMap<u64, Listed>,
    options: HashMap<u64, SocketOptions>,
}

impl LatestNetwork {
    /// Takes the evidence of a snapshot instead of that of the one before.
    pub(super) fn replace(&mut self, snapshot: &Snapshot) {
        let times = snapshot.rows.iter().map(|row| row.time);
        self.read = times.max().unwrap_or(snapshot.started);
        let networks = snapshot.network.sockets.iter();
        let mut networks: HashMap<u64, Network> =
            networks.map(|socket| (socket.cookie, socket.network)).collect();
        self.by_cookie.clear();
        let rows = snapshot.rows.iter().filter(|row| row.kind == SockKind::Full);
        self.by_cookie.extend(rows.filter_map(|row| {
            let network = networks.remove(&row.sock.cookie)?;
            Some((row.sock.cookie, Listed { row: *row, network }))
        }));
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
        self.latest(connection).map(|latest| (self.read, latest.network))
    }

    /// The socket of a connection, if that still describes it at `now`: read at most 2 s ago, in the state that it is in.
    pub(crate) fn recent(&self, connection: &Connection, now: Nanos) -> Option<Listed> {
        let is_recent = now.since(self.read) <= RECENT && connection.state.since.time() <= self.read;
        self.latest(connection).filter(|_| is_recent)
    }

    fn latest(&self, connection: &Connection) -> Option<Listed> {
        let cookie = connection.id().cookie;
        if connection.began.time() > self.read || connection.state.is_timewait {
            return None;
        }
        let latest = self.by_cookie.get(&cookie)?;
        let network = Network {
            options: self.options.get(&cookie).copied(),
            ..latest.network
        };
        Some(Listed {
            row: latest.row,
            network,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Engine, Input},
        event::{Endpoints, SockRef, TcpState, fixture::endpoints},
        socket::{Holder, Row, network::SocketNetwork},
    };

    const OPTIONS: SocketOptions = SocketOptions {
        user_timeout_ms: 30_000,
        rto_max_ms: None,
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
        let recent = |engine: &Engine, now: u64| {
            let slot = engine.table.slot_of_cookie(1)?;
            let listed = engine.network.recent(engine.table.row(slot)?, Nanos(now))?;
            Some(listed.row.time)
        };
        assert_eq!(recent(&engine, 50 + RECENT.0), Some(Nanos(50)));
        assert_eq!(recent(&engine, 51 + RECENT.0), None, "that was long ago");
        let holder = |cookie| Holder {
            cookie,
            is_mptcp: false,
            process: crate::event::ProcessKey::new(3, 3),
            comm: [0; 16],
            cgroup: 0,
            uid: None,
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
