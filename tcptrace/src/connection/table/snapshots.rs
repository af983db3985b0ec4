//! Snapshots and the table: a row counts where no event has told something newer, and what a snapshot should have
//! shown and did not is over.

use super::{Change, TCP, Table, key_of};
use crate::{
    connection::{kept_age, machine::Life, since::Since},
    decode::{Row, SockKind},
    event::{Age, EndReason, Nanos, TcpState},
};
use hashbrown::HashSet;

impl Table {
    /// Takes in one row of a snapshot, unless an event has told something newer.
    pub fn observe(&mut self, row: &Row, emit: &mut impl FnMut(&Change)) -> bool {
        let slot = self.find_row(row);
        let Some(slot) = slot else {
            let since = self.since_of(row);
            let slot = self.make(row.sock, row.ends, row.netns, TCP, Life::new(row.state, since));
            let connection = &mut self.rows[slot as usize];
            connection.life.is_timewait = row.kind == SockKind::Timewait;
            connection.life.is_orphan = is_given_up(row);
            connection.is_kernel_socket = row.is_kernel_socket;
            connection.listener = row.listener;
            connection.began = Since::before(row.time);
            if row.kind == SockKind::Request {
                let place = self.places.of(row.netns, &row.ends);
                self.index_by_ends(slot, &place);
            }
            if row.state == TcpState::Listen {
                self.index_listener(slot);
            }
            if (row.state, row.kind) == (TcpState::SynRecv, SockKind::Full) && since.is_exact() {
                let made = since.time();
                // Fast Open's child, which was seen to begin without its name.
                self.children
                    .retain(|_, child| child.made != made || child.netns != row.netns);
                self.rows[slot as usize].began = since;
                let owner = self.listener_owner(row.netns, &row.ends, 0, made);
                self.set_owner(slot, owner);
                let change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
                self.report(slot, &change, emit);
            }
            return true;
        };
        let since = self.since_of(row);
        if row.state == TcpState::Listen && row.ends != self.rows[slot as usize].ends {
            // `listen` without `bind` chooses the port after the state is set.
            self.unindex_listener(slot);
            self.rows[slot as usize].ends = row.ends;
            self.index_listener(slot);
        }
        let connection = &mut self.rows[slot as usize];
        if !row.ends.is_unbound() && !connection.by_ends && !connection.is_cancelled {
            connection.ends = row.ends;
        }
        connection.life.is_timewait |= row.kind == SockKind::Timewait;
        let is_newer = row.time > connection.life.since.time() && connection.life.held.is_none();
        if connection.life.state == row.state || !is_newer {
            return false;
        }
        let old = connection.life.state;
        let (at, dwell) = match kept_age::entered(row) {
            // Nothing lies between the two, and the kernel keeps when the second began, or was begun anew.
            Some(entered) if old == TcpState::FinWait2 => {
                let since = connection.life.since;
                let at = entered.time().max(since.time());
                let dwell = if entered.is_exact() {
                    since.age(at)
                } else {
                    Age::AtLeast(self.looked_before.since(since.time()))
                };
                (at, dwell)
            }
            // When it left the old state was not seen: it may have been at once.
            Some(_) | None => (row.time, Age::AtLeast(Nanos(0))),
        };
        connection.life = Life::new(row.state, since);
        connection.life.is_timewait = row.kind == SockKind::Timewait;
        let change = self.change(slot, at, old, row.state, Some(dwell));
        self.report(slot, &change, emit);
        true
    }

    /// Ends what the kernel no longer has: rows of the namespaces `covered` that a snapshot, begun at `started`,
    /// did not show. Returns how many.
    pub fn retire_missing(
        &mut self,
        started: Nanos,
        covered: &HashSet<u32>,
        shown: &[Row],
        emit: &mut impl FnMut(&Change),
    ) -> u64 {
        let found: HashSet<u32> = shown.iter().filter_map(|row| self.find_row(row)).collect();
        let missing: Vec<u32> = self
            .slots()
            .filter(|(slot, row)| {
                row.is_tcp()
                    && covered.contains(&row.netns)
                    && row.life.since.time() < started
                    && row.life.held.is_none()
                    && !found.contains(slot)
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in &missing {
            let row = self.rows[*slot as usize];
            let dwell = Age::AtLeast(Nanos(0));
            let mut change = self.change(*slot, started, row.life.state, TcpState::Close, Some(dwell));
            change.reason = Some(EndReason::Unseen);
            self.tally.unseen += 1;
            self.report(*slot, &change, emit);
            self.remove(*slot);
        }
        missing.len() as u64
    }

    /// Notes that a snapshot begun at `started` has made up for what was lost before.
    pub fn forget_losses(&mut self, started: Nanos) {
        self.lost_until = self.lost_until.filter(|until| *until >= started);
    }

    fn since_of(&self, row: &Row) -> Since {
        if let Some(since) = kept_age::entered(row) {
            return since;
        }
        (row.state == TcpState::SynRecv && row.kind == SockKind::Full)
            .then(|| self.child_since(row))
            .flatten()
            .unwrap_or(Since::before(row.time))
    }

    pub(in crate::connection) fn find_row(&self, row: &Row) -> Option<u32> {
        if row.kind == SockKind::Request {
            return self.ends.get(&self.places.of(row.netns, &row.ends), &self.rows);
        }
        self.keys.get(key_of(row.sock), &self.rows)
    }
}

/// Whether a full socket has lost its process, and does not wait for one to accept it: a socket in the accept queue
/// has none either.
fn is_given_up(row: &Row) -> bool {
    row.is_orphan
        && row.kind == SockKind::Full
        && !matches!(
            row.state,
            TcpState::Established | TcpState::CloseWait | TcpState::SynRecv
        )
}
