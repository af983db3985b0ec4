//! Compares the table with what the kernel says it has. Corrects nothing.

use super::table::{Connection, Table};
use crate::{
    decode::Row,
    event::{Nanos, TcpState},
};
use hashbrown::HashSet;
use serde::Serialize;
use std::collections::BTreeMap;

/// How the two compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Sockets compared.
    pub compared: u64,
    /// Sockets that differ.
    pub differences: u64,
    /// The same by the kernel's state; CLOSE for those that it does not have.
    pub by_state: BTreeMap<TcpState, u64>,
}

impl Audit {
    fn count(&mut self, kernel: TcpState, agrees: bool) {
        self.compared += 1;
        if !agrees {
            self.differences += 1;
            *self.by_state.entry(kernel).or_default() += 1;
        }
    }
}

/// Compares `table` with the rows of a snapshot that was begun at `started` and covers the namespaces `covered`.
/// Sockets that changed since are left out: the two were not read at the same moment.
#[must_use]
pub fn audit(table: &Table, rows: &[Row], started: Nanos, covered: &HashSet<u32>) -> Audit {
    let mut audit = Audit::default();
    let mut found: HashSet<u32> = HashSet::with_capacity(rows.len());
    for row in rows {
        let slot = table.find_row(row);
        found.extend(slot);
        match slot.and_then(|slot| table.row(slot)) {
            None => audit.count(row.state, false),
            Some(known) if is_quiet(known, started) => {
                audit.count(row.state, known.life.state == row.state);
            }
            Some(_) => {}
        }
    }
    for (slot, known) in table.slots() {
        if is_quiet(known, started)
            && covered.contains(&known.netns)
            && known.is_tcp()
            && !found.contains(&slot)
        {
            audit.count(TcpState::Close, false);
        }
    }
    audit
}

/// Whether nothing happened to it since, and no end of it waits for its explanation.
fn is_quiet(known: &Connection, started: Nanos) -> bool {
    known.life.since.time() < started && known.life.held.is_none()
}
