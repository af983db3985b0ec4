//! Growth of leaked sockets, derived from the ages of those that exist. Pure.

use super::{
    Figure as _,
    slope::{POINTS, Slope},
};
use crate::event::Nanos;
use std::time::Duration;

/// A line over less time than this is none.
const SPREAD: f64 = 10.0 / 60.0;

/// Parts that the time is cut into, in which sockets are counted.
const PARTS: usize = 12;

/// A pause this many times as long as the longest one before it ends the growth.
const PAUSE: f64 = 2.0;

/// Sockets in CLOSE_WAIT of one process, by how long they have been in it.
#[derive(Debug)]
pub struct Ages {
    /// Ages of leaked sockets in minutes, oldest first.
    leaked: Vec<f64>,
    /// Minutes since the younger ones came that have stayed for some time, in any order. They show that nothing has
    /// come, and not that sockets are leaked.
    younger: Vec<f64>,
    /// Ages from here on are those of `leaked`, in minutes.
    threshold: f64,
    /// Ages below this are those of any service, and not counted.
    least: f64,
}

impl Ages {
    /// `leaked` are past `threshold`, `younger` are not; what is younger than `least` is left out.
    #[must_use]
    pub fn new(
        leaked: impl Iterator<Item = Nanos>,
        younger: impl Iterator<Item = Nanos>,
        threshold: Nanos,
        least: Nanos,
    ) -> Self {
        let least = least.min(threshold);
        let mut leaked: Vec<f64> = leaked.map(minutes).collect();
        leaked.sort_by(|a, b| b.total_cmp(a));
        Self {
            leaked,
            younger: younger.filter(|age| *age >= least).map(minutes).collect(),
            threshold: minutes(threshold),
            least: minutes(least),
        }
    }

    /// Growth a minute up to now; `None` where they are too few, or came within too little time. Where some have come
    /// long before the others, the latest that grow count, down to [`POINTS`] of them.
    #[must_use]
    pub fn per_minute(&self) -> Option<Slope> {
        let mut whole = None;
        let mut latest = self.leaked.as_slice();
        while latest.len() >= POINTS && latest[0] - self.least >= SPREAD {
            let slope = self.stopped(latest).or_else(|| self.rate(latest));
            if slope.is_some_and(|slope| slope.is_rising() || slope.per_unit == 0.0) {
                return slope;
            }
            whole = whole.or(slope);
            latest = &latest[latest.len().div_ceil(2)..];
        }
        whole
    }

    /// Zero, with one socket in the time without any as its error, where the latest pause is longer than chance: more
    /// than twice as long as each of the n before, as happens once in (n + 1) (n + 2) / 2 looks at sockets that come at
    /// random; or where those that came since are fewer than chance, by three standard deviations.
    fn stopped(&self, leaked: &[f64]) -> Option<Slope> {
        let longest = leaked
            .windows(2)
            .map(|pair| pair[0] - pair[1])
            .fold(0.0, f64::max);
        let last = leaked.last().copied()?;
        let younger = self.younger.iter().copied();
        let pause = younger.clone().fold(last, f64::min) - self.least;
        let before = last - self.threshold;
        let (came, expected) = (younger.count().figure(), self.expected(leaked));
        let is_over =
            pause > PAUSE * longest || before > PAUSE * longest || came < expected - 3.0 * expected.sqrt();
        let silent = pause.max(before);
        is_over.then(|| Slope {
            per_unit: 0.0,
            error: 1.0 / silent.max(self.threshold - self.least),
        })
    }

    /// How many should be younger, at the pace of these.
    fn expected(&self, leaked: &[f64]) -> f64 {
        let pace = match (leaked.first(), leaked.last()) {
            (Some(first), Some(last)) if first > last => (leaked.len() - 1).figure() / (first - last),
            _ => 0.0,
        };
        pace * (self.threshold - self.least)
    }

    /// How many came in a minute, from the first to the threshold, with the error by how much that differs from part
    /// to part of the time; of one socket at least.
    fn rate(&self, leaked: &[f64]) -> Option<Slope> {
        let first = leaked.first()?;
        let span = first - self.threshold;
        if span < SPREAD {
            return None;
        }
        let mut counts = [0_usize; PARTS];
        for age in &leaked[1..] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to PARTS, as ages lie between the first and the threshold"
            )]
            let part = ((first - age) / span * PARTS.figure()) as usize;
            counts[part.min(PARTS - 1)] += 1;
        }
        let mean = (leaked.len() - 1).figure() / PARTS.figure();
        let squares: f64 = counts.iter().map(|count| (count.figure() - mean).powi(2)).sum();
        let error = (squares / (PARTS - 1).figure() * PARTS.figure()).sqrt();
        Some(Slope {
            per_unit: (leaked.len() - 1).figure() / span,
            error: error.max(1.0) / span,
        })
    }
}

