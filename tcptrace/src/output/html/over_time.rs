//! Sockets by state and transitions over time, of all connections or of a process, and which processes had CLOSE_WAITs and
//! TIME_WAITs. Each plot is followed by the table of its numbers.

use super::{
    name,
    plot::{Frame, area, class, count_labels, height_of, rounded_up, stairs},
};
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    output::json::rfc3339,
    plural::counted,
    report::{
        gatherer::Loss,
        over_time::{Bucket, total},
        page::{Host, Part, Selection},
    },
};
use maud::{Markup, html};

/// Lines in one plot.
const MOST_LINES: usize = 8;

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The order from the bottom up: what lasts, what opens, what closes.
const STACKED: [TcpState; 11] = [
    TcpState::Listen,
    TcpState::Established,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
    TcpState::LastAck,
    TcpState::CloseWait,
    TcpState::Close,
];

/// When the first bucket begins, milliseconds since 1970.
pub(super) fn began_ms(host: &Host) -> u64 {
    wall_ns(host, 0) / 1_000_000
}

/// How long a bucket is, milliseconds.
pub(super) const fn width_ms(host: &Host) -> u64 {
    host.axis.width.0 / 1_000_000
}

/// The number of buckets.
pub(super) fn buckets(host: &Host) -> usize {
    host.parts.first().map_or(0, |part| part.buckets().len())
}

/// Wall time at which a bucket begins.
fn wall_ns(host: &Host, bucket: usize) -> u64 {
    let report = &host.report;
    let began = report.to_ns.saturating_sub(report.to.since(host.axis.began).0);
    began.saturating_add(host.axis.width.0.saturating_mul(bucket as u64))
}

pub(super) fn plots(host: &Host, part: &Part, is_all: bool) -> Markup {
    let most = part.buckets().iter().map(|bucket| total(&bucket.peak)).max();
    if most.is_none() {
        return html! {};
    }
    let width = human(host.axis.width);
    let is_lossy = !host.losses.is_empty();
    html! {
        section.times aria-label="Over time" {
            h4 { "Over time" }
            p.note {
                "Each column covers " (width) " and shows the moment with the most sockets; the table has the minimum and the \
                maximum of each state."
                @if has_seconds(host) { " For transitions, the line is the busiest second within the column." }
                @if matches!(part.subject, Selection::Others) {
                    " Maxima are upper bounds: they are those of several processes, added up."
                }
                @if is_lossy { " Grey between dashed lines: records were lost, or are missing from the recording." }
            }
            (states(host, part))
            (rate(host, part))
            (table(host, part))
            @if is_all {
                @for state in [TcpState::CloseWait, TcpState::TimeWait] { (by_process(host, state)) }
            }
        }
    }
}

/// The states that occur, from the bottom up.
fn occurring(part: &Part) -> Vec<TcpState> {
    let occurs = |state: &TcpState| part.series.most(*state) > 0;
    STACKED.into_iter().filter(occurs).collect()
}

fn states(host: &Host, part: &Part) -> Markup {
    let buckets = part.buckets();
    let most = buckets
        .iter()
        .map(|bucket| total(&bucket.peak))
        .max()
        .unwrap_or(0);
    let top = rounded_up(most);
    let mut sums = vec![0; buckets.len()];
    let mut layers = Vec::new();
    for state in occurring(part) {
        let lower: Vec<u64> = sums.iter().map(|sum| height_of(*sum, top)).collect();
        for (sum, bucket) in sums.iter_mut().zip(buckets) {
            *sum += bucket.peak[state.index()];
        }
        let upper: Vec<u64> = sums.iter().map(|sum| height_of(*sum, top)).collect();
        layers.push((state, area(&upper, &lower)));
    }
    let now = part.series.now();
    let legend = html! {
        ul.legend {
            @for (state, _) in layers.iter().rev() {
                li { (swatch(&class(*state))) (state) " " b { (now[state.index()]) } }
            }
        }
    };
    Frame {
        title: "Sockets by state (legend: layers from the top, counts at the end)".to_owned(),
        summary: format!("Sockets by state over time, {most} at most. The table below has the numbers."),
        columns: buckets.len(),
        y_labels: count_labels(top),
        x_labels: time_labels(host),
        is_time: true,
        legend,
        drawing: html! {
            @for (state, path) in &layers { path.area.(class(*state)) d=(path) { title { (state) } } }
            (lost_marks(host))
        },
    }
    .draw()
}

