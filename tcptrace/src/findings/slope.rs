//! Linear regression by least squares, with the error of the slope. Pure.

use serde::Serialize;
use std::fmt;

/// A slope, in the unit of y for each unit of x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slope {
    /// The estimate.
    pub per_unit: f64,
    /// Its standard error.
    pub error: f64,
}

/// Fewer points than this tell no error worth the name.
pub const POINTS: usize = 8;

/// The least that the points count for, however alike neighbours are.
const INDEPENDENT: f64 = 3.0;

/// Growth is ongoing if the second half of the counts has at least this share of it.
const LATEST: f64 = 2.0;

impl Slope {
    /// The slope of counts (x, count) up to the last of them, x rising; `None` as in [`Self::through`].
    ///
    /// The error is that of one socket more or less at least: what no count could have shown is not ruled out. Counts
    /// that rose at first and stayed in the second half have a slope of zero.
    #[must_use]
    pub fn of_counts(points: &[(f64, f64)]) -> Option<Self> {
        let all = Self::through(points)?;
        let span = points.last()?.0 - points.first()?.0;
        let error = all.error.max(1.0 / span);
        let latest = Self::fit(&points[points.len() / 2..])?;
        let goes_on = latest.per_unit * all.per_unit.signum() >= all.per_unit.abs() / LATEST;
        Some(Self {
            per_unit: if goes_on { all.per_unit } else { 0.0 },
            error,
        })
    }

    /// The line through `points` (x, y), x rising; `None` for fewer than [`POINTS`] of them or no spread in x.
    ///
    /// Counts at successive times are not independent: what is too high now will be in a second. So the standard error
    /// is taken for as many points as there would be without the correlation of neighbouring residuals,
    /// n (1 − r) / (1 + r): B. D. Santer et al., Journal of Geophysical Research 105 (2000), 7337–7356, equation 6.
    #[must_use]
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        (points.len() >= POINTS).then(|| Self::fit(points))?
    }

    /// The line through at least three points.
    fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let count = count(points.len());
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        if spread <= 0.0 {
            return None;
        }
        let products: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let per_unit = products / spread;
        let residuals: Vec<f64> = points
            .iter()
            .map(|(x, y)| y - mean_y - per_unit * (x - mean_x))
            .collect();
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let correlation = if squares > 0.0 {
            (neighbours / squares).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let independent = (count * (1.0 - correlation) / (1.0 + correlation)).max(INDEPENDENT);
        Some(Self {
            per_unit,
            error: (squares / (independent - 2.0) / spread).sqrt(),
        })
    }

    /// Whether it is above zero by more than chance: twice its error.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        self.per_unit > 0.0 && self.per_unit > 2.0 * self.error
    }

    /// Whether its sign is known: it differs from zero by more than twice its error.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.per_unit.abs() > 2.0 * self.error
    }

    /// What may be reported of it: zero where its sign is not known, and no digits finer than the first one of the
    /// error.
    #[must_use]
    pub fn rounded(self) -> Self {
        let decimal_place = self.decimal_place();
        // The reciprocal of a power of ten that is below one is whole, so that 0.3 is 3 / 10 and not 3 · 0.1.
        let round = |value: f64| {
            if decimal_place < 0 {
                let unit = 10_f64.powi(-decimal_place);
                (value * unit).round() / unit
            } else {
                let unit = 10_f64.powi(decimal_place);
                (value / unit).round() * unit
            }
        };
        Self {
            per_unit: if self.is_certain() {
                round(self.per_unit)
            } else {
                0.0
            },
            error: round(self.error),
        }
    }

    /// The power of ten of the error's first digit, once it is rounded to that.
    fn decimal_place(&self) -> i32 {
        if self.error <= 0.0 {
            return -1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "an f64 has at most 308 digits")]
        let power = |value: f64| value.log10().floor() as i32;
        let first = power(self.error);
        // 0.96 is 1 and not 1.0.
        power((self.error / 10_f64.powi(first)).round() * 10_f64.powi(first) * 1.000_001)
    }

    /// The same in units `factor` times as long.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            per_unit: self.per_unit * factor,
            error: self.error * factor,
        }
    }
}

impl fmt::Display for Slope {
    /// The rounded slope with its error: `150 ± 6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_unit, error } = self.rounded();
        let decimals = usize::try_from(-self.decimal_place()).unwrap_or(0);
        let of_zero = if per_unit == 0.0 { 0 } else { decimals };
        write!(f, "{per_unit:.of_zero$} ± {error:.decimals$}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "samples are few")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ys: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        ys.into_iter().enumerate().map(|(x, y)| (count(x), y)).collect()
    }

