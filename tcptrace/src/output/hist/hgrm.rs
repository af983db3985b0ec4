//! A percentile distribution as HdrHistogram's `outputPercentileDistribution` prints it and its plotter takes it
//! (`GoogleChartsExample/plotFiles.html`: a line counts where it has four numbers; all of a file are one curve).

use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Nanoseconds in the plotter's unit, milliseconds.
const UNIT_RATIO: f64 = 1e6;

/// Steps for each halving of the distance to 100 %, HistogramLogProcessor's default.
const TICKS_PER_HALF_DISTANCE: u8 = 5;

/// So often is the distance halved at most: an `f64` has all the digits of these levels.
const HALVINGS: u8 = 46;

/// The distribution, values in milliseconds. HdrHistogram prints as many decimals as it has significant digits;
/// six keep microseconds apart.
pub(crate) fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in steps(histogram) {
        let quantile = step.percentile / 100.0;
        let _ = write!(
            text,
            "{:>12.6} {quantile:.12} {:>10}",
            millis(step.value),
            step.counted
        );
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]\n#[Max     = {:>12.6}, Total count    = {:>12}]\n#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.mean() / UNIT_RATIO,
        histogram.stdev() / UNIT_RATIO,
        millis(histogram.max()),
        histogram.len(),
        histogram.buckets(),
        SUB_BUCKETS,
    );
    text
}

/// One line of the distribution.
struct Step {
    /// The level, which at least this share of all values reaches.
    percentile: f64,
    /// The value at that level, nanoseconds.
    value: u64,
    /// How many values are not greater.
    counted: u64,
}

/// The steps of HdrHistogram's `PercentileIterator`: for each level the first value that reaches it, and after the first
/// level of the greatest value 100 %. That of the Rust library accumulates rounded fractions, and misses a level that
/// is exactly the share of some count.
fn steps(histogram: &Histogram<u64>) -> Vec<Step> {
    let mut levels = levels().peekable();
    let mut steps = Vec::new();
    let mut counted = 0;
    for recorded in histogram.iter_recorded() {
        counted += recorded.count_at_value();
        let mut reach = |percentile| {
            steps.push(Step {
                percentile,
                value: recorded.value_iterated_to(),
                counted,
            });
        };
        let reached = percent(counted, histogram.len());
        if counted == histogram.len() {
            levels.next().into_iter().for_each(&mut reach);
            reach(100.0);
            break;
        }
        while let Some(level) = levels.next_if(|level| *level <= reached) {
            reach(level);
        }
    }
    steps
}

/// 0 %, 10 % to 40 %, then in halves of these steps to 75 %, and so on: in percent all of them are exact.
fn levels() -> impl Iterator<Item = f64> {
    (0..HALVINGS).flat_map(|halving| {
        (0..TICKS_PER_HALF_DISTANCE).map(move |tick| {
            let distance = 100.0 - 50.0 * f64::from(tick) / f64::from(TICKS_PER_HALF_DISTANCE);
            100.0 - distance / 2_f64.powi(halving.into())
        })
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "HdrHistogram computes shares of counts with as many digits"
)]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// Of a histogram with two significant digits.
const SUB_BUCKETS: u32 = 256;

#[expect(
    clippy::cast_precision_loss,
    reason = "a value has two significant digits, an f64 fifteen"
)]
fn millis(ns: u64) -> f64 {
    ns as f64 / UNIT_RATIO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::hist::examples::{self, CLOSE_WAIT},
        stats::{measure::Kind, totals},
    };

    #[test]
    fn the_last_line_has_three_numbers_and_the_plotter_skips_it() {
        let histogram = examples::leak().histogram(CLOSE_WAIT, Kind::Finished);
        insta::assert_snapshot!(distribution(&histogram));
    }

    #[test]
    fn a_level_that_is_the_share_of_a_count_is_of_its_value() {
        let mut histogram = totals::empty();
        histogram.record_n(1, 319).unwrap();
        histogram.record_n(2, 1).unwrap();
        let steps = steps(&histogram);
        let is_last_of_one = |step: &&Step| step.value == 1 && step.counted == 319;
        let last_of_one = steps.iter().rfind(is_last_of_one).unwrap();
        // 319 of 320.
        assert!((last_of_one.percentile - 99.6875).abs() < f64::EPSILON);
        // As many as HdrHistogram 2.1.11 prints.
        assert_eq!(steps.len(), 45);
    }

    #[test]
    fn nothing_is_a_distribution_without_lines() {
        insta::assert_snapshot!(distribution(&totals::empty()));
    }
}