/// Whether buckets have whole seconds, so that one of them is the busiest.
fn has_seconds(host: &Host) -> bool {
    host.axis.width >= Nanos::from_secs(1)
}

/// Transitions per second of a bucket. The last bucket may not be over, and counts as half of one at least.
fn mean(host: &Host, at: usize, bucket: &Bucket) -> u64 {
    let width = host.axis.width.0.max(1);
    let begin = host.axis.began.0.saturating_add(width.saturating_mul(at as u64));
    let passed = host
        .report
        .to
        .0
        .saturating_sub(begin)
        .clamp(width.div_ceil(2), width);
    let scaled = u128::from(bucket.changes) * 1_000_000_000 / u128::from(passed);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn rate(host: &Host, part: &Part) -> Markup {
    let buckets = part.buckets();
    let means: Vec<u64> = buckets
        .iter()
        .enumerate()
        .map(|(at, bucket)| mean(host, at, bucket))
        .collect();
    let busiest: Vec<u64> = if has_seconds(host) {
        buckets.iter().map(|bucket| bucket.busiest).collect()
    } else {
        Vec::new()
    };
    let most = means.iter().chain(&busiest).copied().max().unwrap_or(0);
    let top = rounded_up(most);
    let heights = |rates: &[u64]| -> Vec<u64> { rates.iter().map(|rate| height_of(*rate, top)).collect() };
    let (means, busiest) = (heights(&means), heights(&busiest));
    let ground = vec![height_of(0, top); means.len()];
    Frame {
        title: "Transitions per second".to_owned(),
        summary: format!(
            "Transitions per second over time, {most} at most. The table below has the numbers."
        ),
        columns: means.len(),
        y_labels: count_labels(top),
        x_labels: time_labels(host),
        is_time: true,
        legend: html! {
            ul.legend {
                li { (swatch("rate")) "mean" }
                @if has_seconds(host) { li { (line_key_of("busiest")) "busiest second" } }
            }
        },
        drawing: html! {
            path.rate d=(area(&means, &ground)) {}
            @if has_seconds(host) { path.line.busiest d=(stairs(&busiest)) {} }
            (lost_marks(host))
        },
    }
    .draw()
}

fn table(host: &Host, part: &Part) -> Markup {
    let states = occurring(part);
    let is_lossy = !host.losses.is_empty();
    html! {
        details.numbers {
            summary { "Table: sockets and transitions over time" }
            div.scroll { table {
                thead { tr {
                    th { "From" } th.n { "Sockets" }
                    @for state in &states { th.n { (state) } }
                    th.n { "Transitions" } th.n { "Transitions/s" } @if has_seconds(host) { th.n { "Busiest second" } }
                    @if is_lossy { th.n { "Lost" } }
                } }
                tbody {
                    @for (at, bucket) in part.buckets().iter().enumerate() {
                        tr {
                            th scope="row" { (time(host, wall_ns(host, at), host.axis.width)) }
                            td { (total(&bucket.peak)) }
                            @for state in &states { td { (range(bucket, *state)) } }
                            td { (bucket.changes) } td { (mean(host, at, bucket)) }
                            @if has_seconds(host) { td { (bucket.busiest) } }
                            @if is_lossy { td { (lost_in(host, at)) } }
                        }
                    }
                }
            } }
        }
    }
}

/// `4`, or `2–9` where it changed.
fn range(bucket: &Bucket, state: TcpState) -> String {
    let (least, most) = (bucket.least[state.index()], bucket.most[state.index()]);
    if least == most {
        most.to_string()
    } else {
        format!("{least}–{most}")
    }
}

/// The sockets in one state of each process that has a part, as lines.
fn by_process(host: &Host, state: TcpState) -> Markup {
    let mut lines: Vec<(usize, &Part)> = host
        .parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.subject != Selection::All && part.series.most(state) > 0)
        .collect();
    lines.sort_by_key(|(at, part)| (std::cmp::Reverse(part.series.most(state)), *at));
    lines.truncate(MOST_LINES);
    if lines.is_empty() {
        return html! { p.none { "No socket was in " (state) "." } };
    }
    let top = rounded_up(
        lines
            .iter()
            .map(|(_, part)| part.series.most(state))
            .max()
            .unwrap_or(0),
    );
    let paths: Vec<String> = lines
        .iter()
        .map(|(_, part)| {
            let most = part.buckets().iter().map(|bucket| bucket.most[state.index()]);
            stairs(&most.map(|most| height_of(most, top)).collect::<Vec<u64>>())
        })
        .collect();
    let legend = html! {
        ul.legend {
            @for (number, (_, part)) in lines.iter().enumerate() {
                li { (line_key(number)) (name(&part.subject)) " " b { (part.series.most(state)) } }
            }
        }
    };
    let frame = Frame {
        title: format!("{state} by process (legend: maximum)"),
        summary: format!("{state} by process over time. The table below has the numbers."),
        columns: buckets(host),
        y_labels: count_labels(top),
        x_labels: time_labels(host),
        is_time: true,
        legend,
        drawing: html! {
            @for (number, path) in paths.iter().enumerate() { path.line.(format!("p{number}")) d=(path) {} }
            (lost_marks(host))
        },
    };
    html! {
        (frame.draw())
        details.numbers {
            summary { "Table: " (state) " by process" }
            div.scroll { table {
                thead { tr { th { "From" } @for (_, part) in &lines { th.n { (name(&part.subject)) } } } }
                tbody {
                    @for at in 0..buckets(host) {
                        tr {
                            th scope="row" { (time(host, wall_ns(host, at), host.axis.width)) }
                            @for (_, part) in &lines {
                                td { (part.buckets().get(at).map_or_else(|| "0".to_owned(), |bucket| range(bucket, state))) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// The buckets in which records may have been lost.
fn lost_marks(host: &Host) -> Markup {
    html! {
        @for Loss { first, last, count } in &host.losses {
            rect.lost x=(first) y="0" width=(last - first + 1) height="1000" {
                title { (counted(*count, "record")) " lost" }
            }
        }
    }
}

/// Records that were lost in a bucket, `≤12` where some of them may have been in another.
fn lost_in(host: &Host, at: usize) -> String {
    let here = host
        .losses
        .iter()
        .filter(|loss| (loss.first..=loss.last).contains(&at));
    let sum: u64 = here.clone().map(|loss| loss.count).sum();
    let is_known = here.clone().all(|loss| loss.first == loss.last);
    if is_known {
        sum.to_string()
    } else {
        format!("≤{sum}")
    }
}

/// Five times, from the first bucket to the end of the last one.
pub(super) fn time_labels(host: &Host) -> Vec<String> {
    let buckets = buckets(host);
    (0..=4)
        .map(|quarter| {
            let part = Nanos(host.axis.width.0.saturating_mul(buckets as u64) / 4);
            let wall_ns = wall_ns(host, 0).saturating_add(part.0.saturating_mul(quarter));
            time(host, wall_ns, part)
        })
        .collect()
}

/// Whether times need their date: the plots go over midnight.
pub(super) fn is_dated(host: &Host) -> bool {
    let day = |bucket| wall_ns(host, bucket) / DAY_NS;
    day(0) != day(buckets(host))
}

/// The time of day, with as many digits as `unit` needs; month and day before it where the plots go over midnight.
fn time(host: &Host, wall_ns: u64, unit: Nanos) -> String {
    let text = rfc3339(wall_ns);
    let (date, of_day) = text.split_once('T').unwrap_or(("", &text));
    let digits = if unit < Nanos::from_secs(1) { 12 } else { 8 };
    let of_day = of_day.chars().take(digits).filter(|c| *c != 'Z');
    let date = date.chars().skip("2026-".len()).chain([' ']);
    let date = date.take(if is_dated(host) { usize::MAX } else { 0 });
    date.chain(of_day).collect()
}

/// A patch of colour.
pub(super) fn swatch(class: &str) -> Markup {
    html! { svg.key viewBox="0 0 12 12" aria-hidden="true" { rect.area.(class) width="12" height="12" {} } }
}

/// A piece of a line.
pub(super) fn line_key(number: usize) -> Markup {
    line_key_of(&format!("p{number}"))
}

pub(super) fn line_key_of(class: &str) -> Markup {
    html! { svg.key.long viewBox="0 0 26 12" aria-hidden="true" { path.line.(class) d="M0 6H26" {} } }
}