fn minutes(span: Nanos) -> f64 {
    Duration::from_nanos(span.0).as_secs_f64() / 60.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Nanos = Nanos::from_secs(5);

    /// Of sockets that came so many seconds ago, by a threshold in seconds.
    fn growth(ages: impl IntoIterator<Item = f64>, threshold: u64) -> Option<Slope> {
        let threshold = Nanos::from_secs(threshold);
        let ages: Vec<Nanos> = ages
            .into_iter()
            .map(|seconds| Nanos(u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap()))
            .collect();
        let (leaked, younger): (Vec<Nanos>, Vec<Nanos>) = ages.iter().partition(|age| **age >= threshold);
        Ages::new(leaked.into_iter(), younger.into_iter(), threshold, LEAST).per_minute()
    }

    fn is_zero(slope: Slope) -> bool {
        slope.per_unit.abs() < f64::EPSILON
    }

    fn every(seconds: f64, from: f64, to: f64) -> impl Iterator<Item = f64> {
        (0..)
            .map(move |index| from - f64::from(index) * seconds)
            .take_while(move |age| *age >= to)
    }

    #[test]
    fn a_steady_leak_grows_at_its_pace() {
        for (seconds, from, threshold) in [
            (0.4, 90.0, 60),
            (6.0, 180.0, 60),
            (60.0, 3_600.0, 60),
            (0.05, 20.0, 5),
        ] {
            let slope = growth(every(seconds, from, 0.0), threshold).unwrap();
            let expected = 60.0 / seconds;
            assert!(slope.is_rising(), "{slope}");
            assert!(
                (slope.per_unit / expected - 1.0).abs() < 0.05,
                "{slope} and not {expected}"
            );
        }
    }

    #[test]
    fn a_leak_at_random_times_grows_at_its_pace() {
        // Exponential gaps from a linear congruential generator.
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11).figure() / (1_u64 << 53).figure()
        };
        let mut right = 0;
        for _ in 0..200 {
            let mut age = 300.0;
            let ages = std::iter::from_fn(|| {
                age += 2.0 * random().ln();
                (age > 0.0).then_some(age)
            });
            let slope = growth(ages, 60).unwrap();
            right += u32::from(slope.is_rising() && (slope.per_unit - 30.0).abs() < 3.0 * slope.error);
        }
        assert!(right >= 190, "{right} of 200");
    }

    #[test]
    fn a_burst_that_is_over_does_not_grow_however_long_ago() {
        for ago in [15.0, 65.0, 7_200.0] {
            for (count, within) in [(8, 0.002), (200, 2.0), (5_000, 1.0)] {
                let burst = every(within / f64::from(count), ago, ago - within);
                let slope = growth(burst, 5).unwrap();
                assert!(is_zero(slope), "{slope}");
                assert!(slope.error * (ago - within - 5.0) / 60.0 < 1.01, "{slope}");
            }
        }
    }

    #[test]
    fn a_leak_that_stopped_does_not_grow() {
        // A minute ago, within the threshold; and before it, with a healthy service's younger ones since.
        assert!(is_zero(growth(every(1.0, 600.0, 30.0), 60).unwrap()));
        let since = every(1.0, 600.0, 120.0).chain([30.0, 12.0, 6.0]);
        assert!(is_zero(growth(since, 60).unwrap()));
        // Only a look, with little of the time since the end beyond the threshold.
        let since = every(3.0, 600.0, 60.0).chain([6.0, 7.0]);
        assert!(is_zero(growth(since, 60).unwrap()));
    }

    #[test]
    fn one_that_was_forgotten_long_before_does_not_hide_a_leak() {
        let leak = [250_000.0].into_iter().chain(every(2.0, 300.0, 0.0));
        let slope = growth(leak, 60).unwrap();
        assert!(
            slope.is_rising() && (slope.per_unit - 30.0).abs() < 3.0,
            "{slope}"
        );
    }

    #[test]
    fn one_burst_in_a_trickle_is_no_trend() {
        let slope = growth(every(600.0, 6_000.0, 60.0).chain(every(0.01, 900.0, 899.0)), 60).unwrap();
        assert!(!slope.is_rising(), "{slope}");
    }

    #[test]
    fn too_few_or_too_soon_is_not_known() {
        assert_eq!(growth(every(10.0, 129.0, 60.0), 60), None);
        assert_eq!(growth(every(0.5, 14.0, 5.0), 5), None);
    }
}
