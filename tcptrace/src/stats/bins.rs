//! Many histograms in one sorted list: only non-empty buckets are stored, 8 bytes each. The buckets are those of
//! an HdrHistogram of two digits, so nothing is lost on the way from or to one. Merging is adding, in any order.

use super::{
    buckets::{self, Bucket, bucket_of},
    measure::{Kind, Measure},
};
use crate::event::Nanos;
use hdrhistogram::Histogram;
use std::cmp::Ordering;

const COUNT_BITS: u32 = 44;
const BUCKET_BITS: u32 = 13;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const _: () = assert!(buckets::COUNT <= 1 << BUCKET_BITS, "every bucket has a number");
const _: () = assert!(
    (Measure::COUNT * Kind::COUNT) < 1 << (64 - COUNT_BITS - BUCKET_BITS),
    "every series has a number"
);

/// Number of buckets that are merged one by one.
const FEW: usize = 8;

/// The histograms of one key: a number each for series, bucket and count in a word, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins(Vec<u64>);

impl Bins {
    /// Counts one duration.
    pub fn record(&mut self, measure: Measure, kind: Kind, span: Nanos) {
        self.add(first_position(measure, kind) + (bucket_of(span) << COUNT_BITS), 1);
    }

    /// Counts what a histogram of nanoseconds holds, whatever its own precision.
    pub(crate) fn record_all(&mut self, measure: Measure, kind: Kind, histogram: &Histogram<u64>) {
        let mut cells = Self::default();
        for step in histogram.iter_recorded() {
            let bucket = bucket_of(Nanos(step.value_iterated_to()));
            let position = first_position(measure, kind) + (bucket << COUNT_BITS);
            cells.add(position, step.count_since_last_iteration());
        }
        self.merge(&cells);
    }

    /// Counts what was counted in buckets.
    pub(crate) fn record_buckets(
        &mut self,
        measure: Measure,
        kind: Kind,
        buckets: impl Iterator<Item = Bucket>,
    ) {
        for bucket in buckets {
            let position = first_position(measure, kind) + (bucket_of(bucket.lowest) << COUNT_BITS);
            self.add(position, bucket.count);
        }
    }

    /// Takes in another key's.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.0.len() <= FEW {
            for cell in &other.0 {
                self.add(cell & !COUNT_MASK, cell & COUNT_MASK);
            }
            return;
        }
        // Each that is put in between would move all that follow.
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            let cell = match (*our & !COUNT_MASK).cmp(&(*their & !COUNT_MASK)) {
                Ordering::Less => ours.next(),
                Ordering::Greater => theirs.next(),
                Ordering::Equal => {
                    let sum = (*our & COUNT_MASK) + (*their & COUNT_MASK);
                    merged.push(*our & !COUNT_MASK | sum.min(COUNT_MASK));
                    ours.next();
                    theirs.next();
                    continue;
                }
            };
            merged.extend(cell);
        }
        merged.extend(ours);
        merged.extend(theirs);
        self.0 = merged;
    }

    /// How many buckets were hit.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// How many durations of this measure and kind were counted.
    pub(crate) fn count(&self, measure: Measure, kind: Kind) -> u64 {
        self.series(measure, kind)
            .iter()
            .map(|cell| cell & COUNT_MASK)
            .sum()
    }

    /// The same as an HdrHistogram.
    pub(crate) fn histogram(&self, measure: Measure, kind: Kind) -> Histogram<u64> {
        buckets::histogram(self.buckets(measure, kind))
    }

    /// The buckets that were hit, from the shortest durations to the longest.
    pub(crate) fn buckets(&self, measure: Measure, kind: Kind) -> impl Iterator<Item = Bucket> {
        let first = first_position(measure, kind);
        self.series(measure, kind).iter().map(move |cell| {
            let bucket = ((cell & !COUNT_MASK) - first) >> COUNT_BITS;
            Bucket::new(bucket, cell & COUNT_MASK)
        })
    }

    /// The highest duration of the bucket that has the median of these measures' finished ones; `None` if there are none.
    pub(crate) fn median(&self, measures: &[Measure]) -> Option<Nanos> {
        let mut buckets: Vec<Bucket> = measures
            .iter()
            .flat_map(|measure| self.buckets(*measure, Kind::Finished))
            .collect();
        buckets.sort_unstable_by_key(|bucket| bucket.highest);
        let half = buckets.iter().map(|bucket| bucket.count).sum::<u64>().div_ceil(2);
        let mut below = 0;
        let of_half = buckets.iter().find(|bucket| {
            below += bucket.count;
            below >= half
        });
        of_half.map(|bucket| bucket.highest)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes that are set aside for buckets.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    fn series(&self, measure: Measure, kind: Kind) -> &[u64] {
        let first = first_position(measure, kind);
        let after = first + (1 << (COUNT_BITS + BUCKET_BITS));
        let from = self.0.partition_point(|cell| *cell < first);
        let to = self.0.partition_point(|cell| *cell < after);
        &self.0[from..to]
    }

    fn add(&mut self, position: u64, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.binary_search_by_key(&position, |cell| cell & !COUNT_MASK) {
            Ok(at) => {
                let sum = (self.0[at] & COUNT_MASK).saturating_add(count).min(COUNT_MASK);
                self.0[at] = position | sum;
            }
            Err(at) => self.0.insert(at, position | count.min(COUNT_MASK)),
        }
    }
}

