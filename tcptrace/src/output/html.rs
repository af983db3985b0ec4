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
    event::{ProcessKey, TcpState},
    output::json::rfc3339,
    plural::counted,
    report::{
        Report,
        page::{Host, Page, Part, Selection},
    },
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
    let mut hosts: Vec<&str> = page
        .hosts
        .iter()
        .map(|host| host.report.origin.host.as_str())
        .collect();
    hosts.dedup();
    let names = names(page);
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
                    @if page.hosts.len() > 1 { (overview(page, &names)) }
                }
                main #content {
                    @for (at, (host, name)) in page.hosts.iter().zip(&names).enumerate() { (of_host(host, name, at)) }
                    (glossary())
                }
                footer {
                    p {
                        "Made by tcptrace " (env!("CARGO_PKG_VERSION")) ". This file is complete: it loads nothing and sends \
                        nothing. Times are UTC. A “>” marks a lower bound: the beginning was not seen."
                    }
                }
                div.unseen #numbers role="status" aria-live="polite" {}
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

/// What each host is called: where it is there several times, with the span.
fn names(page: &Page) -> Vec<String> {
    let name = |host: &Host| {
        let report = &host.report;
        let is_same = |other: &&Host| other.report.origin.host == report.origin.host;
        if page.hosts.iter().filter(is_same).count() == 1 {
            report.origin.host.clone()
        } else {
            let (from, to) = (moment(report.from_ns), moment(report.to_ns));
            format!("{}, {from} to {to}", report.origin.host)
        }
    };
    page.hosts.iter().map(name).collect()
}

/// The hosts in one table.
fn overview(page: &Page, names: &[String]) -> Markup {
    html! {
        nav aria-label="Hosts" {
            div.scroll { table {
                thead { tr { th { "Host" } th { "Findings" } (sockets::count_titles()) th.n { "Lost" } } }
                tbody {
                    @for (at, (host, name)) in page.hosts.iter().zip(names).enumerate() {
                        tr {
                            th scope="row" { a href=(format!("#h{at}")) { (name) } }
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

fn of_host(host: &Host, name: &str, at: usize) -> Markup {
    let report = &host.report;
    let origin = &report.origin;
    let id = format!("h{at}");
    html! {
        section.host id=(id) aria-labelledby=(format!("{id}-name"))
            data-begin=(over_time::began_ms(host)) data-width=(over_time::width_ms(host)) data-dated[over_time::is_dated(host)] {
            h2 id=(format!("{id}-name")) { (name) }
            p.facts {
                span { (moment(report.from_ns)) " to " (moment(report.to_ns)) " UTC" } " "
                span { (counted(report.events, "event")) } " " span { (transitions(report)) } " "
                span { (counted(report.view.counts.iter().sum::<u64>(), "socket")) " at the end" } " "
                span { "Linux " (origin.kernel) " " (origin.machine) } " "
                span { "recorded by tcptrace " (origin.version) }
            }
            (answer::findings(host, &id))
            (answer::unknowns(host))
            (sockets::processes(host, &id))
            (sockets::unanswered(host))
            (toolbar(host, name, &id))
            @for (number, part) in host.parts.iter().enumerate() { (of_part(host, part, &id, number)) }
            (sockets::settings(&host.scene.namespaces, &host.findings))
        }
    }
}

/// How many transitions there were, and how many of them a filter has selected.
fn transitions(report: &Report) -> String {
    if report.is_filtered {
        let all = counted(report.tally.changes, "transition");
        format!("{} of {all} selected", report.changes)
    } else {
        counted(report.changes, "transition")
    }
}

/// For the script: which process, and which span. Hidden without it.
fn toolbar(host: &Host, host_name: &str, id: &str) -> Markup {
    let buckets = over_time::buckets(host);
    html! {
        form.toolbar hidden role="group" aria-label=(format!("What the plots of {host_name} show")) {
            label { "Connections of "
                select name="part" {
                    @for (number, part) in host.parts.iter().enumerate() {
                        option value=(format!("{id}-p{number}")) { (name(&part.subject)) }
                    }
                }
            }
            label { "from " input type="range" name="from" min="0" max=(buckets) value="0"; " " output {} }
            label { "to " input type="range" name="to" min="0" max=(buckets) value=(buckets); " " output {} }
            output.span {}
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

/// What the states mean, for people who do not know them.
const STATES: [(TcpState, &str); TcpState::COUNT] = [
    (TcpState::Listen, "waits for connections from other hosts"),
    (
        TcpState::SynSent,
        "a client has sent its SYN and waits for the answer",
    ),
    (
        TcpState::SynRecv,
        "a server has answered a SYN and waits for the last step of the handshake",
    ),
    (TcpState::Established, "open in both directions"),
    (
        TcpState::FinWait1,
        "this host has closed first, and its FIN is not acknowledged yet",
    ),
    (
        TcpState::FinWait2,
        "this host has closed first, and the peer has not closed yet",
    ),
    (
        TcpState::Closing,
        "both have closed at once, and the acknowledgment is missing",
    ),
    (
        TcpState::TimeWait,
        "both have closed, this host first: the kernel keeps the ports for 60 s, and no process holds it",
    ),
    (
        TcpState::CloseWait,
        "the peer has closed, and the program of this host has not: many, or old ones, are a leak",
    ),
    (
        TcpState::LastAck,
        "this host has closed after the peer, and waits for the last acknowledgment",
    ),
    (TcpState::Close, "the beginning and the end of each connection"),
];

fn glossary() -> Markup {
    html! {
        details.glossary {
            summary { "The states in a sentence each" }
            dl { @for (state, meaning) in STATES { dt { (state) } dd { (meaning) } } }
        }
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

/// Connections whose owner is not known.
const UNKNOWN: &str = "unknown owners";

/// `nginx (812)`
fn process_name(comm: &str, key: ProcessKey) -> String {
    format!("{comm} ({})", key.pid)
}

/// Whose connections a part is about, for people.
fn name(subject: &Selection) -> String {
    match subject {
        Selection::All => "all processes".to_owned(),
        Selection::Process { key, comm } => process_name(comm, *key),
        Selection::Unknown => UNKNOWN.to_owned(),
        Selection::Others => "other processes".to_owned(),
    }
}
