//! How long states last: the survival curves of dwell times, histograms with what is still open shown apart, and the table
//! of both, as `hist` has them.

use super::{
    over_time::line_key_of,
    plot::{self, Frame, HEIGHT, LogAxis},
};
use crate::{
    duration::human,
    event::{Nanos, TcpState},
    report::page::Part,
    stats::{
        measure::Measure,
        report::{Spans, greatest_bound},
    },
};
use hdrhistogram::Histogram;
use maud::{Markup, html};
use std::fmt::Write as _;

/// Bars of a histogram in each power of ten.
const BARS: u32 = 4;

/// Width of a bar, in units of the axis.
const BAR: usize = 300 / BARS as usize;

/// Half of a histogram's height: what has ended above the line, what is open below.
const HALF: u64 = HEIGHT / 2;

pub(super) fn draw(part: &Part) -> Markup {
    let spans: Vec<&Spans> = part
        .spans
        .iter()
        .filter(|spans| of_state(spans).is_some())
        .collect();
    let known = spans
        .iter()
        .flat_map(|spans| [&spans.finished, &spans.open, &spans.open_lower_bounds]);
    let ends = known
        .filter(|histogram| !histogram.is_empty())
        .flat_map(|histogram| [Nanos(histogram.min()), Nanos(histogram.max())]);
    let Some(axis) = LogAxis::of(ends) else {
        return html! { section { h4 { "Time in each state" } p.none { "No duration is known." } } };
    };
    html! {
        section.durations {
            h4 { "Time in each state" }
            (curves(&spans, axis))
            (curve_table(&spans, axis))
            (histograms(&spans, axis))
            (table(part))
        }
    }
}

/// The state whose dwells these are; listeners are no connections.
const fn of_state(spans: &Spans) -> Option<TcpState> {
    match spans.measure {
        Measure::Dwell(TcpState::Listen) | Measure::Lifetime | Measure::Handshake(_) => None,
        Measure::Dwell(state) => Some(state),
    }
}

/// `s-close-wait`, of a measure that is a state's.
fn class(spans: &Spans) -> String {
    of_state(spans).map_or_else(String::new, plot::class)
}

fn curves(spans: &[&Spans], axis: LogAxis) -> Markup {
    let drawn: Vec<(&&Spans, String)> = spans
        .iter()
        .map(|spans| (spans, staircase(spans, axis)))
        .filter(|(_, path)| !path.is_empty())
        .collect();
    let legend = html! {
        ul.legend {
            @for (spans, _) in &drawn {
                li {
                    (line_key_of(&class(spans))) (spans.measure.name())
                    @if let Some(median) = spans.curve.median() { " " b { (human(median)) } }
                }
            }
        }
    };
    Frame {
        title: "Share still in the state after a time (legend: medians)".to_owned(),
        summary: "Survival curves of the time in each state. The table below has the numbers.".to_owned(),
        columns: axis.columns(),
        y_labels: [100, 75, 50, 25, 0].map(|percent| format!("{percent}%")).to_vec(),
        x_labels: axis.labels(),
        is_time: false,
        legend,
        drawing: html! {
            @for (spans, path) in &drawn {
                path.line.(class(spans)) d=(path) { title { (spans.measure.name()) } }
            }
        },
    }
    .draw()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of the height"
)]
fn height(share: f64) -> u64 {
    HEIGHT - (share.clamp(0.0, 1.0) * 1_000.0).round() as u64
}

/// The curve; steps of less than 1 part in 250 of the height are joined.
fn staircase(spans: &Spans, axis: LogAxis) -> String {
    let curve = &spans.curve;
    if curve.watched_to == Nanos(0) {
        return String::new();
    }
    let mut path = String::from("M0 0");
    let mut drawn = 0;
    let mut pending = None;
    for step in &curve.steps {
        let (x, y) = (axis.position(step.age), height(step.share));
        if y >= drawn + 4 || step.share == 0.0 {
            let _ = write!(path, "H{x}V{y}");
            drawn = y;
            pending = None;
        } else {
            pending = Some((x, y));
        }
    }
    if let Some((x, y)) = pending {
        let _ = write!(path, "H{x}V{y}");
    }
    let _ = write!(path, "H{}", axis.position(curve.watched_to));
    path
}

