//! A report as text and as JSON lines: origin, the frame of `watch` at its moment, dwell times, and everything that is
//! missing. If there are several runs, each line of a process names its host.

use super::{
    frame,
    json::{EndJson, endpoints, line, rfc3339},
    sockets::{NetworkJson, network_text},
    text,
};
use crate::{
    connection::audit::Audit,
    duration::human,
    event::{Age, Nanos, TcpState},
    plural::{counted, was},
    record::{origin::Origin, run_stats::Ending},
    report::Report,
    summary::{Dwells, SCHEMA_VERSION},
    view::{Counts, ProcessView, View, connections::OwnerView, unanswered::Unanswered},
};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

/// The reports as text, one after another, and the processes of all in one table if there are several.
#[must_use]
pub fn text(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        heading(&mut text, report);
        if reports.len() == 1 {
            text.push_str(&frame::draw(&report.view, frame::NOTHING_NOW, &[]));
        } else {
            let _ = writeln!(
                text,
                "watched {}  {}  lost {}",
                human(report.view.watched),
                counted(report.view.counts.iter().sum::<u64>(), "socket"),
                report.view.lost
            );
        }
        unanswered(&mut text, report);
        dwells(&mut text, &report.dwells);
        missing(&mut text, report);
    }
    if reports.len() > 1 {
        merged(&mut text, reports);
    }
    text
}

fn heading(text: &mut String, report: &Report) {
    let Origin {
        host,
        kernel,
        machine,
        version,
        ..
    } = &report.origin;
    let _ = writeln!(
        text,
        "{host}, Linux {kernel} {machine}, recorded by tcptrace {version}"
    );
    let ending = match (report.is_whole, report.ending) {
        (false, _) => "",
        (true, Ending::Stopped) => ", where the recording was stopped",
        (true, Ending::Open) if report.is_ended => ", where the last file given was rotated",
        (true, Ending::Open) => ", where the recording ends abruptly",
    };
    let _ = writeln!(
        text,
        "from {} to {}{ending}: {}, {}",
        rfc3339(report.from_ns),
        rfc3339(report.to_ns),
        counted(report.events, "event"),
        counted(report.tally.changes, "change")
    );
    if report.is_filtered {
        let _ = writeln!(
            text,
            "{} of these changes match the filter: rates and dwell times cover those",
            report.changes
        );
    }
}

/// Connections whose peers did not answer, with what the network did to them.
fn unanswered(text: &mut String, report: &Report) {
    let list = &report.unanswered;
    let Some(first) = list.worst.first() else { return };
    let age = report.to.since(first.read);
    let _ = writeln!(
        text,
        "{} had unanswered segments or probes at the snapshot {} earlier:",
        counted(list.count, "connection"),
        human(age),
    );
    for Unanswered { row, network, .. } in &list.worst {
        let (local, remote) = text::both(&row.identity.endpoints);
        let owner = row.owner.map_or_else(
            || "-".to_owned(),
            |owner| format!("{}/{}", owner.key.pid, owner.name()),
        );
        let evidence = network_text(network);
        let _ = writeln!(text, "  {local} {remote} {} {owner}: {evidence}", row.state);
    }
    let rest = list.count - list.worst.len() as u64;
    if rest > 0 {
        let _ = writeln!(text, "  and {}", counted(rest, "other connection"));
    }
}

fn dwells(text: &mut String, dwells: &[(TcpState, Dwells)]) {
    if !dwells.is_empty() {
        let _ = writeln!(
            text,
            "{:<11} {:>9} {:>8} {:>8} {:>8}",
            "DWELL IN", "COUNT", "P50", "P99", "MAX"
        );
    }
    for (state, dwells) in dwells {
        let [p50, p99, max] = [dwells.p50_ns, dwells.p99_ns, dwells.max_ns].map(|ns| human(Nanos(ns)));
        let _ = writeln!(text, "{state:<11} {:>9} {p50:>8} {p99:>8} {max:>8}", dwells.count);
    }
}

