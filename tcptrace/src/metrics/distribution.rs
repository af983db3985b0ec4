//! A histogram of durations: the buckets that were hit, as HdrHistogram has them, and two coarser forms for outputs: the
//! bounds of classic histograms, and the exponential buckets of native ones.

use crate::{event::Nanos, stats::buckets::Bucket};

/// Upper bounds of classic buckets. 66 s has all TIME_WAITs that expired: they last 60 s, and up to one step
/// more of the level of the timer wheel (kernel/time/timer.c, since 4.8): 512 ticks at 100 to 300 a second (5.12 s at 100),
/// 4,096 at 1,000 (4.1 s).
pub(crate) const BOUNDS: [Nanos; 16] = [
    Nanos(100_000),
    Nanos::from_millis(1),
    Nanos::from_millis(10),
    Nanos::from_millis(50),
    Nanos::from_millis(100),
    Nanos::from_millis(500),
    Nanos::from_secs(1),
    Nanos::from_secs(3),
    Nanos::from_secs(10),
    Nanos::from_secs(30),
    Nanos::from_secs(66),
    Nanos::from_secs(150),
    Nanos::from_secs(600),
    Nanos::from_secs(3_600),
    Nanos::from_secs(6 * 3_600),
    Nanos::from_secs(86_400),
];

/// Series of one histogram in the text formats: a bucket for each bound and for all, the sum and the count.
pub(crate) const SERIES: usize = BOUNDS.len() + 3;

/// Resolution of native histograms: eight buckets for each doubling, a factor of 1.09. The buckets that they are made from
/// are ten times as narrow.
pub(crate) const SCHEMA: i32 = 3;

/// Durations up to this one, in seconds, are in the zero bucket: the resolution of the clock.
pub(crate) const ZERO_THRESHOLD: f64 = 1e-9;

/// The durations of a distribution by bucket, the shortest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution {
    buckets: Vec<Bucket>,
}

/// The buckets of a native histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Native {
    /// Durations of the zero bucket.
    pub(crate) zero: u64,
    /// Index and count of each bucket that was hit, in order. Bucket `i` ends at 2^(i / 2^[`SCHEMA`]) seconds.
    pub(crate) buckets: Vec<(i32, u64)>,
}

impl Distribution {
    /// From buckets in ascending order.
    pub(crate) fn of(buckets: impl Iterator<Item = Bucket>) -> Self {
        Self {
            buckets: buckets.filter(|bucket| bucket.count > 0).collect(),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The sum of all durations in seconds, each taken for the middle of its bucket: exact to one part in 256.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum is exact to one part in 256 at best"
    )]
    pub(crate) fn sum(&self) -> f64 {
        let of = |bucket: &Bucket| middle(bucket) * bucket.count as f64;
        // The sum of none is -0.0.
        self.buckets.iter().map(of).sum::<f64>() + 0.0
    }

    /// How many durations are not longer than each of [`BOUNDS`]. A bucket that a bound divides counts as longer.
    pub(crate) fn cumulative(&self) -> [u64; BOUNDS.len()] {
        BOUNDS.map(|bound| {
            let within = self.buckets.iter().take_while(|bucket| bucket.highest <= bound);
            within.map(|bucket| bucket.count).sum()
        })
    }

    /// As exponential buckets.
    pub(crate) fn native(&self) -> Native {
        let mut native = Native::default();
        for bucket in &self.buckets {
            let span = middle(bucket);
            if span <= ZERO_THRESHOLD {
                native.zero += bucket.count;
                continue;
            }
            let index = index_of(span);
            match native.buckets.last_mut() {
                Some((last, count)) if *last == index => *count += bucket.count,
                _ => native.buckets.push((index, bucket.count)),
            }
        }
        native
    }
}

/// The middle of a bucket, in seconds.
fn middle(bucket: &Bucket) -> f64 {
    f64::midpoint(super::seconds(bucket.lowest), super::seconds(bucket.highest))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "durations from 1 ns to a hundred years are within 2^-30 and 2^32 seconds"
)]
fn index_of(span: f64) -> i32 {
    (span.log2() * f64::from(1 << SCHEMA)).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::TcpState,
        stats::{
            bins::Bins,
            measure::{Kind, Measure},
        },
    };
    use proptest::prelude::*;

    fn of(spans: &[u64]) -> Distribution {
        let measure = Measure::Dwell(TcpState::Established);
        let mut bins = Bins::default();
        for span in spans {
            bins.record(measure, Kind::Finished, Nanos(*span));
        }
        Distribution::of(bins.buckets(measure, Kind::Finished))
    }

    #[test]
    fn buckets_end_at_powers_of_two() {
        assert_eq!(index_of(1.0), 0);
        assert_eq!(index_of(1.000_001), 1);
        assert_eq!(index_of(2.0), 1 << SCHEMA);
        assert_eq!(index_of(0.5), -(1 << SCHEMA));
    }

    #[test]
    fn an_empty_one_has_nothing() {
        let empty = of(&[]);
        assert_eq!((empty.count(), empty.sum()), (0, 0.0));
        assert_eq!(empty.native(), Native::default());
    }

    #[test]
    fn what_takes_no_time_is_in_the_zero_bucket() {
        let native = of(&[0, 0, 1, 1_000_000_000]).native();
        assert_eq!(native.zero, 3);
        assert_eq!(native.buckets.len(), 1);
    }

    proptest! {
        #[test]
        fn every_form_has_all_durations(spans in prop::collection::vec(0..100_000_000_000_000_u64, 0..200)) {
            let distribution = of(&spans);
            let count = spans.len() as u64;
            prop_assert_eq!(distribution.count(), count);
            let native = distribution.native();
            prop_assert_eq!(native.zero + native.buckets.iter().map(|(_, count)| count).sum::<u64>(), count);
            prop_assert!(native.buckets.is_sorted_by(|a, b| a.0 < b.0));
            let cumulative = distribution.cumulative();
            prop_assert!(cumulative.is_sorted());
            for (bound, within) in BOUNDS.iter().zip(cumulative) {
                let certain = |share: u64| spans.iter().filter(|span| **span <= bound.0 / 128 * share).count() as u64;
                prop_assert!(certain(126) <= within && within <= certain(129), "{bound:?}");
            }
            let exact: f64 = spans.iter().map(|span| super::super::seconds(Nanos(*span))).sum();
            prop_assert!((distribution.sum() - exact).abs() <= exact / 128.0 + 1e-6);
        }
    }
}
