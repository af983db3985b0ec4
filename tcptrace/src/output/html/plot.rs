//! What all plots have: a frame with its axes as text, which keeps its size while the drawing is stretched; staircases of
//! integers; the classes of states and processes.

use crate::event::{Nanos, TcpState};
use maud::{Markup, html};
use std::fmt::Write as _;

/// Height of every drawing, in its own units.
pub(super) const HEIGHT: u64 = 1_000;

/// A drawing between its axes; `columns` is its width in its own units. The script reads its numbers from the nearest
/// table after it.
pub(super) struct Frame {
    pub(super) title: String,
    /// What the drawing shows, for who cannot see it.
    pub(super) summary: String,
    pub(super) columns: usize,
    /// From the top to the bottom.
    pub(super) y_labels: Vec<String>,
    /// From the left to the right, as far apart as each other.
    pub(super) x_labels: Vec<String>,
    /// Whether the horizontal axis is time.
    pub(super) is_time: bool,
    pub(super) legend: Markup,
    pub(super) drawing: Markup,
}

impl Frame {
    pub(super) fn draw(&self) -> Markup {
        let class = if self.is_time { "plot time" } else { "plot" };
        let view = format!("0 0 {} {HEIGHT}", self.columns.max(1));
        html! {
            figure class=(class) {
                figcaption { (self.title) }
                (self.legend)
                div.frame {
                    div.y aria-hidden="true" { @for label in &self.y_labels { span { (label) } } }
                    div.canvas {
                        svg viewBox=(view) preserveAspectRatio="none" role="img" tabindex="0" aria-label=(self.summary) {
                            @for line in 1..4 {
                                line.grid x1="0" x2=(self.columns.max(1)) y1=(line * HEIGHT / 4) y2=(line * HEIGHT / 4) {}
                            }
                            (self.drawing)
                        }
                    }
                    div.x aria-hidden="true" { @for label in &self.x_labels { span { (label) } } }
                }
            }
        }
    }
}

/// Where a value is drawn: 0 at the bottom, `most` at the top.
pub(super) fn height_of(value: u64, most: u64) -> u64 {
    let part = u128::from(value.min(most)) * u128::from(HEIGHT) / u128::from(most.max(1));
    HEIGHT - u64::try_from(part).unwrap_or(HEIGHT)
}

/// A staircase through the tops of columns of width 1.
pub(super) fn stairs(heights: &[u64]) -> String {
    let mut path = String::new();
    for (at, run) in runs(heights) {
        let _ = if at == 0 {
            write!(path, "M0 {}", heights[at])
        } else {
            write!(path, "V{}", heights[at])
        };
        let _ = write!(path, "H{}", at + run);
    }
    path
}

/// The area between two staircases.
pub(super) fn area(upper: &[u64], lower: &[u64]) -> String {
    let mut path = stairs(upper);
    let mut down: Vec<(usize, usize)> = runs(lower).collect();
    down.reverse();
    for (at, _) in down {
        let _ = write!(path, "V{}H{at}", lower[at]);
    }
    path.push('z');
    path
}

/// Columns of equal height that follow each other: the first, and how many.
fn runs(heights: &[u64]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    heights.chunk_by(|a, b| a == b).map(move |run| {
        let first = at;
        at += run.len();
        (first, run.len())
    })
}

/// Round quarters of an axis, in tenths of a power of ten.
const QUARTERS: [u64; 10] = [10, 15, 20, 25, 30, 40, 50, 60, 75, 100];

/// What an axis goes to: not less than `most`, with a round number at each quarter.
pub(super) fn rounded_up(most: u64) -> u64 {
    let least = most.div_ceil(4).max(1);
    let unit = 10_u64.pow(least.ilog10());
    let quarters = QUARTERS.iter().filter_map(|tenths| {
        let tenfold = unit.checked_mul(*tenths)?;
        (tenfold % 10 == 0).then_some(tenfold / 10)
    });
    let quarter = quarters.into_iter().find(|quarter| *quarter >= least);
    quarter.and_then(|quarter| quarter.checked_mul(4)).unwrap_or(most)
}

/// Labels of an axis of counts to `most`, at quarters.
pub(super) fn count_labels(most: u64) -> Vec<String> {
    (0..=4).rev().map(|quarter| short(most * quarter / 4)).collect()
}

