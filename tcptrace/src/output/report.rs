//! A report as text and as JSON lines: where it comes from, the frame of `watch` at its moment, how long states
//! lasted, and everything that is missing. Of several runs, each line of a process names its host.

use super::{
    duration::human,
    frame,
    header::Dwells,
    json::{line, rfc3339},
};
use crate::{
    event::{Age, Nanos, TcpState},
    record::{ledger::Ending, origin::Origin},
    report::Report,
    view::{Counts, ProcessView},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// For people.
#[must_use]
pub fn text(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        heading(&mut text, report);
        if reports.len() == 1 {
            text.push_str(&frame::draw(&report.view));
        } else {
            let _ = writeln!(
                text,
                "watched {}  {} sockets  lost {}",
                human(report.view.watched),
                report.view.counts.iter().sum::<u64>(),
                report.view.lost
            );
        }
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
        (true, Ending::Open) => ", where the recording breaks off",
    };
    let _ = writeln!(
        text,
        "from {} to {}{ending}: {} events, {} changes",
        rfc3339(report.from_ns),
        rfc3339(report.to_ns),
        report.events,
        report.tally.changes
    );
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
            "ends were not seen: a snapshot no longer had the socket",
        ),
        (
            tally.unknown,
            "events were of sockets that nothing had shown before",
        ),
        (tally.impossible, "events came in an order that cannot happen"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    if report.gaps > 0 {
        let _ = writeln!(
            text,
            "the recording has {} gaps, {} entries are known to be missing: what follows one counts as after a loss",
            report.gaps, report.missing
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "noted: {note}");
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
            frame::line(text, process, &columns);
        }
    }
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    #[serde(flatten)]
    origin: &'a Origin,
    from: String,
    to: String,
    whole: bool,
    stopped: bool,
}

#[derive(Serialize)]
struct ProcessJson<'a> {
    host: &'a str,
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

#[derive(Serialize)]
struct SummaryJson<'a> {
    host: &'a str,
    watched_ns: Nanos,
    events: u64,
    changes: u64,
    counts: BTreeMap<&'static str, u64>,
    lost: u64,
    evicted: u64,
    unknown: u64,
    impossible: u64,
    unseen: u64,
    gaps: u32,
    missing: u64,
    dwells: BTreeMap<TcpState, Dwells>,
    notes: &'a [String],
    remarks: &'a [String],
}

/// One object a line: of each run a `header`, each `process`, and a `summary`.
#[must_use]
pub fn json(reports: &[Report]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Line<'a> {
        Header(HeaderJson<'a>),
        Process(ProcessJson<'a>),
        Summary(SummaryJson<'a>),
    }
    let mut text = String::new();
    for report in reports {
        let host = &report.origin.host;
        text.push_str(&line(&Line::Header(HeaderJson {
            origin: &report.origin,
            from: rfc3339(report.from_ns),
            to: rfc3339(report.to_ns),
            whole: report.is_whole,
            stopped: report.ending == Ending::Stopped,
        })));
        for process in &report.view.processes {
            text.push_str(&line(&Line::Process(process_json(host, process))));
        }
        let tally = &report.tally;
        text.push_str(&line(&Line::Summary(SummaryJson {
            host,
            watched_ns: report.view.watched,
            events: report.events,
            changes: tally.changes,
            counts: by_name(&report.view.counts),
            lost: report.view.lost,
            evicted: tally.evicted,
            unknown: tally.unknown,
            impossible: tally.impossible,
            unseen: tally.unseen,
            gaps: report.gaps,
            missing: report.missing,
            dwells: report.dwells.iter().copied().collect(),
            notes: &report.notes,
            remarks: &report.remarks,
        })));
    }
    text
}

fn process_json<'a>(host: &'a str, process: &'a ProcessView) -> ProcessJson<'a> {
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

/// Only the states that occur.
fn by_name(counts: &Counts) -> BTreeMap<&'static str, u64> {
    TcpState::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| (state.name(), *count))
        .collect()
}
