//! Sockets by state and transitions over time, in a bounded number of buckets: when they are all used, pairs are merged
//! and the buckets become twice as wide. Extremes survive the merge. Pure.

use crate::{
    event::{Nanos, TcpState},
    view::Counts,
};

/// Maximum number of buckets.
pub(crate) const MOST_BUCKETS: usize = 240;

/// The width of a bucket at first.
const NARROWEST: Nanos = Nanos::from_millis(125);

/// What the busiest second is counted in.
const SECOND: Nanos = Nanos::from_secs(1);

/// The buckets that all series of a run share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// When the first bucket begins.
    pub(crate) began: Nanos,
    /// How long each bucket is.
    pub(crate) width: Nanos,
}

impl Axis {
    pub(crate) const fn new(began: Nanos) -> Self {
        Self {
            began,
            width: NARROWEST,
        }
    }

    /// The bucket that a time is in; the first one for times before it. May be [`MOST_BUCKETS`] or beyond: then the buckets must
    /// be widened.
    pub(crate) fn bucket_of(&self, time: Nanos) -> usize {
        usize::try_from(time.since(self.began).0 / self.width.0).unwrap_or(usize::MAX)
    }

    /// The second that a time is in. Buckets that are not narrower have whole seconds.
    fn second_of(&self, time: Nanos) -> u64 {
        time.since(self.began).0 / SECOND.0
    }

    /// How often the buckets have to be doubled until `time` is in one.
    pub(crate) fn widenings(&self, time: Nanos) -> u32 {
        let mut times = 0;
        let mut after = self.bucket_of(time);
        while after >= MOST_BUCKETS {
            after /= 2;
            times += 1;
        }
        times
    }
}

/// One bucket of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The fewest sockets of each state.
    pub(crate) least: Counts,
    /// The most of each state.
    pub(crate) most: Counts,
    /// All states at the moment at which the sum was greatest.
    pub(crate) peak: Counts,
    /// Transitions.
    pub(crate) changes: u64,
    /// Transitions of its busiest second; of the whole bucket if that is shorter.
    pub(crate) busiest: u64,
}

impl Bucket {
    const fn of(counts: Counts) -> Self {
        Self {
            least: counts,
            most: counts,
            peak: counts,
            changes: 0,
            busiest: 0,
        }
    }

    fn extend(&mut self, counts: &Counts) {
        for (at, count) in counts.iter().enumerate() {
            self.least[at] = self.least[at].min(*count);
            self.most[at] = self.most[at].max(*count);
        }
        if total(counts) > total(&self.peak) {
            self.peak = *counts;
        }
    }

    /// This bucket and the next one as a bucket of `width`.
    fn joined(&self, next: &Self, width: Nanos) -> Self {
        let mut joined = *self;
        joined.extend(&next.least);
        joined.extend(&next.most);
        joined.peak = if total(&next.peak) > total(&self.peak) {
            next.peak
        } else {
            self.peak
        };
        joined.changes += next.changes;
        joined.busiest = if width <= SECOND {
            joined.changes
        } else {
            self.busiest.max(next.busiest)
        };
        joined
    }

    /// The sum of two series in one bucket. The extremes are bounds: both may have had theirs at different moments.
    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.least, &other.least),
            (&mut self.most, &other.most),
            (&mut self.peak, &other.peak),
        ];
        for (sum, more) in sums {
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum += more;
            }
        }
        self.changes += other.changes;
        self.busiest += other.busiest;
    }
}

/// One series: of all connections, or those of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Series {
    /// The sockets by state now.
    now: Counts,
    buckets: Vec<Bucket>,
    /// The second of the latest transition, and how many there were in it.
    second: (u64, u64),
}

