//! Histograms as text, within 80 columns: one line per measure, then bars, survival, and durations that began before.

use super::{Picture, bars, points};
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    stats::{
        key::By,
        measure::Measure,
        report::{Group, Report, Spans, Who, greatest_bound},
    },
};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

const COLUMNS: usize = 80;

/// Draws the whole report.
#[must_use]
pub fn draw(picture: &Picture<'_>) -> String {
    let mut text = String::new();
    if let Some(watched) = picture.watched {
        let _ = writeln!(text, "time in each state, watched {}", human(watched));
    }
    let (everybody, each): (Vec<&Group>, Vec<&Group>) = picture
        .report
        .groups
        .iter()
        .partition(|group| group.who == Who::All);
    for group in &everybody {
        if everybody.len() > 1 || group.host.is_some() {
            let host = group.host.as_deref().unwrap_or("all hosts");
            let _ = writeln!(text, "\n{}", clip(host));
        }
        let rows = rows(group, picture.measures);
        if rows.is_empty() {
            text.push_str("nothing matched\n");
            continue;
        }
        push_table(&mut text, &rows);
        // Where there are several, the sum is looked at in detail.
        if group.host.is_none() || everybody.len() == 1 {
            for spans in &rows {
                push_detail(&mut text, spans);
            }
        }
    }
    push_each(&mut text, picture, &each);
    text
}

