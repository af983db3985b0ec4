//! What was counted: changes of state by pair and by process, and how long the states that ended lasted.

use crate::{
    connection::table::Change,
    event::{Age, Nanos, TcpState},
    owner::processes::ProcessId,
};
use hashbrown::HashMap;
use hdrhistogram::Histogram;

/// Dwells are kept to two significant digits, as HdrHistogram counts them: 43 KiB for each state that occurs.
const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest dwell told apart, a week; longer ones count as this long.
const LONGEST: Nanos = Nanos::from_secs(7 * 86_400);

/// Counts since the start and since the last frame.
#[derive(Debug, Default)]
pub struct Stats {
    /// Changes by old and new state.
    pub matrix: [[u64; TcpState::COUNT]; TcpState::COUNT],
    /// Changes since [`Stats::begin_frame`].
    pub in_frame: u64,
    /// The same by owner.
    pub in_frame_by_process: HashMap<Option<ProcessId>, u64>,
    dwells: [Option<Box<Histogram<u64>>>; TcpState::COUNT],
}

impl Stats {
    /// Counts one change. Lower bounds are no dwells, and are left out of the histograms.
    pub fn count(&mut self, change: &Change) {
        self.matrix[change.old.index()][change.new.index()] += 1;
        self.in_frame += 1;
        *self
            .in_frame_by_process
            .entry(change.owner.map(|owner| owner.process))
            .or_default() += 1;
        if let Some(Age::Exact(dwell)) = change.dwell {
            let histogram = self.dwells[change.old.index()].get_or_insert_with(|| {
                let empty = Histogram::new_with_bounds(1, LONGEST.0, SIGNIFICANT_DIGITS)
                    .expect("the bounds and digits are constants that HdrHistogram takes");
                Box::new(empty)
            });
            histogram.saturating_record(dwell.0);
        }
    }

    /// The finished, exact dwells in each state that had any, nanoseconds.
    pub fn dwells(&self) -> impl Iterator<Item = (TcpState, &Histogram<u64>)> {
        TcpState::ALL
            .into_iter()
            .zip(&self.dwells)
            .filter_map(|(state, histogram)| Some((state, histogram.as_deref()?)))
    }

    /// Starts the counts of the next frame.
    pub fn begin_frame(&mut self) {
        self.in_frame = 0;
        self.in_frame_by_process.clear();
    }
}