    #[test]
    fn a_straight_line_has_its_slope_without_error() {
        let slope = Slope::through(&line((0..20).map(|x| 3.0 + 2.0 * f64::from(x)))).unwrap();
        assert!((slope.per_unit - 2.0).abs() < 1e-9);
        assert!(slope.error < 1e-9);
        assert!(slope.is_rising());
        assert!((slope.times(60.0).per_unit - 120.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_the_textbook_s_where_neighbours_are_not_alike() {
        // y = x with residuals of ±1 in turn: their neighbours' correlation is negative, which takes nothing off.
        let points = line((0..12).map(|x| f64::from(x) + if x % 2 == 0 { 1.0 } else { -1.0 }));
        let slope = Slope::through(&points).unwrap();
        let spread = 143.0;
        let mean_x = 5.5;
        let residuals: f64 = points
            .iter()
            .map(|(x, y)| (y - 5.5 - slope.per_unit * (x - mean_x)).powi(2))
            .sum();
        assert!((slope.error - (residuals / 10.0 / spread).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_drifting_count_is_less_sure_than_its_points_are_many() {
        // One step up in the middle: no trend, and neighbours alike.
        let points = line((0..40).map(|x| if x < 20 { 0.0 } else { 1.0 }));
        let slope = Slope::through(&points).unwrap();
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / 40.0;
        let squares: f64 = points
            .iter()
            .map(|(x, y)| (y - mean - slope.per_unit * (x - 19.5)).powi(2))
            .sum();
        let spread: f64 = points.iter().map(|(x, _)| (x - 19.5).powi(2)).sum();
        assert!(slope.error > 2.0 * (squares / 38.0 / spread).sqrt());
    }

    #[test]
    fn too_little_is_no_slope() {
        assert_eq!(Slope::through(&line((0..7).map(f64::from))), None);
        assert_eq!(Slope::through(&[(1.0, 2.0); 9]), None);
        let flat = Slope::through(&line([4.0; 9])).unwrap();
        assert!(!flat.is_rising());
    }

    #[test]
    fn counts_that_rose_at_first_and_stayed_do_not_grow() {
        let step = Slope::of_counts(&line((0..40).map(|x: i32| f64::from(x.min(20))))).unwrap();
        assert!(
            Slope::through(&line((0..40).map(|x: i32| f64::from(x.min(20)))))
                .unwrap()
                .is_rising()
        );
        assert!(!step.is_certain(), "{step}");
        let steady = Slope::of_counts(&line((0..10).map(|x| f64::from(x / 3)))).unwrap();
        assert!(steady.is_rising(), "{steady}");
        let shrinking = Slope::of_counts(&line((0..10).map(|x| f64::from(100 - 5 * x)))).unwrap();
        assert!(shrinking.is_certain() && !shrinking.is_rising(), "{shrinking}");
    }

    #[test]
    fn counts_that_do_not_change_leave_room_for_one_socket() {
        let flat = Slope::of_counts(&line([200.0; 11])).unwrap();
        assert_eq!(
            flat,
            Slope {
                per_unit: 0.0,
                error: 0.1
            }
        );
    }

    #[test]
    fn digits_are_no_finer_than_the_error() {
        let rendered = |per_unit, error| Slope { per_unit, error }.to_string();
        assert_eq!(rendered(56_208_642.2, 1_910_497.2), "56000000 ± 2000000");
        assert_eq!(rendered(151.27, 5.7), "151 ± 6");
        assert_eq!(rendered(9.537, 0.312), "9.5 ± 0.3");
        assert_eq!(rendered(9.537, 0.096), "9.5 ± 0.1");
        assert_eq!(rendered(1234.0, 96.0), "1200 ± 100");
        assert_eq!(rendered(-20.0, 3.0), "-20 ± 3");
        // Zero within its error is zero.
        assert_eq!(rendered(5.4, 3.0), "0 ± 3");
        assert_eq!(rendered(0.0, 0.9), "0 ± 0.9");
        assert_eq!(
            Slope {
                per_unit: 9.537,
                error: 0.312
            }
            .rounded(),
            Slope {
                per_unit: 9.5,
                error: 0.3
            }
        );
    }
}