impl Series {
    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Continues to the bucket `at`: in between nothing changed. Before its first bucket a series has nothing.
    pub(crate) fn extend_to(&mut self, at: usize) {
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, Bucket::of(self.now));
        }
    }

    /// Sockets by state at the latest time.
    pub(crate) const fn now(&self) -> &Counts {
        &self.now
    }

    /// Counts a transition in the bucket `at`, the latest one. `old` is `None` where a connection begins, `new` where it
    /// ends.
    pub(crate) fn count(
        &mut self,
        axis: &Axis,
        at: usize,
        time: Nanos,
        old: Option<TcpState>,
        new: Option<TcpState>,
    ) {
        self.extend_to(at);
        let second = axis.second_of(time);
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if let Some(old) = old {
            // One without a cookie may have come to its owner since it entered the state.
            let count = &mut self.now[old.index()];
            *count = count.saturating_sub(1);
        }
        if let Some(new) = new {
            self.now[new.index()] += 1;
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.extend(&self.now);
            bucket.changes += 1;
            bucket.busiest = if axis.width <= SECOND {
                bucket.changes
            } else {
                bucket.busiest.max(self.second.1)
            };
        }
    }

    /// A socket comes in the bucket `at`, the latest one, without a transition: from another owner.
    pub(crate) fn enter(&mut self, at: usize, state: TcpState) {
        self.extend_to(at);
        self.now[state.index()] += 1;
        self.extend_latest();
    }

    /// A socket goes to another owner.
    pub(crate) fn leave(&mut self, at: usize, state: TcpState) {
        self.extend_to(at);
        let count = &mut self.now[state.index()];
        *count = count.saturating_sub(1);
        self.extend_latest();
    }

    fn extend_latest(&mut self) {
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.extend(&self.now);
        }
    }

    /// Lowers maxima to those of `all`, which includes this series: those of a sum are bounds.
    pub(crate) fn limit_to(&mut self, all: &Self) {
        for (bucket, whole) in self.buckets.iter_mut().zip(&all.buckets) {
            for (most, bound) in bucket.most.iter_mut().zip(whole.most) {
                *most = bound.min(*most);
            }
            if total(&bucket.peak) > total(&whole.peak) {
                for (count, most) in bucket.peak.iter_mut().zip(whole.peak) {
                    *count = most.min(*count);
                }
            }
            bucket.busiest = bucket.busiest.min(whole.busiest);
        }
    }

    /// Sets what there is in the bucket `at`, the latest one. Of a series without a bucket, that was there all along.
    pub(crate) fn set(&mut self, at: usize, counts: Counts) {
        if self.buckets.is_empty() {
            self.buckets.resize(at, Bucket::default());
            self.now = counts;
        }
        self.extend_to(at);
        self.now = counts;
        self.extend_latest();
    }

    /// Merges pairs of buckets into buckets of `width`.
    pub(crate) fn widen(&mut self, width: Nanos) {
        let pairs = self.buckets.chunks(2);
        self.buckets = pairs
            .map(|pair| match pair {
                [one, next] => one.joined(next, width),
                [one, ..] => *one,
                [] => Bucket::default(),
            })
            .collect();
    }

    /// Adds another series on the same axis.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.extend_to(other.buckets.len() - 1);
        }
        let rest = other.buckets.len()..self.buckets.len();
        let later = rest.map(|_| Bucket::of(other.now));
        let others: Vec<Bucket> = other.buckets.iter().copied().chain(later).collect();
        for (bucket, more) in self.buckets.iter_mut().zip(&others) {
            bucket.add(more);
        }
        for (sum, more) in self.now.iter_mut().zip(&other.now) {
            *sum += more;
        }
    }

    /// The most sockets that there were of a state.
    pub(crate) fn most(&self, state: TcpState) -> u64 {
        let of_state = self.buckets.iter().map(|bucket| bucket.most[state.index()]);
        of_state.max().unwrap_or(0)
    }

    /// All transitions.
    pub(crate) fn changes(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.changes).sum()
    }
}

