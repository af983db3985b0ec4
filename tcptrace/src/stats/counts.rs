//! Changes of state by pair and by process, and the durations of all of them together. Knows no filter and no key.

use super::{measure::Kind, totals::Totals};
use crate::{
    connection::table::Change,
    event::{Nanos, TcpState},
    owner::processes::ProcessId,
    stats::measure::Measure,
};
use hashbrown::HashMap;
use hdrhistogram::Histogram;

/// Counts since the start and since the last frame.
#[derive(Debug, Default)]
pub struct Stats {
    /// Changes by old and new state.
    pub matrix: [[u64; TcpState::COUNT]; TcpState::COUNT],
    /// Changes since [`Stats::begin_frame`].
    pub in_frame: u64,
    /// The same by owner.
    pub in_frame_by_process: HashMap<Option<ProcessId>, u64>,
    /// How long states and connections lasted.
    pub totals: Totals,
    /// The time of the first event or snapshot: what is older was not seen to begin.
    pub watched_from: Option<Nanos>,
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
        self.totals.count(change, self.watched_from.unwrap_or_default());
    }

    /// The finished, exact dwells in each state that had any, nanoseconds. Lower bounds are none.
    pub fn dwells(&self) -> impl Iterator<Item = (TcpState, &Histogram<u64>)> {
        TcpState::ALL.into_iter().filter_map(|state| {
            let histogram = self.totals.get(Measure::Dwell(state), Kind::Finished)?;
            Some((state, histogram))
        })
    }

    /// Starts the counts of the next frame.
    pub fn begin_frame(&mut self) {
        self.in_frame = 0;
        self.in_frame_by_process.clear();
    }
}
