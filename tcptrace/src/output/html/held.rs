//! The connections held longest, as time lines of their states.

use super::{over_time, plot::class};
use crate::{
    duration::{human, human_age},
    event::{Age, Nanos, ProcessKey, TcpState},
    output::text,
    report::{
        held::{Longest, Path},
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
                    (Longest::MOST) ". TIME_WAIT does not count, since no process holds it."
                }
                div.lines {
                    @for path in &part.longest { (line(host, path, is_all)) }
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
fn who(host: &Host, path: &Path, is_all: bool) -> String {
    let (local, remote) = text::both(&path.endpoints);
    let ends = format!("{local} – {remote}");
    match path.owner.filter(|_| is_all) {
        Some(owner) => format!("{} {ends}", owner_name(host, owner)),
        None => ends,
    }
}

fn owner_name(host: &Host, owner: ProcessKey) -> String {
    match host.owners.get(&owner) {
        Some(comm) => format!("{comm} ({})", owner.pid),
        None => format!("({})", owner.pid),
    }
}

/// The position of a time on the axis of the page, in hundredths of a column.
fn position(host: &Host, time: Nanos) -> u128 {
    u128::from(time.since(host.axis.began).0) * 100 / u128::from(host.axis.width.0.max(1))
}

fn line(host: &Host, path: &Path, is_all: bool) -> Markup {
    let columns = over_time::buckets(host).max(1);
    let now = host.report.to;
    let last = path.stays(now).last().map(|(state, ..)| state);
    html! {
        div.line-of {
            span.who { (who(host, path, is_all)) }
            span.end { @if path.ended.is_some() { "ended" } @else if let Some(state) = last { (state) } " " (age(path, now)) }
            svg.track viewBox=(format!("0 0 {columns} 10")) preserveAspectRatio="none" role="img"
                aria-label=(sentence(path, now)) {
                @for (state, begin, end) in path.stays(now) {
                    @let (from, to) = (position(host, begin), position(host, end));
                    rect.area.(class(state)) x=(hundredths(from)) width=(hundredths(to.saturating_sub(from).max(20))) height="10" {
                        title { (state) " " (human(end.since(begin))) }
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
fn age(path: &Path, now: Nanos) -> String {
    human_age(path.began.age(path.ended.unwrap_or(now)))
}

/// `SYN_SENT 1.00ms, ESTABLISHED 3.00s, then CLOSE_WAIT 42.0s`.
fn sentence(path: &Path, now: Nanos) -> String {
    let stays: Vec<String> = path
        .stays(now)
        .enumerate()
        .map(|(at, (state, begin, end))| {
            let span = end.since(begin);
            let is_seen = at > 0 || path.began.is_exact() && path.began.time() == begin;
            let span = if is_seen {
                Age::Exact(span)
            } else {
                Age::AtLeast(span)
            };
            format!("{state} {}", human_age(span))
        })
        .collect();
    stays.join(", ")
}

fn table(host: &Host, part: &Part, is_all: bool) -> Markup {
    let now = host.report.to;
    let close_wait = |path: &Path| -> u64 {
        let stays = path
            .stays(now)
            .filter(|(state, ..)| *state == TcpState::CloseWait);
        stays.map(|(_, begin, end)| end.since(begin).0).sum()
    };
    html! {
        details.numbers {
            summary { "Table: connections held longest" }
            div.scroll { table {
                thead { tr {
                    th { "Connection" } th { "States" } th.n { "In CLOSE_WAIT" } th.n { "Lasted" } th { "At the end" }
                } }
                tbody {
                    @for path in &part.longest {
                        tr {
                            th scope="row" { (who(host, path, is_all)) }
                            td.text { (sentence(path, now)) }
                            td { (human(Nanos(close_wait(path)))) }
                            td { (age(path, now)) }
                            td.left { @if path.ended.is_some() { "ended" } @else { "open" } }
                        }
                    }
                }
            } }
        }
    }
}
