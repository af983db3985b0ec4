//! The one engine: live, recorded and tested events go through here to the table and the statistics.

use crate::{
    connection::table::{Change, Table},
    decode::Holder,
    event::{Event, Nanos, Task},
    owner::policy::{Evidence, Owner},
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
        }
    }

    /// Applies an event; `emit` gets every change of state that it makes known.
    pub fn ingest(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let Self { table, stats } = self;
        stats.watched_from.get_or_insert(event.time);
        table.apply(event, &mut |change| {
            stats.count(change);
            emit(change);
        });
    }

    /// Ends what waited for an explanation until `now`.
    pub fn settle(&mut self, now: Nanos, emit: &mut impl FnMut(&Change)) {
        let Self { table, stats } = self;
        table.settle(now, &mut |change| {
            stats.count(change);
            emit(change);
        });
    }

    /// Merges a snapshot with the events that came while it was taken: whichever is newer wins.
    pub fn merge(&mut self, snapshot: &Snapshot, events: &[Event], emit: &mut impl FnMut(&Change)) -> Healed {
        let Self { table, stats } = self;
        let first = events
            .first()
            .map_or(snapshot.started, |event| event.time.min(snapshot.started));
        stats.watched_from.get_or_insert(first);
        let mut emit = |change: &Change| {
            stats.count(change);
            emit(change);
        };
        let mut healed = Healed::default();
        let mut rows = snapshot.rows.iter().peekable();
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
        healed.retired = table.retire_missing(snapshot.started, &snapshot.covered, &snapshot.rows, &mut emit);
        table.forget_children(snapshot.started, &snapshot.covered);
        table.forget_losses(snapshot.started);
        healed
    }

    /// Takes in who holds which socket.
    pub fn hold(&mut self, holders: &[Holder]) {
        for holder in holders {
            let Some(slot) = self.table.slot_of_cookie(holder.cookie) else {
                continue;
            };
            let task = Task {
                process: holder.process,
                comm: holder.comm,
                cgroup: 0,
                is_kernel_thread: false,
            };
            let process = self.table.processes.intern(&task);
            self.table.set_owner(
                slot,
                Some(Owner {
                    process,
                    evidence: Evidence::Holder,
                }),
            );
        }
    }
}
