//! The one engine: live, recorded and tested events go through here to the table and the statistics.

use crate::{
    connection::table::{Change, Table},
    decode::Row,
    event::{Event, Nanos},
    owner::holders::{Holders, Scan},
    source::snapshot::Snapshot,
    stats::Stats,
};

/// Table and statistics.
#[derive(Debug)]
pub struct Engine {
    /// Live connections.
    pub table: Table,
    /// What was counted.
    pub stats: Stats,
    /// What the latest scan of open files told beyond the owners of rows.
    pub holders: Holders,
}

/// What a snapshot changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Sockets compared.
    pub compared: u64,
    /// Rows that were missing from the table or in another state.
    pub corrected: u64,
    /// Rows that the kernel no longer had.
    pub retired: u64,
}

impl Engine {
    /// An engine for at most `max_connections` live connections.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self {
            table: Table::new(max_connections),
            stats: Stats::default(),
            holders: Holders::default(),
        }
    }

    /// Applies an event; `emit` gets every change of state that it makes known.
    #[inline(always)]
    pub fn ingest(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let Self { table, stats, .. } = self;
        stats.watched_from.get_or_insert(event.time);
        table.apply(event, &mut |change| {
            stats.count(change);
            emit(change);
        });
    }

    /// Applies a few events, in order of time, as [`Self::ingest`] does each: cheaper where the caches do not hold the
    /// table.
    pub fn ingest_all(&mut self, events: &[Event], emit: &mut impl FnMut(&Change)) {
        self.table.foresee(events.iter().map(|event| event.sock));
        for event in events {
            self.ingest(event, emit);
        }
    }

    /// Ends what waited for an explanation until `now`.
    pub fn settle(&mut self, now: Nanos, emit: &mut impl FnMut(&Change)) {
        let Self { table, stats, .. } = self;
        table.settle(now, &mut |change| {
            stats.count(change);
            emit(change);
        });
    }

    /// Takes in rows and the events that came while they were read, in order of time: whichever is newer wins.
    pub fn observe(&mut self, rows: &[Row], events: &[Event], emit: &mut impl FnMut(&Change)) -> Healed {
        let Self { table, stats, .. } = self;
        let mut emit = |change: &Change| {
            stats.count(change);
            emit(change);
        };
        let mut healed = Healed::default();
        let mut rows = rows.iter().peekable();
        for event in events {
            while let Some(row) = rows.next_if(|row| row.time <= event.time) {
                healed.compared += 1;
                healed.corrected += u64::from(table.observe(row, &mut emit));
            }
            table.apply(event, &mut emit);
        }
        for row in rows {
            healed.compared += 1;
            healed.corrected += u64::from(table.observe(row, &mut emit));
        }
        healed
    }

    /// Merges a snapshot with the events that came while it was taken, and ends what it no longer shows.
    pub fn merge(&mut self, snapshot: &Snapshot, events: &[Event], emit: &mut impl FnMut(&Change)) -> Healed {
        let first = events
            .first()
            .map_or(snapshot.started, |event| event.time.min(snapshot.started));
        self.stats.watched_from.get_or_insert(first);
        let mut healed = self.observe(&snapshot.rows, events, emit);
        let Self { table, stats, .. } = self;
        let mut emit = |change: &Change| {
            stats.count(change);
            emit(change);
        };
        healed.retired = table.retire_missing(snapshot.started, &snapshot.covered, &snapshot.rows, &mut emit);
        table.forget_children(snapshot.started, &snapshot.covered);
        table.forget_losses(snapshot.started);
        healed
    }

    /// Takes in who holds which socket. Returns how many rows are left that a process may hold and none was found to.
    pub fn hold(&mut self, scan: Scan) -> u64 {
        self.holders.take_in(scan, &mut self.table)
    }
}
