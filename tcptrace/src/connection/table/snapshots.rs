//! Applies snapshots to the table: a row counts unless an event is newer, and a connection that is missing from a
//! snapshot has ended.

use super::Table;
use crate::{
    connection::{
        kernel_age,
        lifetime::Role,
        losses::Losses,
        row::{Connection, TCP},
        since::Since,
        state::{ConnectionState, PendingEnd},
    },
    event::{Age, Nanos, TcpState},
    socket::{Row, SockKind},
};
use hashbrown::HashSet;

/// `connect` chooses a port and puts the socket into the tables within this time, even if other threads take its processor.
const CONNECTING: Nanos = Nanos::from_secs(1);

impl Table {
    /// Applies one row of a snapshot, unless an event is newer.
    pub(crate) fn observe(&mut self, row: &Row) {
        let slot = self.find_row(row);
        let Some(slot) = slot else {
            let since = self.since_of(row);
            let slot = self.make(
                row.sock,
                row.endpoints,
                row.netns,
                TCP,
                ConnectionState::new(row.state, since),
            );
            let connection = &mut self.rows[slot];
            connection.state.is_timewait = row.kind == SockKind::Timewait;
            connection.state.is_orphan = is_given_up(row);
            connection.is_kernel_socket = row.is_kernel_socket;
            connection.listener = row.listener;
            connection.began = Since::before(row.time.min(since.time()));
            if row.kind == SockKind::Request {
                let key = self.hasher.key(row.netns, &row.endpoints);
                self.index_request(slot, &key);
            }
            if row.state == TcpState::Listen {
                self.listeners.insert(slot, &self.rows[slot]);
            }
            self.fix_role(slot);
            if (row.state, row.kind) == (TcpState::SynRecv, SockKind::Full) && since.is_exact() {
                let made = since.time();
                // Fast Open's child, which was seen to begin without its name.
                self.handshakes
                    .children
                    .retain(|_, child| child.made != made || child.netns != row.netns);
                self.rows[slot].began = since;
                self.rows[slot].role = Some(Role::Server);
                let owner = self.child_owner(row.netns, &row.endpoints, 0, made);
                self.set_owner(slot, owner);
                let change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
                self.report(slot, &change);
            } else {
                self.tally.shown += 1;
            }
            return;
        };
        let since = self.since_of(row);
        if row.state == TcpState::Listen && row.endpoints != self.rows[slot].endpoints {
            // `listen` without `bind` chooses the port after the state is set.
            self.listeners.remove(slot, &self.rows[slot]);
            self.rows[slot].endpoints = row.endpoints;
            self.listeners.insert(slot, &self.rows[slot]);
        }
        let connection = &mut self.rows[slot];
        if !row.endpoints.is_unbound() && !connection.is_request && !connection.is_cancelled {
            connection.endpoints = row.endpoints;
        }
        if row.kind == SockKind::Timewait {
            connection.state.is_timewait = true;
            // Where a timewait sock stands for it, the full socket's CLOSE was no end; which hook told of the one may
            // have been attached before that which tells of the other.
            if let Some(PendingEnd::Close { .. }) = connection.state.pending {
                connection.state.pending = None;
            }
        }
        let is_newer = row.time > connection.state.since.time() && connection.state.pending.is_none();
        if connection.state.tcp == row.state || !is_newer {
            return;
        }
        let old = connection.state.tcp;
        let since = since.max(connection.began);
        let connection = &self.rows[slot];
        let (at, dwell) = match kernel_age::entered(row) {
            // Nothing lies between the two, and the kernel keeps when the second began, or was begun anew.
            Some(entered) if old == TcpState::FinWait2 => {
                let since = self.losses.as_seen(connection.state.since);
                let at = entered.time().max(since.time());
                let dwell = if entered.is_exact() {
                    since.age(at)
                } else {
                    Age::AtLeast(self.polled_before.since(since.time()))
                };
                (at, dwell)
            }
            // When it left the old state was not seen: it may have been at once.
            Some(_) | None => (row.time, Age::AtLeast(Nanos(0))),
        };
        let connection = &mut self.rows[slot];
        connection.state = ConnectionState::new(row.state, since);
        connection.state.is_timewait = row.kind == SockKind::Timewait;
        let change = self.change(slot, at, old, row.state, Some(dwell));
        self.report(slot, &change);
    }