/// Sockets in all states.
pub(crate) fn total(counts: &Counts) -> u64 {
    counts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpState::{CloseWait, Established};

    /// A peak of one moment, in a series that is widened until two buckets are left.
    #[test]
    fn a_peak_and_a_gap_survive_every_merge() {
        let mut series = Series::default();
        let mut axis = Axis::new(Nanos(0));
        for at in 0..64 {
            series.set(at, counts(10, 0));
            if at == 37 {
                series.set(at, counts(3, 700));
                series.set(at, counts(0, 0));
                series.set(at, counts(10, 0));
            }
        }
        while series.buckets().len() > 2 {
            axis.width = Nanos(axis.width.0 * 2);
            series.widen(axis.width);
        }
        let [calm, busy] = series.buckets() else {
            panic!("{:?}", series.buckets())
        };
        assert_eq!(
            (calm.least, calm.most, calm.peak),
            (counts(10, 0), counts(10, 0), counts(10, 0))
        );
        assert_eq!((busy.least, busy.most), (counts(0, 0), counts(10, 700)));
        assert_eq!(busy.peak, counts(3, 700), "the states of one moment");
    }

    #[test]
    fn transitions_add_up_and_the_busiest_second_stays() {
        // 16 in the first second, 5 in the second, 7 in each of the next two.
        let times = [(0, 16), (1_100, 5), (2_000, 7), (3_999, 7)];
        for width in [125, 1_000, 2_000, 4_000] {
            let mut axis = Axis {
                began: Nanos(0),
                width: Nanos::from_millis(width),
            };
            let mut series = Series::default();
            for (at, count) in times {
                let time = Nanos::from_millis(at);
                for _ in 0..count {
                    series.count(&axis, axis.bucket_of(time), time, None, Some(Established));
                }
            }
            while axis.width < Nanos::from_secs(4) {
                axis.width = Nanos(axis.width.0 * 2);
                series.widen(axis.width);
            }
            let [all] = series.buckets() else {
                panic!("{:?}", series.buckets())
            };
            assert_eq!((all.changes, all.busiest), (35, 16), "from buckets of {width} ms");
            assert_eq!(series.changes(), 35);
        }
    }

    #[test]
    fn quiet_buckets_have_what_there_was_and_earlier_ones_nothing() {
        let mut series = Series::default();
        let axis = Axis::new(Nanos(0));
        series.count(&axis, 2, Nanos::from_millis(300), None, Some(CloseWait));
        series.extend_to(4);
        let counted: Vec<u64> = series
            .buckets()
            .iter()
            .map(|bucket| bucket.most[CloseWait.index()])
            .collect();
        assert_eq!(counted, [0, 0, 1, 1, 1]);
        assert_eq!(series.most(CloseWait), 1);
    }

    #[test]
    fn series_that_end_earlier_are_added_with_their_last_counts() {
        let mut sum = Series::default();
        sum.set(0, counts(1, 0));
        let mut longer = Series::default();
        longer.set(0, counts(2, 0));
        longer.set(3, counts(4, 0));
        sum.add(&longer);
        let most = |series: &Series| -> Vec<u64> { series.buckets().iter().map(|b| b.most[0]).collect() };
        assert_eq!(most(&sum), [3, 3, 3, 5]);
        longer.add(&sum);
        assert_eq!(most(&longer), [5, 5, 5, 9]);
    }

    #[test]
    fn any_time_is_in_a_bucket_after_widening() {
        let axis = Axis::new(Nanos::from_secs(5));
        assert_eq!(axis.bucket_of(Nanos(0)), 0);
        assert_eq!(axis.widenings(Nanos::from_secs(34)), 0);
        assert_eq!(axis.widenings(Nanos::from_secs(35)), 1);
        assert!(axis.widenings(Nanos(u64::MAX)) < 64);
    }

    fn counts(established: u64, close_wait: u64) -> Counts {
        let mut counts = [0; TcpState::COUNT];
        counts[Established.index()] = established;
        counts[CloseWait.index()] = close_wait;
        counts
    }
}
