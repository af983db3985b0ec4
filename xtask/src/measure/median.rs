//! Medians of a few measurements, with their spread.

use std::fmt;

/// Measurements, sorted.
pub(super) struct Measurements(Vec<f64>);

impl Measurements {
    /// At least one.
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The upper one of the two in the middle, if there are two.
    pub(super) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

/// `97.1 (95.0–99.3)`: median, smallest, largest.
impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{:.1} ({least:.1}–{most:.1})", self.median())
    }
}
