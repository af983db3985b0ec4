//! Histograms as comma-separated values: one line per measure of a group.

use super::{Picture, group_word};
use crate::{
    event::Nanos,
    output::{
        csv,
        row::{Column, TableRow, Value},
    },
    stats::report::{Group, Spans, greatest_bound},
};
use hdrhistogram::Histogram;

struct MeasureRow<'a> {
    by: &'static str,
    group: &'a Group,
    spans: &'a Spans,
}

pub(crate) fn titles() -> String {
    csv::line(csv::titles::<MeasureRow<'_>>())
}

/// Every row of the report.
#[must_use]
pub fn rows(picture: &Picture<'_>) -> String {
    let mut text = String::new();
    for group in &picture.report.groups {
        for measure in picture.measures {
            if let Some(spans) = &group.spans(*measure) {
                let by = picture.report.by.name();
                csv::push_row(&mut text, &MeasureRow { by, group, spans });
            }
        }
    }
    text
}

impl TableRow for MeasureRow<'_> {
    fn columns<'r>() -> &'r [Column<Self>]
    where
        Self: 'r,
    {
        &[
            ("host", |row| row.group.host.as_deref().into()),
            ("by", |row| row.by.into()),
            ("group", |row| group_word(row.group.who).into()),
            ("key", |row| row.group.title().into()),
            ("state", |row| row.spans.measure.name().into()),
            ("count", |row| row.spans.finished.len().into()),
            ("min_ns", |row| of_any(&row.spans.finished, Histogram::min)),
            ("p50_ns", |row| quantile(&row.spans.finished, 0.5)),
            ("p90_ns", |row| quantile(&row.spans.finished, 0.9)),
            ("p99_ns", |row| quantile(&row.spans.finished, 0.99)),
            ("p999_ns", |row| quantile(&row.spans.finished, 0.999)),
            ("max_ns", |row| of_any(&row.spans.finished, Histogram::max)),
            ("lower_bounds", |row| row.spans.lower_bounds.len().into()),
            ("lower_bounds_max_ns", |row| greatest(&row.spans.lower_bounds)),
            ("open", |row| row.spans.open.len().into()),
            ("open_p50_ns", |row| quantile(&row.spans.open, 0.5)),
            ("open_max_ns", |row| of_any(&row.spans.open, Histogram::max)),
            ("open_lower_bounds", |row| {
                row.spans.open_lower_bounds.len().into()
            }),
            ("open_lower_bounds_max_ns", |row| {
                greatest(&row.spans.open_lower_bounds)
            }),
            ("median_survival_ns", |row| {
                row.spans.curve.median().map(|age| age.0).into()
            }),
            ("share_after_1s", |row| share_after(row, 1)),
            ("share_after_60s", |row| share_after(row, 60)),
            ("share_after_600s", |row| share_after(row, 600)),
        ]
    }
}

/// A value of a histogram that has any.
fn of_any<'a>(histogram: &Histogram<u64>, ns: impl FnOnce(&Histogram<u64>) -> u64) -> Value<'a> {
    (!histogram.is_empty()).then(|| ns(histogram)).into()
}

fn quantile<'a>(histogram: &Histogram<u64>, share: f64) -> Value<'a> {
    of_any(histogram, |histogram| histogram.value_at_quantile(share))
}

fn greatest<'a>(bounds: &Histogram<u64>) -> Value<'a> {
    of_any(bounds, |bounds| greatest_bound(bounds).0)
}

fn share_after<'a>(row: &MeasureRow<'_>, seconds: u64) -> Value<'a> {
    let share = row.spans.curve.share_after(Nanos::from_secs(seconds));
    share.map(|share| format!("{share:.6}")).into()
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
            titles(),
            written(&examples::empty(), &[]),
            written(&examples::ordinary(), &[]),
            written(&examples::by_endpoint(), &[TcpState::CloseWait]),
            written(&examples::by_cgroup(), &[TcpState::CloseWait]),
        ]
        .concat();
        let columns = titles().split(',').count();
        assert!(all.lines().all(|line| line.split(',').count() == columns));
        let overfull = written(&examples::overfull(), &[TcpState::Closing]);
        let all = all + &overfull;
        insta::assert_snapshot!(all);
    }
}
