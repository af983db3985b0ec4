//! A page of a report: one HTML file that loads nothing, the answer first, then the evidence. Drawn here as text, tables
//! and SVG; the script reads its numbers from the tables and adds hovering, narrowing and the choice of a span.

mod answer;
mod diagram;
mod durations;
mod handshakes;
mod held;
mod over_time;
mod plot;
mod sockets;

use crate::{
    output::json::rfc3339,
    plural::counted,
    report::page::{Host, Page, Part, Subject},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Hosts that the title names; more are counted.
const MOST_NAMED: usize = 3;

/// The whole file. The same page gives the same bytes.
pub(crate) fn page(page: &Page) -> String {
    let hosts: Vec<&str> = page
        .hosts
        .iter()
        .map(|host| host.report.origin.host.as_str())
        .collect();
    let title = match hosts.len() {
        ..=MOST_NAMED => format!("TCP states on {}", hosts.join(", ")),
        count => format!("TCP states on {count} hosts"),
    };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(concat!("tcptrace ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the findings" }
                header.top {
                    h1 { (title) }
                    @if page.is_redacted {
                        p.note { "Redacted: addresses and the names of hosts, processes, namespaces and files are \
                            pseudonyms; equal ones are equal. Of the kernel's release only the number is left. Loopback addresses, ports, \
                            process IDs and the numbers of network namespaces are as they were." }
                    }
                    @if page.hosts.len() > 1 { (overview(page)) }
                }
                main #content {
                    @for (at, host) in page.hosts.iter().enumerate() { (of_host(host, at)) }
                }
                footer {
                    p {
                        "Made by tcptrace " (env!("CARGO_PKG_VERSION")) ". This file is complete: it loads nothing and sends \
                        nothing. Times are UTC. A “>” marks a lower bound: the beginning was not seen."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// Allows the style and the script of the page, and nothing else.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The hosts in one table.
fn overview(page: &Page) -> Markup {
    html! {
        nav aria-label="Hosts" {
            div.scroll { table {
                thead { tr { th { "Host" } th { "Findings" } (sockets::count_titles()) th.n { "Lost" } } }
                tbody {
                    @for (at, host) in page.hosts.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#h{at}")) { (host.report.origin.host) } }
                            td.left { (answer::in_brief(host)) }
                            (sockets::count_cells(&host.report.view.counts))
                            td.n { (host.report.view.lost) }
                        }
                    }
                }
            } }
        }
    }
}

fn of_host(host: &Host, at: usize) -> Markup {
    let report = &host.report;
    let origin = &report.origin;
    let id = format!("h{at}");
    html! {
        section.host id=(id) aria-labelledby=(format!("{id}-name"))
            data-begin=(over_time::began_ms(host)) data-width=(over_time::width_ms(host)) data-dated[over_time::is_dated(host)] {
            h2 id=(format!("{id}-name")) { (origin.host) }
            p.facts {
                span { (moment(report.from_ns)) " to " (moment(report.to_ns)) " UTC" } " "
                span { (counted(report.events, "event")) } " " span { (counted(report.changes, "transition")) } " "
                span { (counted(report.view.counts.iter().sum::<u64>(), "socket")) " at the end" } " "
                span { "Linux " (origin.kernel) " " (origin.machine) } " "
                span { "recorded by tcptrace " (origin.version) }
            }
            (answer::findings(host, &id))
            (answer::unknowns(host))
            (sockets::processes(host, &id))
            (sockets::unanswered(host))
            (toolbar(host, &id))
            @for (number, part) in host.parts.iter().enumerate() { (of_part(host, part, &id, number)) }
            (sockets::settings(host))
        }
    }
}

/// For the script: which process, and which span. Hidden without it.
fn toolbar(host: &Host, id: &str) -> Markup {
    let buckets = over_time::buckets(host);
    html! {
        form.toolbar hidden role="group" aria-label=(format!("What the plots of {} show", host.report.origin.host)) {
            label { "Connections of "
                select name="part" {
                    @for (number, part) in host.parts.iter().enumerate() {
                        option value=(format!("{id}-p{number}")) { (name(&part.subject)) }
                    }
                }
            }
            label { "from " input type="range" name="from" min="0" max=(buckets) value="0"; }
            label { "to " input type="range" name="to" min="0" max=(buckets) value=(buckets); }
            output {}
            button type="reset" { "Whole span" }
        }
    }
}

/// The process's part of a host, `h0-p1`, or that of all connections, `h0-p0`.
fn of_part(host: &Host, part: &Part, id: &str, number: usize) -> Markup {
    let id = format!("{id}-p{number}");
    let content = html! {
        (over_time::plots(host, part, number == 0))
        (diagram::draw(part, &id))
        (durations::draw(part))
        (handshakes::draw(part))
        @if number == 0 { (handshakes::ports(host)) }
        (held::draw(host, part, number == 0))
    };
    if number == 0 {
        return html! { section.part id=(id) { h3.of { (name(&part.subject)) } (content) } };
    }
    html! {
        details.part { summary { h3.of id=(id) tabindex="-1" { (name(&part.subject)) } } (content) }
    }
}

/// Date and time in UTC, to the second: `2026-11-29 23:30:36`.
fn moment(wall_ns: u64) -> String {
    rfc3339(wall_ns)
        .chars()
        .take(19)
        .collect::<String>()
        .replace('T', " ")
}

/// Whose connections a part is about, for people.
fn name(subject: &Subject) -> String {
    match subject {
        Subject::All => "all processes".to_owned(),
        Subject::Process { key, comm } => format!("{comm} ({})", key.pid),
        Subject::Unknown => "unknown owners".to_owned(),
        Subject::Others => "other processes".to_owned(),
    }
}
