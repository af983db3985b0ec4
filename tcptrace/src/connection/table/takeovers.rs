//! Four-tuples in TIME_WAIT that are used anew, by a `connect` or by a peer's SYN: which timewait socks may be taken over,
//! and who did it.

use super::Table;
use crate::{
    connection::machine::HOLD,
    event::{EndReason, Ends, Event, Nanos, Task},
};

/// The latest `connect` calls, to tell who took over a four-tuple in TIME_WAIT. The kernel kills the timewait
/// sock inside that very call.
pub(super) const RECENT_CONNECTS: usize = 64;

/// A call of `connect`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connect {
    time: Nanos,
    pid: u32,
    netns: u32,
    ends: Ends,
}

impl Table {
    /// Notes a call of `connect`.
    pub(super) fn note_connect(&mut self, event: &Event, task: &Task) {
        if self.connects.len() == RECENT_CONNECTS {
            self.connects.pop_front();
        }
        self.connects.push_back(Connect {
            time: event.time,
            pid: task.process.pid,
            netns: event.netns,
            ends: event.ends,
        });
    }

    /// The row's timer was cancelled: a SYN may be about to take it over.
    pub(super) fn note_cancelled(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        if row.is_cancelled {
            return;
        }
        row.is_cancelled = true;
        let row = &self.rows[slot as usize];
        let place = self.places.of(row.netns, &row.ends);
        self.cancelled.insert(&place, slot, &self.rows, &self.places);
    }

    /// The row is no longer one that a SYN may take over.
    pub(super) fn forget_cancelled(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        if row.is_cancelled {
            row.is_cancelled = false;
            self.cancelled.remove(&self.places.of(row.netns, &row.ends), slot);
        }
    }

    /// Why a timewait sock ends where no segment and no expiry ends it: `connect` takes the four-tuple over in
    /// the caller's own context, the namespace's going is a kernel worker's. Where segments are not seen, a task of the
    /// softirq's may stand there for one of them.
    pub(super) fn taken_over_by(&self, event: &Event) -> Option<EndReason> {
        let Some(task) = &event.task else {
            return Some(EndReason::Purged);
        };
        let connecting = self
            .connects
            .iter()
            .rev()
            .take_while(|connect| event.time.since(connect.time) < HOLD)
            .any(|connect| {
                (connect.pid, connect.netns) == (task.process.pid, event.netns)
                    && connect.ends.has_remote_of(&event.ends)
            });
        let is_softirq = !task.is_kernel_thread || task.comm.starts_with(b"ksoftirqd/");
        match (connecting, self.hidden.segments && is_softirq) {
            (true, _) => Some(EndReason::TimewaitReused),
            (false, true) => None,
            (false, false) if task.is_kernel_thread => Some(EndReason::Purged),
            (false, false) => Some(EndReason::TimewaitReused),
        }
    }
}
