//! The buckets in which durations are counted, 1 part in 128 wide: those of an HdrHistogram of two digits, so nothing
//! is lost on the way to one. One array access counts a duration.

use super::totals::{LONGEST, SIGNIFICANT_DIGITS, empty};
use crate::event::Nanos;
use hdrhistogram::Histogram;

/// An HdrHistogram of two digits splits each power of two in 128, and keeps whole numbers below 256.
const HALF: u64 = 128;
const _: () = assert!(SIGNIFICANT_DIGITS == 2, "the buckets are those of two digits");

/// How many there are: longer durations count as [`LONGEST`].
pub(super) const COUNT: u64 = bucket_of(LONGEST) + 1;

/// The bucket of a duration.
#[inline]
pub(super) const fn bucket_of(span: Nanos) -> u64 {
    let ns = if span.0 > LONGEST.0 { LONGEST.0 } else { span.0 };
    let shift = (64 - ns.leading_zeros()).saturating_sub(HALF.ilog2() + 1);
    shift as u64 * HALF + (ns >> shift)
}

/// The shortest duration of a bucket.
const fn lowest_of(bucket: u64) -> u64 {
    if bucket < 2 * HALF {
        return bucket;
    }
    let shift = bucket / HALF - 1;
    (bucket - shift * HALF) << shift
}

/// Durations that count as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) lowest: Nanos,
    pub(crate) highest: Nanos,
    pub(crate) count: u64,
}

impl Bucket {
    pub(super) const fn new(number: u64, count: u64) -> Self {
        Self {
            lowest: Nanos(lowest_of(number)),
            highest: Nanos(lowest_of(number + 1) - 1),
            count,
        }
    }
}

/// The same as an HdrHistogram.
pub(super) fn histogram(buckets: impl Iterator<Item = Bucket>) -> Histogram<u64> {
    let mut histogram = empty();
    for bucket in buckets {
        histogram.saturating_record_n(bucket.lowest.0, bucket.count);
    }
    histogram
}

/// A count for each bucket, 49 KiB.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Box<[u64]>);

impl Default for Buckets {
    fn default() -> Self {
        let count = usize::try_from(COUNT).expect("some thousands");
        Self(vec![0; count].into())
    }
}

impl Buckets {
    /// Counts one duration.
    #[inline]
    pub(super) fn record(&mut self, span: Nanos) {
        let count = usize::try_from(bucket_of(span))
            .ok()
            .and_then(|bucket| self.0.get_mut(bucket));
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// The buckets that were hit, from the shortest durations to the longest.
    pub(super) fn iter(&self) -> impl Iterator<Item = Bucket> {
        (0..)
            .zip(&self.0)
            .filter(|(_, count)| **count > 0)
            .map(|(number, count)| Bucket::new(number, *count))
    }

    /// Forgets the counts, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_hold_what_an_hdr_histogram_holds(
            spans in prop::collection::vec((0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift), 0..200),
        ) {
            let mut expected = empty();
            let mut buckets = Buckets::default();
            for span in &spans {
                expected.saturating_record((*span).min(LONGEST.0));
                buckets.record(Nanos(*span));
            }
            prop_assert_eq!(&histogram(buckets.iter()), &expected);
            buckets.clear();
            prop_assert_eq!(buckets.iter().count(), 0);
        }
    }
}