/// The place of a series' bucket 0, with a count of 0.
fn first_position(measure: Measure, kind: Kind) -> u64 {
    let series = (measure.index() * Kind::COUNT + kind as usize) as u64;
    series << (COUNT_BITS + BUCKET_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::TcpState,
        stats::totals::{LONGEST, empty},
    };
    use proptest::prelude::*;

    const DWELL: Measure = Measure::Dwell(TcpState::CloseWait);

    fn of(spans: &[u64]) -> Bins {
        let mut cells = Bins::default();
        for span in spans {
            cells.record(DWELL, Kind::Finished, Nanos(*span));
        }
        cells
    }

    #[test]
    fn series_do_not_mix() {
        let mut cells = Bins::default();
        for (number, measure) in Measure::all().enumerate() {
            for kind in Kind::ALL {
                for _ in 0..=number {
                    cells.record(measure, kind, Nanos(u64::MAX));
                }
            }
        }
        for (number, measure) in Measure::all().enumerate() {
            for kind in Kind::ALL {
                assert_eq!(cells.count(measure, kind), number as u64 + 1);
            }
        }
    }

    #[test]
    fn the_median_is_that_of_all_measures_together() {
        let mut cells = of(&[1, 5, 9]);
        assert_eq!(cells.median(&[DWELL]), Some(Nanos(5)));
        cells.record(Measure::Lifetime, Kind::Finished, Nanos(100));
        cells.record(Measure::Lifetime, Kind::Finished, Nanos(101));
        cells.record(Measure::Lifetime, Kind::Open, Nanos(102));
        assert_eq!(cells.median(&[DWELL, Measure::Lifetime]), Some(Nanos(9)));
        assert_eq!(cells.median(&[Measure::Dwell(TcpState::Listen)]), None);
    }

    /// Durations of every magnitude.
    fn span() -> impl Strategy<Value = u64> {
        (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
    }

    proptest! {
        #[test]
        fn it_holds_what_an_hdr_histogram_holds(spans in prop::collection::vec(span(), 0..200)) {
            let mut expected = empty();
            for span in &spans {
                expected.saturating_record((*span).min(LONGEST.0));
            }
            let cells = of(&spans);
            prop_assert_eq!(&cells.histogram(DWELL, Kind::Finished), &expected);
            let mut back = Bins::default();
            back.record_all(DWELL, Kind::Finished, &expected);
            prop_assert_eq!(back, cells);
        }

        #[test]
        fn merging_in_any_order_gives_the_same(
            parts in prop::collection::vec(prop::collection::vec(span(), 0..30), 1..6),
            seed in any::<prop::sample::Index>(),
        ) {
            let all = of(&parts.concat());
            let mut turned = parts.clone();
            turned.rotate_left(seed.index(parts.len()));
            for order in [&parts, &turned] {
                let mut merged = Bins::default();
                for part in order {
                    merged.merge(&of(part));
                }
                prop_assert_eq!(&merged, &all);
            }
            // Pairs first: (a + b) + (c + d).
            let mut merged = Bins::default();
            for pair in parts.chunks(2) {
                let mut sum = Bins::default();
                for part in pair {
                    sum.merge(&of(part));
                }
                merged.merge(&sum);
            }
            prop_assert_eq!(&merged, &all);
        }
    }
}
