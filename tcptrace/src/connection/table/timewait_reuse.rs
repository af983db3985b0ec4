//! Reuse of four-tuples in TIME_WAIT, by `connect` or a peer's SYN: which timewait sockets may be reused, and by which
//! process.

use super::Table;
use crate::{
    connection::{recent::Recent, state::RESOLVE_WINDOW},
    event::{EndReason, Endpoints, Event, Nanos, Task},
};

/// The latest `connect` calls, to find which one reused a four-tuple in TIME_WAIT. The kernel kills the timewait
/// sock inside that very call.
pub(super) type RecentConnects = Recent<Connect, 64>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Connect {
    time: Nanos,
    pid: u32,
    netns: u32,
    endpoints: Endpoints,
}

impl Table {
    /// Notes a call of `connect`.
    pub(super) fn note_connect(&mut self, event: &Event, task: &Task) {
        self.connects.push(Connect {
            time: event.time,
            pid: task.process.pid,
            netns: event.netns,
            endpoints: event.endpoints,
        });
    }

    /// The row's timer was cancelled: a SYN may be about to take it over.
    pub(super) fn note_cancelled(&mut self, slot: u32) {
        let row = &mut self.rows[slot];
        if row.is_cancelled {
            return;
        }
        row.is_cancelled = true;
        let row = &self.rows[slot];
        let key = self.hasher.key(row.netns, &row.endpoints);
        self.cancelled.insert(&key, slot, &self.rows, &self.hasher);
    }

    /// The row is no longer one that a SYN may take over.
    pub(super) fn forget_cancelled(&mut self, slot: u32) {
        let row = &mut self.rows[slot];
        if row.is_cancelled {
            row.is_cancelled = false;
            self.cancelled
                .remove(&self.hasher.key(row.netns, &row.endpoints), slot);
        }
    }

    /// Why a timewait sock, in its state since `began`, ends where its timer did not run out. `connect` takes the four-tuple over in the caller's own
    /// context, or sends the SYN that does on the same host; the namespace's going is a kernel worker's. What is left
    /// is `ss -K`, unless a segment may have done it, which the running task has nothing to do with: a SYN that a
    /// listener answers with a cookie, or drops, is reported by no hook.
    pub(super) fn taken_over_by(
        &self,
        event: &Event,
        began: Nanos,
        may_be_segment: bool,
    ) -> Option<EndReason> {
        let task = event.task.as_ref()?;
        let connects = self
            .connects
            .iter()
            // The one that opened the connection may be as recent.
            .take_while(|connect| connect.time >= began && event.time.since(connect.time) < RESOLVE_WINDOW)
            .any(|connect| {
                connect.pid == task.process.pid
                    && ((connect.netns == event.netns && connect.endpoints.has_remote_of(&event.endpoints))
                        || connect.endpoints.is_to(&event.endpoints))
            });
        if connects {
            return Some(EndReason::TimewaitReused);
        }
        let has_listener = self.listeners.has(event.netns, event.endpoints.local_port);
        if may_be_segment && (self.blindspots.segments || has_listener) {
            return None;
        }
        if task.is_kernel_thread {
            task.comm.starts_with(b"kworker/").then_some(EndReason::Purged)
        } else {
            Some(EndReason::Destroyed)
        }
    }
}
