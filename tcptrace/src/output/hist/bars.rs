//! A histogram as bars for the terminal: rows of round durations.

use crate::{event::Nanos, stats::report::Spans};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Round durations: the lower ends of rows. Those marked are used where finer rows would be too many.
const EDGES: [(&str, u64, bool); 38] = [
    ("0", 0, true),
    ("1µs", 1_000, true),
    ("2µs", 2_000, false),
    ("5µs", 5_000, false),
    ("10µs", 10_000, true),
    ("20µs", 20_000, false),
    ("50µs", 50_000, false),
    ("100µs", 100_000, true),
    ("200µs", 200_000, false),
    ("500µs", 500_000, false),
    ("1ms", 1_000_000, true),
    ("2ms", 2_000_000, false),
    ("5ms", 5_000_000, false),
    ("10ms", 10_000_000, true),
    ("20ms", 20_000_000, false),
    ("50ms", 50_000_000, false),
    ("100ms", 100_000_000, true),
    ("200ms", 200_000_000, false),
    ("500ms", 500_000_000, false),
    ("1s", SECOND, true),
    ("2s", 2 * SECOND, false),
    ("5s", 5 * SECOND, false),
    ("10s", 10 * SECOND, true),
    ("20s", 20 * SECOND, false),
    ("30s", 30 * SECOND, false),
    ("1m", MINUTE, true),
    ("2m", 2 * MINUTE, false),
    ("5m", 5 * MINUTE, false),
    ("10m", 10 * MINUTE, true),
    ("20m", 20 * MINUTE, false),
    ("30m", 30 * MINUTE, false),
    ("1h", HOUR, true),
    ("2h", 2 * HOUR, false),
    ("5h", 5 * HOUR, false),
    ("12h", 12 * HOUR, false),
    ("1d", 24 * HOUR, true),
    ("7d", 168 * HOUR, true),
    ("30d", 720 * HOUR, true),
];
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Rows, at most, as long as coarse ones do.
const ROWS: usize = 12;

/// Columns of the longest bar.
const WIDTH: u64 = 44;

struct Row {
    from: &'static str,
    to: &'static str,
    finished: u64,
    open: u64,
}

/// Appends a row for each span between two round durations, from the first to the last that has anything: finished
/// ones as `█`, ages so far as `░`, each with its count.
pub(crate) fn push(out: &mut String, spans: &Spans) {
    let fine = rows(spans, |_| true);
    let rows = if fine.len() > ROWS {
        rows(spans, |is_coarse| is_coarse)
    } else {
        fine
    };
    let most = rows.iter().map(|row| row.finished + row.open).max().unwrap_or(0);
    for row in &rows {
        let span = if row.to.is_empty() {
            format!("{} and more", row.from)
        } else {
            format!("{} to {}", row.from, row.to)
        };
        let finished = bar(row.finished, most, "█");
        let open = bar(row.open, most, "░");
        let mut line = format!(
            "  {span:>14} {:>9} {:>7} {finished}{open}",
            row.finished, row.open
        );
        line.truncate(line.trim_end().len());
        let _ = writeln!(out, "{line}");
    }
}

pub(crate) fn push_titles(out: &mut String) {
    let _ = writeln!(out, "  {:>14} {:>9} {:>7}", "", "FINISHED", "OPEN");
}

fn rows(spans: &Spans, is_used: impl Fn(bool) -> bool) -> Vec<Row> {
    let edges: Vec<(&str, u64)> = EDGES
        .into_iter()
        .filter(|(_, _, is_coarse)| is_used(*is_coarse))
        .map(|(label, from, _)| (label, from))
        .collect();
    let mut rows: Vec<Row> = Vec::new();
    for (number, (from, at)) in edges.iter().enumerate() {
        let (to, end) = edges.get(number + 1).copied().unwrap_or(("", u64::MAX));
        rows.push(Row {
            from,
            to,
            finished: count_between(&spans.finished, Nanos(*at), Nanos(end)),
            open: count_between(&spans.open, Nanos(*at), Nanos(end)),
        });
    }
    let has_any = |row: &Row| row.finished + row.open > 0;
    let Some(first) = rows.iter().position(has_any) else {
        return Vec::new();
    };
    let after = rows.iter().rposition(has_any).map_or(first, |last| last + 1);
    rows.truncate(after);
    rows.drain(..first);
    rows
}

/// Counts each bucket once, where its highest value is, as percentiles do.
fn count_between(histogram: &Histogram<u64>, from: Nanos, to: Nanos) -> u64 {
    histogram
        .iter_recorded()
        .filter(|step| (from.0..to.0).contains(&step.value_iterated_to()))
        .map(|step| step.count_since_last_iteration())
        .sum()
}

/// Proportional, and at least one cell for a count above 0.
fn bar(count: u64, most: u64, mark: &str) -> String {
    if count == 0 {
        return String::new();
    }
    let length = u128::from(count) * u128::from(WIDTH) / u128::from(most.max(1));
    mark.repeat(usize::try_from(length).unwrap_or_default().max(1))
}
