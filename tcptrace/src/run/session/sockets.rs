//! Reads the sockets of this host while the ring buffer is drained.

use super::Session;
use crate::{
    event::{Event, TcpState},
    kernel::refusal::Refusal,
    run::Failure,
    socket::{
        Listed,
        scan::{Scan, ScanMechanism},
        snapshot::{NetworkEvidence, Snapshot, leave_first_paths},
    },
    source::{
        live::Live,
        snapshot::{self, Missing, Reader, Wanted},
    },
};

/// Number of rows of a snapshot after which the buffer is drained: about 5 ms by netlink.
const DRAIN_ROWS: usize = 4_096;

/// Number of individual socket lookups after which the buffer is drained: about 10 ms.
const LOOK_FOR: usize = 2_048;

impl Session {
    /// Passes the sockets of the namespaces `netns`, or of all where there are none, to `each`, as the kernel has them now,
    /// and with all of what the network does to them.
    pub(crate) fn visit_sockets(&mut self, netns: &[u32], each: impl FnMut(&Listed)) -> Result<(), Failure> {
        let wanted = Wanted {
            network: true,
            ..Wanted::of(netns)
        };
        self.read_sockets(wanted, each)?;
        Ok(())
    }

    /// The cookie of each listener of the same namespaces, and how many segments the kernel has dropped there since it
    /// listens (`sk_drops`); `None` where they cannot be read.
    pub(crate) fn listener_drops(&mut self, netns: &[u32]) -> Option<Vec<(u64, u32)>> {
        let mut drops = Vec::new();
        let wanted = Wanted {
            network: true,
            state: Some(TcpState::Listen),
            ..Wanted::of(netns)
        };
        let read = self.read_sockets(wanted, |listener| {
            if let Some(count) = listener.network.drops {
                drops.push((listener.row.sock.cookie, count));
            }
        });
        read.is_ok().then_some(drops)
    }

    /// The sockets of the namespaces `netns`, or of all where there are none, who holds them, and what the network does to
    /// them: as they are now, beside the table.
    pub(crate) fn look(&mut self, netns: &[u32]) -> Result<(Snapshot, Scan), Failure> {
        let of = |netns| Wanted {
            network: true,
            ..Wanted::of(netns)
        };
        let wanted = of(netns);
        let mut snapshot = self.list_sockets(wanted)?;
        let mut scan = self.holders_of(&snapshot);
        self.keepers = scan.keepers();
        let missed = snapshot.missed(&self.keepers, wanted.netns);
        if !missed.is_empty() {
            snapshot.add(self.list_sockets(of(&missed))?);
            if scan.mechanism == ScanMechanism::Proc {
                scan = self.holders_of(&snapshot);
            }
        }
        Ok((snapshot, scan))
    }

    /// Passes every socket to `each`, and meanwhile drains the ring buffer, which would fill up beside a large table.
    pub(super) fn read_sockets(
        &mut self,
        wanted: Wanted<'_>,
        mut each: impl FnMut(&Listed),
    ) -> Result<Snapshot, Refusal> {
        let Live { kernel, records, .. } = &mut self.live;
        let pending = &mut self.pending;
        let mut drain = || records.drain(|events| pending.extend_from_slice(events));
        let reader = Reader::new(self.sockets, kernel);
        let wanted = Wanted {
            keepers: &self.keepers,
            ..wanted
        };
        let (snapshot, ()) = snapshot::stream(reader, wanted, |rows| {
            for (count, socket) in rows.enumerate() {
                each(&socket);
                if count % DRAIN_ROWS == 0 {
                    drain();
                }
            }
        })?;
        drain();
        Ok(snapshot)
    }

    pub(super) fn list_sockets(&mut self, wanted: Wanted<'_>) -> Result<Snapshot, Refusal> {
        let mut rows = Vec::new();
        let mut network = NetworkEvidence::default();
        let snapshot = self.read_sockets(wanted, |socket| {
            rows.push(socket.row);
            if wanted.network {
                network.keep(socket);
            }
        })?;
        leave_first_paths(&mut rows, &snapshot.mptcp);
        Ok(Snapshot {
            rows,
            network,
            ..snapshot
        })
    }

    /// The sockets, each placed among the events that came meanwhile, and those events.
    pub(super) fn snapshot_and_events(
        &mut self,
        wanted: Wanted<'_>,
    ) -> Result<(Snapshot, Vec<Event>), Refusal> {
        let mut snapshot = self.list_sockets(wanted)?;
        if wanted.state.is_none() {
            self.look_for_missing(&mut snapshot);
        }
        let Self { live, pending, .. } = self;
        live.records.catch_up(|events| pending.extend_from_slice(events));
        let events = std::mem::take(&mut self.pending);
        snapshot.place_among(&events);
        Ok((snapshot, events))
    }

    /// Looks again for the sockets that the snapshot should have shown.
    pub(super) fn look_for_missing(&mut self, snapshot: &mut Snapshot) {
        let table = &self.engine.table;
        let slots = table.missing(snapshot.started, &snapshot.covered, &snapshot.rows);
        let mut missing: Vec<Missing> = slots
            .iter()
            .filter_map(|slot| table.row(*slot))
            .map(|row| Missing {
                netns: row.netns,
                endpoints: row.endpoints,
                cookie: row.id().cookie,
                is_listener: row.state.tcp == TcpState::Listen,
            })
            .collect();
        missing.sort_unstable_by_key(|socket| socket.netns);
        let Self {
            live,
            pending,
            keepers,
            ..
        } = self;
        for part in missing.chunks(LOOK_FOR) {
            snapshot.rows.extend(snapshot::second_look(part, keepers));
            live.records.drain(|events| pending.extend_from_slice(events));
        }
    }

    pub(super) fn holders_of(&mut self, snapshot: &Snapshot) -> Scan {
        match snapshot::holders(&mut self.live.kernel) {
            Ok(mut scan) => {
                snapshot::find_paths(&mut scan, &snapshot.rows);
                scan
            }
            Err(_) => snapshot::holders_by_proc(&snapshot.rows),
        }
    }
}
