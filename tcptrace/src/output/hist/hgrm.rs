//! A percentile distribution as HdrHistogram's `outputPercentileDistribution` prints it and its plotter takes it
//! (`GoogleChartsExample/plotFiles.html`: a line counts where it has four numbers; all of a file are one curve).

use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Nanoseconds in the plotter's unit, milliseconds.
const UNIT_RATIO: f64 = 1e6;

/// Steps for each halving of the distance to 100 %, HistogramLogProcessor's default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The distribution, values in milliseconds. HdrHistogram prints as many decimals as it has significant digits;
/// six keep microseconds apart.
#[must_use]
pub fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut counted = 0;
    if !histogram.is_empty() {
        for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            let quantile = step.quantile_iterated_to();
            counted += step.count_since_last_iteration();
            let _ = write!(
                text,
                "{:>12.6} {quantile:.12} {counted:>10}",
                millis(step.value_iterated_to()),
            );
            if quantile < 1.0 {
                let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
            }
            text.push('\n');
        }
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
    fn nothing_is_a_distribution_without_lines() {
        insta::assert_snapshot!(distribution(&totals::empty()));
    }
}
