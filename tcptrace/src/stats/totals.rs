//! One histogram for each measure and kind, over all connections: what every command keeps. Knows no key.

use super::{
    bins::Bins,
    buckets::{self, Buckets},
    measure::{self, Kind, Measure},
};
use crate::{connection::change::Change, event::Nanos};
use hdrhistogram::Histogram;

/// Two significant digits: values that differ by 1 part in 128 are distinguished. A third would cost 7 times
/// the memory and move no decision (`cargo bench -p tcptrace --bench histograms` prints both).
pub(crate) const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest duration that is distinguished, a year; longer ones count as this long. A doubling costs 1 KiB a histogram.
pub const LONGEST: Nanos = Nanos::from_secs(365 * 86_400);

/// An empty histogram of nanoseconds, of the precision and range of all.
#[must_use]
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST.0, SIGNIFICANT_DIGITS)
        .expect("the bounds and digits are constants that HdrHistogram takes")
}

/// The kinds that transitions contribute to; open ones are derived from the table.
const KINDS: [Kind; 3] = [Kind::Finished, Kind::LowerBound, Kind::LateEntry];

/// All durations that have ended. A histogram is made when its first value comes.
#[derive(Debug, Default)]
pub struct Totals {
    histograms: [[Option<Buckets>; KINDS.len()]; Measure::COUNT],
}

impl Totals {
    /// Takes in what a change has ended. `watched_from` is when the tracer began.
    #[inline(always)]
    pub(crate) fn count(&mut self, change: &Change, watched_from: Nanos) {
        measure::ended_by(change, watched_from, |measure, kind, span| {
            if let Some(at) = position(kind) {
                self.histograms[measure.index()][at]
                    .get_or_insert_default()
                    .record(span);
            }
        });
    }

    /// The histogram of this measure and kind, where anything was counted.
    pub(crate) fn get(&self, measure: Measure, kind: Kind) -> Option<Histogram<u64>> {
        let buckets = self.histograms[measure.index()][position(kind)?].as_ref()?;
        Some(buckets::histogram(buckets.iter()))
    }

    /// All of them in one sorted list.
    pub(crate) fn cells(&self) -> Bins {
        let mut cells = Bins::default();
        for (measure, histograms) in Measure::all().zip(&self.histograms) {
            for (kind, buckets) in KINDS.into_iter().zip(histograms) {
                if let Some(buckets) = buckets {
                    cells.record_buckets(measure, kind, buckets.iter());
                }
            }
        }
        cells
    }

    /// Forgets the values, as at the beginning of an interval, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        for histogram in self.histograms.iter_mut().flatten().flatten() {
            histogram.clear();
        }
    }
}

#[inline]
fn position(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|known| *known == kind)
}