fn push_each(text: &mut String, picture: &Picture<'_>, each: &[&Group]) {
    let shown: Vec<(&&Group, Vec<Spans>)> = each
        .iter()
        .filter(|group| group.who != Who::Rest)
        .map(|group| (group, rows(group, picture.measures)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let left_out = shown.len().saturating_sub(picture.top);
    for (group, rows) in shown.iter().take(picture.top) {
        let Who::One(named) = group.who else { continue };
        let mut title = group.title();
        if let Some(netns) = named.key.netns().filter(|_| has_several_netns(picture.report)) {
            let _ = write!(title, " in network namespace {netns}");
        }
        if let Some(host) = &group.host {
            let _ = write!(title, " on {host}");
        }
        let _ = writeln!(text, "\n{}", clip(&title));
        push_table(text, rows);
        for spans in rows {
            if !spans.open.is_empty() {
                push_survival(text, spans, "");
            }
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "\nand {left_out} more; --top shows more, --json all");
    }
    for group in each.iter().filter(|group| group.who == Who::Rest) {
        let rows = rows(group, picture.measures);
        if !rows.is_empty() {
            let on = group
                .host
                .as_ref()
                .map_or_else(String::new, |host| format!(" on {host}"));
            let _ = writeln!(text, "\n{}", clip(&format!("less active ones combined{on}")));
            push_table(text, &rows);
        }
    }
    if picture.report.by != By::State && shown.is_empty() && left_out == 0 {
        let _ = writeln!(text, "\nno {} to group by", picture.report.by.name());
    }
}

fn rows(group: &Group, measures: &[Measure]) -> Vec<Spans> {
    measures
        .iter()
        .filter_map(|measure| group.spans(*measure))
        .collect()
}

fn has_several_netns(report: &Report) -> bool {
    let mut seen = report.groups.iter().filter_map(|group| match group.who {
        Who::One(named) => named.key.netns(),
        Who::All | Who::Rest => None,
    });
    let first = seen.next();
    seen.any(|netns| Some(netns) != first)
}

fn push_table(text: &mut String, rows: &[Spans]) {
    let _ = writeln!(
        text,
        "{:<11} {:>8} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}",
        "STATE", "COUNT", "MIN", "P50", "P90", "P99", "P99.9", "MAX", "OPEN", "OLDEST"
    );
    for spans in rows {
        let finished = &spans.finished;
        let value = |ns: u64| {
            if finished.is_empty() {
                "-".to_owned()
            } else {
                human(Nanos(ns))
            }
        };
        let quantile = |share: f64| value(finished.value_at_quantile(share));
        let open = spans.open.len() + spans.open_lower_bounds.len();
        let _ = writeln!(
            text,
            "{:<11} {:>8} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {open:>6} {:>7}",
            spans.measure.name(),
            finished.len(),
            value(finished.min()),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            value(finished.max()),
            oldest(spans),
        );
    }
}

/// The greatest age of what is still there; `>` where any of it began before the tracer did: that one may be older.
fn oldest(spans: &Spans) -> String {
    let (exact, at_least) = (&spans.open, &spans.open_lower_bounds);
    let greatest = Nanos(exact.max());
    match (exact.is_empty(), at_least.is_empty()) {
        (true, true) => "-".to_owned(),
        (false, true) => human(greatest),
        (_, false) => format!(">{}", human(greatest.max(greatest_bound(at_least)))),
    }
}

fn push_detail(text: &mut String, spans: &Spans) {
    // Listeners are meant to stay, and handshakes are parts of their states.
    if matches!(
        spans.measure,
        Measure::Dwell(TcpState::Listen) | Measure::Handshake(_)
    ) {
        return;
    }
    let _ = writeln!(text, "\n{}", spans.measure.name());
    if !spans.finished.is_empty() || !spans.open.is_empty() {
        bars::push_titles(text);
        bars::push(text, spans);
    }
    let range = |histogram: &Histogram<u64>| {
        format!(
            "p50 {}, oldest {}",
            human(Nanos(histogram.value_at_quantile(0.5))),
            human(Nanos(histogram.max()))
        )
    };
    if !spans.open.is_empty() {
        let _ = writeln!(
            text,
            "  still open: {}, ages {}",
            spans.open.len(),
            range(&spans.open)
        );
    }
    if !spans.open_lower_bounds.is_empty() {
        let _ = writeln!(
            text,
            "  still open, start before the trace: {}, at least {}",
            spans.open_lower_bounds.len(),
            human(greatest_bound(&spans.open_lower_bounds))
        );
    }
    if !spans.lower_bounds.is_empty() {
        let _ = writeln!(
            text,
            "  ended, start not seen: {}, the longest at least {}",
            spans.lower_bounds.len(),
            human(greatest_bound(&spans.lower_bounds))
        );
    }
    push_survival(text, spans, "  ");
}

/// An age that fewer connections reached is not representative.
const FEW: u64 = 5;

/// The survival curve in a sentence: when half have left, and the share at the greatest round age that more than a few
/// were watched for, or any where that is none.
fn push_survival(text: &mut String, spans: &Spans, indent: &str) {
    let subject = match spans.measure {
        Measure::Dwell(state) => format!("in {state}"),
        Measure::Lifetime | Measure::Handshake(_) => "there".to_owned(),
    };
    let points = points(spans);
    let watched_by = |many: u64| points.iter().rfind(|point| point.at_risk >= many);
    let Some(last) = watched_by(FEW).or_else(|| watched_by(1)) else {
        return;
    };
    let _ = write!(
        text,
        "{indent}after {}, {} are still {subject}",
        round(last.after_ns),
        percent(last.share)
    );
    match spans.curve.median() {
        Some(median) => {
            let _ = writeln!(text, "; median {}", human(median));
        }
        None => text.push_str("; fewer than half have ended\n"),
    }
}

/// A round age in its natural unit.
fn round(age: Nanos) -> String {
    match age.0 / 1_000 {
        us @ ..1_000 => format!("{us} µs"),
        us @ 1_000..1_000_000 => format!("{} ms", us / 1_000),
        us @ 1_000_000..300_000_000 => format!("{} s", us / 1_000_000),
        us @ 300_000_000..3_600_000_000 => format!("{} min", us / 60_000_000),
        us => format!("{} h", us / 3_600_000_000),
    }
}

/// Whole per cents; a rest that is neither nothing nor all is not shown as that.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share > 0.0 && percent < 1.0 {
        "less than 1 %".to_owned()
    } else if share < 1.0 && percent > 99.0 {
        "more than 99 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

fn clip(title: &str) -> String {
    if title.chars().count() <= COLUMNS {
        return title.to_owned();
    }
    let head: String = title.chars().take(COLUMNS - 1).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::{super::examples, *};
    use crate::stats::{bins::Bins, measure::Kind};

    fn drawn(report: &Report, states: &[TcpState], top: usize) -> String {
        let text = draw(&Picture {
            report,
            measures: &super::super::measures(states),
            watched: Some(Nanos::from_secs(120)),
            top,
        });
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        text
    }

    #[test]
    fn a_report_of_nothing_says_so() {
        insta::assert_snapshot!(drawn(&examples::empty(), &[], 10));
    }

    #[test]
    fn a_leak_is_seen() {
        insta::assert_snapshot!(drawn(&examples::ordinary(), &[], 10));
    }

    #[test]
    fn endpoints_of_ipv6_fit() {
        insta::assert_snapshot!(drawn(&examples::by_endpoint(), &[TcpState::CloseWait], 10));
    }

    #[test]
    fn cgroups_are_called_by_their_paths() {
        insta::assert_snapshot!(drawn(&examples::by_cgroup(), &[TcpState::CloseWait], 10));
    }

    #[test]
    fn an_overfull_report_says_what_is_missing() {
        insta::assert_snapshot!(drawn(&examples::overfull(), &[], 2));
    }

    #[test]
    fn the_oldest_is_a_lower_bound_where_any_is() {
        let seconds = Nanos::from_secs;
        let close_wait = Measure::Dwell(TcpState::CloseWait);
        for (bounds, expected) in [(&[][..], "3.0"), (&[2][..], ">3.0"), (&[2, 25][..], ">2")] {
            let mut cells = Bins::default();
            cells.record(close_wait, Kind::Open, seconds(3));
            for bound in bounds {
                cells.record(close_wait, Kind::OpenLowerBound, seconds(*bound));
            }
            let mut report = Report::default();
            report.take_total(&cells);
            let text = drawn(&report, &[], 10);
            let row = text.lines().find(|line| line.starts_with("CLOSE_WAIT")).unwrap();
            let oldest = row.split_whitespace().last().unwrap();
            assert!(oldest.starts_with(expected), "{oldest} {bounds:?}");
        }
    }

    #[test]
    fn per_cents_do_not_round_to_nothing_or_all() {
        assert_eq!(percent(0.38), "38 %");
        assert_eq!(percent(0.001), "less than 1 %");
        assert_eq!(percent(0.999), "more than 99 %");
        assert_eq!(
            (percent(0.0), percent(1.0)),
            ("0 %".to_owned(), "100 %".to_owned())
        );
    }
}