/// `950`, `12.5k`, `3.2M`.
pub(super) fn short(count: u64) -> String {
    let (unit, name) = match count {
        ..10_000 => return count.to_string(),
        10_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    let tenths = count % unit * 10 / unit;
    if tenths == 0 {
        format!("{}{name}", count / unit)
    } else {
        format!("{}.{tenths}{name}", count / unit)
    }
}

/// The class that colours a state: `s-close-wait`.
pub(super) fn class(state: TcpState) -> String {
    format!("s-{}", state.name().to_ascii_lowercase().replace('_', "-"))
}

/// Durations on a logarithmic axis: whole powers of ten of nanoseconds, 300 units each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogAxis {
    lowest: u32,
    highest: u32,
}

/// Units of a power of ten.
const DECADE: f64 = 300.0;

impl LogAxis {
    /// An axis that has these durations; `None` if there are none.
    pub(super) fn of(durations: impl Iterator<Item = Nanos>) -> Option<Self> {
        let powers = durations.map(|duration| duration.0.max(1).ilog10());
        let (lowest, highest) = powers.fold(None, |ends, power| match ends {
            None => Some((power, power)),
            Some((low, high)) => Some((power.min(low), power.max(high))),
        })?;
        // What is shorter than a microsecond shares the first power.
        Some(Self {
            lowest: lowest.max(3).min(highest),
            highest: highest + 1,
        })
    }

    pub(super) const fn columns(self) -> usize {
        (self.highest - self.lowest) as usize * 300
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions in a drawing"
    )]
    pub(super) fn position(self, duration: Nanos) -> usize {
        let power = (duration.0.max(1) as f64).log10() - f64::from(self.lowest);
        ((power * DECADE).round().max(0.0) as usize).min(self.columns())
    }

    /// The powers of ten, for labels.
    pub(super) fn powers(self) -> impl Iterator<Item = Nanos> {
        (self.lowest..=self.highest).map(|power| Nanos(10_u64.saturating_pow(power)))
    }

    /// 1, 2 and 5 of each power.
    pub(super) fn steps(self) -> impl Iterator<Item = Nanos> {
        let last = Nanos(10_u64.saturating_pow(self.highest));
        let powers = (self.lowest..self.highest).map(|power| 10_u64.saturating_pow(power));
        powers
            .flat_map(|power| [1, 2, 5].map(|factor| Nanos(power.saturating_mul(factor))))
            .chain([last])
    }

    pub(super) fn labels(self) -> Vec<String> {
        self.powers().map(label).collect()
    }
}

/// A power of ten without its zeros: `1µs`, `100ms`, `10s`, `17m`.
fn label(power: Nanos) -> String {
    match power.0 {
        ..1_000 => format!("{}ns", power.0),
        1_000..1_000_000 => format!("{}µs", power.0 / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", power.0 / 1_000_000),
        1_000_000_000..1_000_000_000_000 => format!("{}s", power.0 / 1_000_000_000),
        _ => crate::duration::human(power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_columns_are_one_stair() {
        assert_eq!(stairs(&[5, 5, 5, 2, 7, 7]), "M0 5H3V2H4V7H6");
        assert_eq!(area(&[5, 5, 2], &[9, 9, 9]), "M0 5H2V2H3V9H0z");
        assert_eq!(area(&[1, 2], &[8, 9]), "M0 1H1V2H2V9H1V8H0z");
        assert_eq!(stairs(&[]), "");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let table = [
            (0, 4),
            (5, 8),
            (9, 12),
            (75, 80),
            (84, 100),
            (129, 160),
            (1_000, 1_000),
            (4_100, 6_000),
        ];
        for (most, round) in table {
            assert_eq!(rounded_up(most), round, "{most}");
        }
        assert_eq!(rounded_up(u64::MAX), u64::MAX);
        assert_eq!(height_of(u64::MAX, u64::MAX), 0);
        assert_eq!(height_of(0, 0), HEIGHT);
        assert_eq!(
            [short(9_999), short(12_500), short(3_000_000)],
            ["9999", "12.5k", "3M"]
        );
    }

    #[test]
    fn a_logarithmic_axis_has_whole_powers_of_ten() {
        let axis =
            LogAxis::of([Nanos(40_000), Nanos::from_secs(60)].into_iter()).expect("there are durations");
        assert_eq!(
            axis.labels(),
            ["10µs", "100µs", "1ms", "10ms", "100ms", "1s", "10s", "100s"]
        );
        assert_eq!(axis.position(Nanos(10_000)), 0);
        assert_eq!(axis.position(Nanos(1_000_000)), 600);
        assert_eq!(axis.position(Nanos(1)), 0);
        assert_eq!(axis.position(Nanos(u64::MAX)), axis.columns());
        assert_eq!(axis.steps().count(), 7 * 3 + 1);
        assert_eq!(LogAxis::of(std::iter::empty()), None);
    }
}