fn curve_table(spans: &[&Spans], axis: LogAxis) -> Markup {
    html! {
        details.numbers {
            summary { "Table: share still in the state after a time" }
            div.scroll { table {
                thead { tr { th { "After" } @for spans in spans { th.n { (spans.measure.name()) } } } }
                tbody {
                    @for step in axis.steps() {
                        tr data-x=(axis.position(step)) {
                            th scope="row" { (human(step)) }
                            @for spans in spans {
                                td { @if let Some(share) = spans.curve.share_after(step) { (percent(share)) } }
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A bar of a histogram: how many ended, and how many are open.
#[derive(Clone, Copy, Default)]
struct Bar {
    ended: u64,
    open: u64,
}

/// The bars of one state; lower bounds count where they are, and are in the table.
fn bars(spans: &Spans, axis: LogAxis) -> Vec<Bar> {
    let mut bars = vec![Bar::default(); axis.columns() / BAR];
    let mut add = |histogram: &Histogram<u64>, count_of: fn(&mut Bar) -> &mut u64| {
        for step in histogram.iter_recorded() {
            let at = axis.position(Nanos(step.value_iterated_to())) / BAR;
            let last = bars.len() - 1;
            *count_of(&mut bars[at.min(last)]) += step.count_since_last_iteration();
        }
    };
    add(&spans.finished, |bar| &mut bar.ended);
    add(&spans.open, |bar| &mut bar.open);
    add(&spans.open_lower_bounds, |bar| &mut bar.open);
    bars
}

fn histograms(spans: &[&Spans], axis: LogAxis) -> Markup {
    let each: Vec<(&&Spans, Vec<Bar>)> = spans.iter().map(|spans| (spans, bars(spans, axis))).collect();
    let powers: Vec<Nanos> = axis.powers().collect();
    html! {
        p.note { "Histograms: above the line what has ended, below it what is still open, each on a scale of its own." }
        div.histograms { @for (spans, bars) in &each { (histogram(spans, bars, axis)) } }
        details.numbers {
            summary { "Table: histograms" }
            div.scroll { table {
                thead { tr {
                    th { "Up to" }
                    @for (spans, _) in &each { th.n { (spans.measure.name()) ", ended" } th.n { "open" } }
                } }
                tbody {
                    @for (at, power) in powers.iter().skip(1).enumerate() {
                        @let bars_of = at * BARS as usize..(at + 1) * BARS as usize;
                        tr {
                            th scope="row" { (human(*power)) }
                            @for (_, bars) in &each {
                                @let sum = sum(&bars[bars_of.clone()]);
                                td { (sum.ended) } td { (sum.open) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn sum(bars: &[Bar]) -> Bar {
    bars.iter().fold(Bar::default(), |sum, bar| Bar {
        ended: sum.ended + bar.ended,
        open: sum.open + bar.open,
    })
}

/// What has ended is above the line and what is open below, each on a scale of its own.
fn histogram(spans: &Spans, bars: &[Bar], axis: LogAxis) -> Markup {
    let scale = |count: u64, most: u64| (count * HALF).div_ceil(most.max(1)).min(HALF);
    let most_ended = bars.iter().map(|bar| bar.ended).max().unwrap_or(0);
    let most_open = bars.iter().map(|bar| bar.open).max().unwrap_or(0);
    let sums = sum(bars);
    let view = format!("0 0 {} {HEIGHT}", axis.columns());
    let class = class(spans);
    html! {
        figure.histogram {
            figcaption { b { (spans.measure.name()) } " " (sums.ended) " ended, " (sums.open) " open" }
            svg viewBox=(view) preserveAspectRatio="none" role="img"
                aria-label=(format!("Histogram of the time in {}. The table below has the numbers.", spans.measure.name())) {
                line.axis x1="0" x2=(axis.columns()) y1=(HALF) y2=(HALF) {}
                @for (at, bar) in bars.iter().enumerate() {
                    @if bar.ended > 0 {
                        rect.area.(class) x=(at * BAR + 4) width=(BAR - 8)
                            y=(HALF - scale(bar.ended, most_ended)) height=(scale(bar.ended, most_ended)) {
                            title { (bar.ended) " ended" }
                        }
                    }
                    @if bar.open > 0 {
                        rect.open.(class) x=(at * BAR + 4) width=(BAR - 8)
                            y=(HALF) height=(scale(bar.open, most_open)) { title { (bar.open) " still open" } }
                    }
                }
            }
            div.x aria-hidden="true" { @for label in ends(&axis.labels()) { span { (label) } } }
        }
    }
}

/// The first, the middle and the last label.
fn ends(labels: &[String]) -> Vec<&String> {
    let middle = labels.len() / 2;
    let is_even = labels.len().is_multiple_of(2);
    [
        labels.first(),
        labels.get(middle).filter(|_| !is_even),
        labels.last(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn row_name(measure: Measure) -> &'static str {
    match measure {
        Measure::Lifetime => "whole lifetime",
        Measure::Dwell(_) | Measure::Handshake(_) => measure.name(),
    }
}

fn table(part: &Part) -> Markup {
    html! {
        p.note { "The whole lifetime of a connection is from its first SYN to its end." }
        div.scroll { table.durations {
            thead { tr {
                th { "State" } th.n { "Ended" } th.n { "Median" } th.n { "p90" } th.n { "p99" } th.n { "Longest" }
                th.n { "Ended, lower bounds" } th.n { "Still open" } th.n { "Oldest open" }
            } }
            tbody {
                @for spans in &part.spans {
                    @let open = spans.open.len() + spans.open_lower_bounds.len();
                    tr data-measure=(spans.measure.name()) {
                        th scope="row" { (row_name(spans.measure)) }
                        td data-field="ended" { (spans.finished.len()) }
                        @for quantile in [0.5, 0.9, 0.99, 1.0] {
                            td { @if !spans.finished.is_empty() { (human(Nanos(spans.finished.value_at_quantile(quantile)))) } }
                        }
                        td { (spans.lower_bounds.len()) }
                        td { (open) }
                        td { @if let Some(oldest) = oldest(spans) { (oldest) } }
                    }
                }
            }
        } }
    }
}

/// The greatest age; a lower bound if the oldest is one.
fn oldest(spans: &Spans) -> Option<String> {
    let exact = (!spans.open.is_empty()).then(|| Nanos(spans.open.max()));
    let bound = (!spans.open_lower_bounds.is_empty()).then(|| greatest_bound(&spans.open_lower_bounds));
    match (exact, bound) {
        (Some(exact), Some(bound)) if bound >= exact => Some(format!(">{}", human(bound))),
        (Some(exact), _) => Some(human(exact)),
        (None, bound) => bound.map(|bound| format!(">{}", human(bound))),
    }
}
