//! Growth of a process's leaked sockets, and the time until its descriptors run out. Pure.

use super::{Figure as _, ages::Ages, history::Series, scene::Descriptors, slope::Slope};
use crate::event::Nanos;
use serde::Serialize;
use std::{fmt, time::Duration};

/// Where growth was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// By counting from second to second.
    Watched,
    /// Derived from the ages of existing sockets.
    Ages,
}

/// Growth of a process's leaked sockets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Sockets a minute.
    pub per_minute: Slope,
    /// Where it was seen.
    pub basis: Basis,
}

impl Growth {
    /// By counting, where the sign is certain. Else by ages, where that pace is within what the counts leave open; a
    /// leak may be too slow for a short watch. Else the counts' zero.
    #[must_use]
    pub fn of(counted: Option<&Series>, ages: &Ages) -> Option<Self> {
        let new = |basis| move |per_minute| Self { per_minute, basis };
        let by_count = counted.and_then(Series::per_minute).map(new(Basis::Watched));
        let by_age = ages.per_minute().map(new(Basis::Ages));
        let (Some(by_count), Some(by_age)) = (by_count, by_age) else {
            return by_count.or(by_age);
        };
        let (count, age) = (by_count.per_minute, by_age.per_minute);
        let is_left_open = age.per_unit - 2.0 * age.error <= count.per_unit + 2.0 * count.error;
        if !count.is_certain() && age.is_rising() && is_left_open {
            Some(by_age)
        } else {
            Some(by_count)
        }
    }

    /// Time until no descriptor is left, with no digits finer than the error of the growth; `None` without growth.
    #[must_use]
    pub fn exhausts(&self, descriptors: Descriptors) -> Option<Nanos> {
        let slope = self.per_minute;
        if !slope.is_rising() {
            return None;
        }
        let free = descriptors.limit.saturating_sub(descriptors.used).figure();
        let seconds = free / slope.per_unit * 60.0;
        let error = seconds * slope.error / slope.per_unit;
        let step = STEPS
            .into_iter()
            .rev()
            .find(|step| *step <= error)
            .unwrap_or(STEPS[0]);
        let left = Duration::try_from_secs_f64((seconds / step).round() * step).ok()?;
        Some(Nanos(u64::try_from(left.as_nanos()).ok()?))
    }
}

/// What forecasts are rounded to, in seconds: one to a day.
const STEPS: [f64; 10] = [
    1.0, 5.0, 10.0, 60.0, 300.0, 600.0, 3_600.0, 10_800.0, 21_600.0, 86_400.0,
];

impl fmt::Display for Growth {
    /// A clause: `growing by 150 ± 6 a minute, counted every second`. A slow one is that of an hour or a day.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slope = self.per_minute;
        let most = slope.per_unit.abs().max(slope.error);
        let (factor, unit) = [(1.0, "a minute"), (60.0, "an hour")]
            .into_iter()
            .find(|(factor, _)| most * factor >= 0.5)
            .unwrap_or((1_440.0, "a day"));
        let shown = slope.times(factor);
        if slope.is_rising() {
            write!(f, "growing by {shown} {unit}")?;
        } else if slope.is_certain() {
            let shown = Slope {
                per_unit: -shown.per_unit,
                ..shown
            };
            write!(f, "shrinking by {shown} {unit}")?;
        } else {
            write!(f, "not growing: {shown} {unit}")?;
        }
        f.write_str(match self.basis {
            Basis::Watched => ", counted every second",
            Basis::Ages => ", by their ages",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Nanos = Nanos::from_secs(2);

    fn series(counts: impl IntoIterator<Item = u64>) -> Series {
        let mut series = Series::default();
        for (second, count) in counts.into_iter().enumerate() {
            series.push(Nanos::from_secs(second as u64), count);
        }
        series
    }

    /// One every so many seconds until now, evaluated past a minute.
    fn ages(every: u64, count: u64) -> Ages {
        let all = (0..count).map(move |index| Nanos::from_secs(index * every));
        let is_old = |age: &Nanos| *age >= Nanos::from_secs(60);
        Ages::new(
            all.clone().filter(is_old),
            all.filter(move |age| !is_old(age)),
            Nanos::from_secs(60),
            LEAST,
        )
    }

    fn rendered(counted: impl IntoIterator<Item = u64>, ages: &Ages) -> String {
        Growth::of(Some(&series(counted)), ages).unwrap().to_string()
    }

    #[test]
    fn counting_comes_before_ages() {
        let text = rendered((0..12).map(|second| 40 + 2 * second), &ages(6, 40));
        assert_eq!(text, "growing by 120 ± 5 a minute, counted every second");
        let text = rendered((0..12).map(|second| 100 - 3 * second), &ages(6, 40));
        assert_eq!(text, "shrinking by 180 ± 5 a minute, counted every second");
    }

    #[test]
    fn a_count_that_stays_contradicts_ages_and_leaves_what_it_could_not_see() {
        // Two a second by ages, as of a pool whose old ones leave.
        let mut halves = Vec::new();
        for half in 0..200_u64 {
            halves.push(Nanos::from_millis(half * 500));
        }
        let is_old = |age: &&Nanos| **age >= Nanos::from_secs(60);
        let fast = Ages::new(
            halves.iter().filter(is_old).copied(),
            halves.iter().filter(|age| !is_old(age)).copied(),
            Nanos::from_secs(60),
            LEAST,
        );
        assert!(fast.per_minute().unwrap().is_rising());
        assert_eq!(
            rendered([200; 10], &fast),
            "not growing: 0 ± 7 a minute, counted every second"
        );
        assert_eq!(
            rendered([30; 10], &ages(20, 30)),
            "growing by 3.0 ± 0.2 a minute, by their ages"
        );
        assert_eq!(
            rendered([30; 10], &ages(600, 60)),
            "growing by 5.9 ± 0.1 an hour, by their ages"
        );
        // Some of them, and none since.
        let none = Ages::new(
            std::iter::empty(),
            std::iter::empty(),
            Nanos::from_secs(60),
            LEAST,
        );
        assert_eq!(
            rendered([200; 10], &none),
            "not growing: 0 ± 7 a minute, counted every second"
        );
        assert_eq!(Growth::of(None, &none), None);
    }

    #[test]
    fn a_forecast_is_no_finer_than_its_growth_is_sure() {
        let exhausts = |per_unit, error| {
            let growth = Growth {
                per_minute: Slope { per_unit, error },
                basis: Basis::Watched,
            };
            growth.exhausts(Descriptors {
                used: 24,
                limit: 1024,
            })
        };
        // 6 min 40 s, sure to 16 s.
        assert_eq!(exhausts(150.0, 6.0), Some(Nanos::from_secs(400)));
        // 1 h 40 min, sure to 20 min.
        assert_eq!(exhausts(10.0, 2.0), Some(Nanos::from_secs(6_000)));
        assert_eq!(exhausts(10.0, 6.0), None);
        assert_eq!(exhausts(-10.0, 1.0), None);
    }
}
