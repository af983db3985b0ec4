//! What was counted: changes of state by pair and by process, and the time they took.

use crate::{connection::table::Change, event::TcpState, owner::processes::ProcessId};
use hashbrown::HashMap;

/// Counts since the start and since the last frame.
#[derive(Debug, Default)]
pub struct Stats {
    /// Changes by old and new state.
    pub matrix: [[u64; TcpState::COUNT]; TcpState::COUNT],
    /// Changes since [`Stats::begin_frame`].
    pub in_frame: u64,
    /// The same by owner.
    pub in_frame_by_process: HashMap<Option<ProcessId>, u64>,
}

impl Stats {
    /// Counts one change.
    pub fn count(&mut self, change: &Change) {
        self.matrix[change.old.index()][change.new.index()] += 1;
        self.in_frame += 1;
        *self
            .in_frame_by_process
            .entry(change.owner.map(|owner| owner.process))
            .or_default() += 1;
    }

    /// Starts the counts of the next frame.
    pub fn begin_frame(&mut self) {
        self.in_frame = 0;
        self.in_frame_by_process.clear();
    }
}
