//! Histograms as comma-separated values: one line a measure of a group.

use super::{Picture, QUANTILES, group_word};
use crate::{
    event::Nanos,
    output::csv::quoted,
    stats::report::{Group, Spans, greatest_bound},
};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// The titles of [`rows`].
pub const TITLES: &str = "host,by,group,key,state,count,min_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,lower_bounds,lower_bounds_max_ns,open,open_p50_ns,open_max_ns,open_lower_bounds,open_lower_bounds_max_ns,half_left_after_ns,share_after_1s,share_after_60s,share_after_600s\n";

/// The ages of the last columns.
const AGES: [Nanos; 3] = [Nanos::from_secs(1), Nanos::from_secs(60), Nanos::from_secs(600)];

/// Every row of the report.
#[must_use]
pub fn rows(picture: &Picture<'_>) -> String {
    let mut text = String::new();
    for group in &picture.report.groups {
        for measure in picture.measures {
            if let Some(spans) = group.spans(*measure) {
                push_row(&mut text, picture.report.by.name(), group, &spans);
            }
        }
    }
    text
}

fn push_row(text: &mut String, by: &str, group: &Group, spans: &Spans) {
    let finished = &spans.finished;
    let _ = write!(
        text,
        "{},{by},{},{},{},{},{}",
        quoted(group.host.as_deref().unwrap_or_default()),
        group_word(group.who),
        quoted(&group.title()),
        spans.measure.name(),
        finished.len(),
        value(finished, finished.min()),
    );
    for (_, share) in QUANTILES {
        let _ = write!(text, ",{}", value(finished, finished.value_at_quantile(share)));
    }
    let (lower, open, older) = (&spans.lower_bounds, &spans.open, &spans.open_lower_bounds);
    let _ = write!(
        text,
        ",{},{},{},{},{},{},{},{},{}",
        value(finished, finished.max()),
        lower.len(),
        value(lower, greatest_bound(lower).0),
        open.len(),
        value(open, open.value_at_quantile(0.5)),
        value(open, open.max()),
        older.len(),
        value(older, greatest_bound(older).0),
        spans
            .curve
            .median()
            .map_or_else(String::new, |age| age.0.to_string()),
    );
    for age in AGES {
        let share = spans.curve.share_after(age);
        let share = share.map_or_else(String::new, |share| format!("{share:.6}"));
        let _ = write!(text, ",{share}");
    }
    text.push('\n');
}

/// Empty where there was nothing.
fn value(histogram: &Histogram<u64>, ns: u64) -> String {
    if histogram.is_empty() {
        String::new()
    } else {
        ns.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::examples, *};
    use crate::{event::TcpState, stats::report::Report};

    #[test]
    fn rows_have_the_columns_of_the_titles() {
        let written = |report: &Report, states: &[TcpState]| {
            rows(&Picture {
                report,
                measures: &super::super::measures(states),
                watched: None,
                top: 0,
            })
        };
        let all = [
            TITLES.to_owned(),
            written(&examples::empty(), &[]),
            written(&examples::ordinary(), &[]),
            written(&examples::by_endpoint(), &[TcpState::CloseWait]),
            written(&examples::by_cgroup(), &[TcpState::CloseWait]),
        ]
        .concat();
        let columns = TITLES.split(',').count();
        assert!(all.lines().all(|line| line.split(',').count() == columns));
        let overfull = written(&examples::overfull(), &[TcpState::Closing]);
        let all = all + &overfull;
        insta::assert_snapshot!(all);
    }
}
