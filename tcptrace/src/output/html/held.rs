//! The connections held longest, as time lines of their states.

use super::{over_time, plot::class, process_name};
use crate::{
    duration::human_age,
    event::{Age, Nanos, ProcessKey, TcpState},
    output::text,
    report::{
        held::{Longest, Timeline},
        page::{Host, Part},
    },
};
use maud::{Markup, html};

pub(super) fn draw(host: &Host, part: &Part, is_all: bool) -> Markup {
    html! {
        section.held {
            h4 { "Connections held longest" }
            @if part.longest.is_empty() { p.none { "There was no connection." } } @else {
                p.note {
                    "Connections that spent the longest time opening or closing come first, then the longest-lived; at most "
                    (Longest::MOST_KEPT) ". TIME_WAIT does not count, since no process holds it."
                }
                div.lines {
                    @for timeline in &part.longest { (line(host, timeline, is_all)) }
                    div.x.time-labels aria-hidden="true" {
                        @for label in over_time::time_labels(host) { span { (label) } }
                    }
                }
                (table(host, part, is_all))
            }
        }
    }
}

/// The connection in words: whose, and its ends.
fn who(host: &Host, timeline: &Timeline, is_all: bool) -> String {
    let (local, remote) = text::both(&timeline.endpoints);
    let ends = format!("{local} – {remote}");
    match timeline.owner.filter(|_| is_all) {
        Some(owner) => format!("{} {ends}", owner_name(host, owner)),
        None => ends,
    }
}

fn owner_name(host: &Host, owner: ProcessKey) -> String {
    match host.owners.get(&owner) {
        Some(comm) => process_name(comm, owner),
        None => format!("({})", owner.pid),
    }
}

/// The position of a time on the axis of the page, in hundredths of a column.
fn position(host: &Host, time: Nanos) -> u128 {
    u128::from(time.since(host.axis.began).0) * 100 / u128::from(host.axis.width.0.max(1))
}

fn line(host: &Host, timeline: &Timeline, is_all: bool) -> Markup {
    let columns = over_time::buckets(host).max(1);
    let now = host.report.to;
    let last = timeline.dwells(now).last().map(|(state, ..)| state);
    html! {
        div.line-of {
            span.who { (who(host, timeline, is_all)) }
            span.end { @if timeline.ended.is_some() { "ended" } @else if let Some(state) = last { (state) } " " (age(timeline, now)) }
            svg.track viewBox=(format!("0 0 {columns} 10")) preserveAspectRatio="none" role="img"
                aria-label=(sentence(timeline, now)) {
                @for ((state, begin, end), age) in timeline.dwells(now).zip(ages(timeline, now)) {
                    @let (from, to) = (position(host, begin), position(host, end));
                    rect.area.(class(state)) x=(hundredths(from)) width=(hundredths(to.saturating_sub(from).max(20))) height="10" {
                        title { (state) " " (human_age(age)) }
                    }
                }
            }
        }
    }
}

fn hundredths(position: u128) -> String {
    format!("{}.{:02}", position / 100, position % 100)
}

/// How long it lasted; a lower bound where its beginning was not seen.
fn age(timeline: &Timeline, now: Nanos) -> String {
    human_age(timeline.began.age(timeline.ended.unwrap_or(now)))
}

/// How long it was in each state; a lower bound where the beginning was not seen.
fn ages(timeline: &Timeline, now: Nanos) -> impl Iterator<Item = Age> {
    timeline.dwells(now).enumerate().map(|(at, (_, begin, end))| {
        let span = end.since(begin);
        let is_seen = at > 0 || timeline.began.is_exact() && timeline.began.time() == begin;
        if is_seen {
            Age::Exact(span)
        } else {
            Age::AtLeast(span)
        }
    })
}

/// `SYN_SENT 1.00ms, ESTABLISHED 3.00s, then CLOSE_WAIT 42.0s`.
fn sentence(timeline: &Timeline, now: Nanos) -> String {
    let dwells: Vec<String> = timeline
        .dwells(now)
        .zip(ages(timeline, now))
        .map(|((state, ..), age)| format!("{state} {}", human_age(age)))
        .collect();
    dwells.join(", ")
}

/// How long it was in CLOSE_WAIT; nothing where it never was.
fn close_wait(timeline: &Timeline, now: Nanos) -> String {
    let all = timeline.dwells(now).zip(ages(timeline, now));
    let its = all.filter(|((state, ..), _)| *state == TcpState::CloseWait);
    let sum = its.map(|(_, age)| age).reduce(|sum, age| {
        let span = Nanos(sum.span().0 + age.span().0);
        if sum.is_exact() && age.is_exact() {
            Age::Exact(span)
        } else {
            Age::AtLeast(span)
        }
    });
    sum.map_or_else(String::new, human_age)
}

fn table(host: &Host, part: &Part, is_all: bool) -> Markup {
    let now = host.report.to;
    html! {
        details.numbers {
            summary { "Table: connections held longest" }
            div.scroll { table {
                thead { tr {
                    th { "Connection" } th { "States" } th.n { "In CLOSE_WAIT" } th.n { "Lasted" } th { "At the end" }
                } }
                tbody {
                    @for timeline in &part.longest {
                        tr {
                            th scope="row" { (who(host, timeline, is_all)) }
                            td.text { (sentence(timeline, now)) }
                            td { (close_wait(timeline, now)) }
                            td { (age(timeline, now)) }
                            td.left { @if timeline.ended.is_some() { "ended" } @else { "open" } }
                        }
                    }
                }
            } }
        }
    }
}