    /// The rows of the namespaces `covered` that a snapshot, begun at `started`, did not show and should have.
    pub(crate) fn missing(&self, started: Nanos, covered: &HashSet<u32>, shown: &[Row]) -> Vec<u32> {
        let found: HashSet<u32> = shown.iter().filter_map(|row| self.find_row(row)).collect();
        self.slots()
            .filter(|(slot, row)| {
                row.is_tcp()
                    && covered.contains(&row.netns)
                    && row.state.since.time() < started
                    && row.state.pending.is_none()
                    && (!is_connecting(row, started) || self.has_losses())
                    && !found.contains(slot)
            })
            .map(|(slot, _)| slot)
            .collect()
    }

    /// Ends what the kernel no longer has.
    pub(crate) fn retire_missing(&mut self, started: Nanos, covered: &HashSet<u32>, shown: &[Row]) {
        for slot in self.missing(started, covered, shown) {
            self.end_unseen(slot, started);
        }
    }

    /// Notes that events from before `until` were lost: no row is sure to have been in its state all the time since
    /// it was seen to enter it.
    pub(crate) fn note_loss(&mut self, until: Nanos) {
        self.losses.note(until);
        self.mark_uncertain(until);
    }

    fn mark_uncertain(&mut self, until: Nanos) {
        for row in self.rows.iter_mut() {
            row.state.since = row.state.since.unless_lost(until);
            row.began = row.began.unless_lost(until);
        }
    }

    /// Notes that a snapshot begun at `started` has made up for what was lost before.
    pub(crate) fn forget_losses(&mut self, started: Nanos) {
        if let Some(until) = self.losses.take_before(started) {
            self.mark_uncertain(until);
        }
    }

    /// Notes which namespaces a snapshot has read.
    pub(crate) fn note_covered(&mut self, covered: &HashSet<u32>) {
        self.covered = Some(covered.clone());
    }

    /// Begins with a part of a run, before whose first event the kernel had counted so many losses.
    pub(crate) const fn begin_after(&mut self, event_lost: u32) {
        self.losses = Losses::after(event_lost);
    }

    /// What the latest event has as its count of losses.
    pub(crate) const fn lost_by_latest_event(&self) -> u32 {
        self.losses.counter()
    }

    /// Whether events were lost that no snapshot has made up for.
    pub(crate) const fn has_losses(&self) -> bool {
        self.losses.until().is_some()
    }

    fn since_of(&self, row: &Row) -> Since {
        if let Some(since) = kernel_age::entered(row) {
            return since;
        }
        (row.state == TcpState::SynRecv && row.kind == SockKind::Full)
            .then(|| self.handshakes.child_since(row))
            .flatten()
            .unwrap_or(Since::before(row.time))
    }

    pub(in crate::connection) fn find_row(&self, row: &Row) -> Option<u32> {
        if row.kind == SockKind::Request {
            return self
                .requests
                .get(&self.hasher.key(row.netns, &row.endpoints), &self.rows);
        }
        self.rows.slot_of(row.sock)
    }
}

/// Whether `connect` may still be choosing a port: it enters SYN_SENT before that, and only then is the socket in the kernel's
/// tables. Where nothing was lost, its end will be reported.
fn is_connecting(row: &Connection, now: Nanos) -> bool {
    row.state.tcp == TcpState::SynSent
        && row.endpoints.local_port == 0
        && now.since(row.state.since.time()) < CONNECTING
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
