//! A straight line through points by least squares, and how sure its slope is. Pure.

use serde::Serialize;

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

impl Slope {
    /// The line through `points` (x, y), x rising; `None` for fewer than [`POINTS`] of them or no spread in x.
    ///
    /// Counts at successive times are not independent: what is too high now will be in a second. So the standard error
    /// is taken for as many points as there would be without the correlation of neighbouring residuals,
    /// n (1 − r) / (1 + r): B. D. Santer et al., Journal of Geophysical Research 105 (2000), 7337–7356, equation 6.
    #[must_use]
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < POINTS {
            return None;
        }
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

    /// The same in units `factor` times as long.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            per_unit: self.per_unit * factor,
            error: self.error * factor,
        }
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
}