/// Everything that a reader must know not to be there.
fn missing(text: &mut String, report: &Report) {
    let tally = &report.tally;
    for (count, what) in [
        (
            tally.unseen,
            ("end", "not seen: the socket was missing from a snapshot"),
        ),
        (tally.unknown, ("event", "of previously unknown sockets")),
        (tally.impossible, ("event", "in an impossible order")),
    ] {
        if count > 0 {
            let (noun, what) = what;
            let whose = if report.is_filtered {
                ", regardless of the filter"
            } else {
                ""
            };
            let _ = writeln!(text, "{} {} {what}{whose}", counted(count, noun), was(count));
        }
    }
    if report.gaps > 0 {
        let _ = writeln!(
            text,
            "the recording has {}; entries known to be missing: {}; states after a gap are treated as after a loss",
            counted(report.gaps, "gap"),
            report.missing
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for remark in &report.remarks {
        let _ = writeln!(text, "not read: {remark}");
    }
}

/// The processes of all runs in one table.
fn merged(text: &mut String, reports: &[Report]) {
    let mut counts: Counts = [0; TcpState::COUNT];
    for report in reports {
        for (sum, count) in counts.iter_mut().zip(&report.view.counts) {
            *sum += count;
        }
    }
    let rate = reports.iter().map(|report| report.view.rate).sum();
    let columns = frame::columns(&counts);
    let width = reports
        .iter()
        .map(|report| report.origin.host.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    let _ = write!(text, "{:<width$} ", "HOST");
    frame::title_line(text, &columns);
    let _ = write!(text, "{:<width$} ", "");
    frame::total_line(text, &counts, rate, &columns);
    for report in reports {
        for process in &report.view.processes {
            let _ = write!(text, "{:<width$} ", report.origin.host);
            frame::line(text, process, report.view.rate.is_some(), &columns);
        }
    }
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    schema_version: u32,
    #[serde(flatten)]
    origin: &'a Origin,
    from: String,
    to: String,
    complete: bool,
    clean_end: bool,
}

#[derive(Serialize)]
struct ProcessJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    pid: Option<u32>,
    comm: &'a str,
    counts: BTreeMap<&'static str, u64>,
    rate: f64,
    oldest: Option<OldestJson>,
}

#[derive(Serialize)]
struct OldestJson {
    state: TcpState,
    age_ns: Nanos,
    age_exact: bool,
}

/// A connection whose peer did not answer.
#[derive(Serialize)]
struct ConnectionJson<'a> {
    host: &'a str,
    cookie: u64,
    incarnation: u32,
    local: EndJson,
    remote: EndJson,
    #[serde(serialize_with = "crate::event::serialize_netns")]
    netns: u32,
    state: TcpState,
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    network: NetworkJson<'a>,
    network_age_ns: Nanos,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    host: &'a str,
    watched_ns: Nanos,
    events: u64,
    changes: u64,
    selected_changes: u64,
    counts: BTreeMap<&'static str, u64>,
    unanswered: u64,
    lost: u64,
    evicted: u64,
    unknown: u64,
    expected_unknown: u64,
    impossible: u64,
    unseen_ends: u64,
    gaps: u32,
    missing_entries: u64,
    dwells: BTreeMap<TcpState, Dwells>,
    notes: &'a [String],
    remarks: &'a [String],
}

#[derive(Serialize)]
struct FrameJson<'a> {
    schema_version: u32,
    time: String,
    watched_ns: Nanos,
    counts: BTreeMap<&'static str, u64>,
    rate: Option<f64>,
    lost: u64,
    dropped: u64,
    evicted: u64,
    audit: Option<&'a Audit>,
    limitations: &'a [String],
    processes: Vec<ProcessJson<'a>>,
}

/// A frame of `watch` as one object; `wall_ns` is the wall time of its moment, nanoseconds since 1970, and `dropped` the
/// number of frames so far that were dropped because the reader was too slow.
pub(crate) fn frame_json(view: &View, wall_ns: u64, dropped: u64) -> String {
    line(&FrameJson {
        schema_version: SCHEMA_VERSION,
        time: rfc3339(wall_ns),
        watched_ns: view.watched,
        counts: by_name(&view.counts),
        rate: view.rate,
        lost: view.lost,
        dropped,
        evicted: view.evicted,
        audit: view.audit.as_ref(),
        limitations: &view.limitations,
        processes: view
            .processes
            .iter()
            .map(|process| process_json(None, process))
            .collect(),
    })
}

/// One object a line: of each run a `header`, each `process`, and a `summary`.
#[must_use]
pub fn json(reports: &[Report]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Line<'a> {
        Header(HeaderJson<'a>),
        Process(ProcessJson<'a>),
        Connection(Box<ConnectionJson<'a>>),
        Summary(SummaryJson<'a>),
    }
    let mut text = String::new();
    for report in reports {
        let host = &report.origin.host;
        text.push_str(&line(&Line::Header(HeaderJson {
            schema_version: SCHEMA_VERSION,
            origin: &report.origin,
            from: rfc3339(report.from_ns),
            to: rfc3339(report.to_ns),
            complete: report.is_whole,
            clean_end: report.ending == Ending::Stopped,
        })));
        for process in &report.view.processes {
            text.push_str(&line(&Line::Process(process_json(Some(host), process))));
        }
        for unanswered in &report.unanswered.worst {
            let connection = connection_json(host, unanswered, report.to);
            text.push_str(&line(&Line::Connection(Box::new(connection))));
        }
        let tally = &report.tally;
        text.push_str(&line(&Line::Summary(SummaryJson {
            host,
            watched_ns: report.view.watched,
            events: report.events,
            changes: tally.changes,
            selected_changes: report.changes,
            counts: by_name(&report.view.counts),
            unanswered: report.unanswered.count,
            lost: report.view.lost,
            evicted: tally.evicted,
            unknown: tally.unknown,
            expected_unknown: tally.unknown_expected,
            impossible: tally.impossible,
            unseen_ends: tally.unseen,
            gaps: report.gaps,
            missing_entries: report.missing,
            dwells: report.dwells.iter().copied().collect(),
            notes: &report.notes,
            remarks: &report.remarks,
        })));
    }
    text
}

fn process_json<'a>(host: Option<&'a str>, process: &'a ProcessView) -> ProcessJson<'a> {
    ProcessJson {
        host,
        pid: process.pid,
        comm: &process.comm,
        counts: by_name(&process.counts),
        rate: process.rate,
        oldest: process.oldest.map(|(state, age): (TcpState, Age)| OldestJson {
            state,
            age_ns: age.span(),
            age_exact: age.is_exact(),
        }),
    }
}

fn connection_json<'a>(host: &'a str, unanswered: &'a Unanswered, now: Nanos) -> ConnectionJson<'a> {
    let Unanswered { row, read, network } = unanswered;
    let (local, remote) = endpoints(&row.identity.endpoints);
    ConnectionJson {
        host,
        cookie: row.identity.id.cookie,
        incarnation: row.identity.id.incarnation,
        local,
        remote,
        netns: row.identity.netns,
        state: row.state,
        pid: row.owner.map(|owner| owner.key.pid),
        comm: row.owner.as_ref().map(OwnerView::name),
        network: NetworkJson(network),
        network_age_ns: now.since(*read),
    }
}

/// Only the states that occur.
fn by_name(counts: &Counts) -> BTreeMap<&'static str, u64> {
    TcpState::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| (state.name(), *count))
        .collect()
}
