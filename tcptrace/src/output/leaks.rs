//! `leaks`: processes and the sockets that they have forgotten, as text and as JSON lines.

use super::{
    duration::{human, human_age},
    json::{self, EndJson},
    text::push_end,
};
use crate::{
    event::{Age, Nanos, TcpState},
    findings::{
        leak::{Basis, Leak, Leaked, Threshold},
        rules::close_wait_leak::{comes, finding, grows, threshold},
        scene::Scene,
        verdict::Verdict,
    },
};
use serde::Serialize;
use std::{fmt::Write as _, net::IpAddr};

/// Endpoints named of each process.
const ENDPOINTS: usize = 5;

/// For people; at most `limit` sockets of each process.
#[must_use]
pub fn text(leaks: &[Leak<'_>], scene: &Scene, lost: u64, limit: usize) -> String {
    let mut text = String::new();
    let in_close_wait = scene.in_state(TcpState::CloseWait).count();
    if scene.watched == Nanos(0) {
        text.push_str("looked once");
    } else {
        let _ = write!(text, "watched {}, lost {lost}", human(scene.watched));
    }
    let _ = writeln!(
        text,
        ": {in_close_wait} sockets in CLOSE_WAIT, {} forgotten",
        forgotten(leaks)
    );
    if leaks.is_empty() {
        text.push_str("nobody leaks\n");
    }
    for leak in leaks {
        text.push('\n');
        one(&mut text, leak, limit);
    }
    text
}

fn forgotten(leaks: &[Leak<'_>]) -> usize {
    leaks.iter().map(|leak| leak.sockets.len()).sum()
}

fn one(text: &mut String, leak: &Leak<'_>, limit: usize) {
    let judged = finding(leak);
    let name = leak.process.map_or_else(
        || "no known process".to_owned(),
        |process| format!("{} ({})", process.comm, process.key.pid),
    );
    let _ = writeln!(text, "{name}: {}, oldest {}", judged.level, human(leak.oldest()));
    let _ = writeln!(text, "  {}", threshold(leak));
    if let Some(growth) = &leak.growth {
        let _ = writeln!(text, "  {}", grows(growth));
    }
    if let Some(fds) = leak.process.and_then(|process| process.descriptors) {
        let _ = write!(text, "  {} of {} file descriptors used", fds.used, fds.limit);
        if let Some(left) = leak.exhausted_in {
            let _ = write!(text, "; \"Too many open files\" in {}", human(left));
        }
        text.push('\n');
    }
    for endpoint in leak.endpoints.iter().take(ENDPOINTS) {
        let _ = writeln!(text, "  {}", comes(endpoint));
    }
    if leak.endpoints.len() > ENDPOINTS {
        let _ = writeln!(text, "  and {} more endpoints", leak.endpoints.len() - ENDPOINTS);
    }
    for (verdict, count) in leak.verdicts() {
        let _ = writeln!(text, "  {count}: {verdict}\n    {}", verdict.remedy());
    }
    let _ = writeln!(
        text,
        "  {:>6} {:<21} {:<21} {:>8} {:>6} VERDICT",
        "FD", "LOCAL", "REMOTE", "AGE", "RECV-Q"
    );
    for leaked in leak.sockets.iter().take(limit) {
        socket(text, leaked);
    }
    if leak.sockets.len() > limit {
        let _ = writeln!(text, "  and {} more (-w lists them)", leak.sockets.len() - limit);
    }
}

fn socket(text: &mut String, leaked: &Leaked<'_>) {
    let Leaked { socket, verdict } = leaked;
    let dash = || "-".to_owned();
    let fd = socket.fds.first().map_or_else(dash, u32::to_string);
    let _ = write!(text, "  {fd:>6} ");
    push_end(text, socket.ends.local(), socket.ends.local_port, 21);
    text.push(' ');
    push_end(text, socket.ends.remote(), socket.ends.remote_port, 21);
    let age = socket.age.map_or_else(dash, human_age);
    let unread = socket.unread.map_or_else(dash, |unread| unread.to_string());
    let _ = writeln!(text, " {age:>8} {unread:>6} {verdict}");
}

#[derive(Serialize)]
struct LeakJson<'a> {
    pid: Option<u32>,
    start_ns: Option<u64>,
    comm: Option<&'a str>,
    level: crate::findings::Level,
    leaked: usize,
    younger: usize,
    threshold_ns: Nanos,
    threshold_by: &'static str,
    finished: Option<u64>,
    oldest_ns: Nanos,
    growth_per_minute: Option<f64>,
    growth_error: Option<f64>,
    growth_by: Option<Basis>,
    descriptors: Option<u64>,
    descriptor_limit: Option<u64>,
    exhausted_in_ns: Option<Nanos>,
    endpoints: Vec<EndpointJson>,
    verdicts: Vec<VerdictJson>,
    sockets: Vec<SocketJson<'a>>,
}

#[derive(Serialize)]
struct EndpointJson {
    addr: IpAddr,
    port: u16,
    accepted: bool,
    count: usize,
    peer: IpAddr,
    other_peers: usize,
}

#[derive(Serialize)]
struct VerdictJson {
    verdict: Verdict,
    count: usize,
}

#[derive(Serialize)]
struct SocketJson<'a> {
    cookie: u64,
    local: EndJson,
    remote: EndJson,
    netns: u32,
    fds: &'a [u32],
    age_ns: Option<Nanos>,
    age_exact: bool,
    unread_bytes: Option<u32>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct SummaryJson {
    watched_ns: Nanos,
    close_wait: usize,
    leaked: usize,
    lost: u64,
}

/// A line a process, and a summary.
#[must_use]
pub fn json(leaks: &[Leak<'_>], scene: &Scene, lost: u64) -> String {
    #[derive(Serialize)]
    struct Line {
        summary: SummaryJson,
    }
    let mut text: String = leaks.iter().map(|leak| json::line(&leak_json(leak))).collect();
    text.push_str(&json::line(&Line {
        summary: SummaryJson {
            watched_ns: scene.watched,
            close_wait: scene.in_state(TcpState::CloseWait).count(),
            leaked: forgotten(leaks),
            lost,
        },
    }));
    text
}

fn leak_json<'a>(leak: &Leak<'a>) -> LeakJson<'a> {
    let descriptors = leak.process.and_then(|process| process.descriptors);
    LeakJson {
        pid: leak.process.map(|process| process.key.pid),
        start_ns: leak.process.map(|process| process.key.start_ns),
        comm: leak.process.map(|process| process.comm.as_str()),
        level: finding(leak).level,
        leaked: leak.sockets.len(),
        younger: leak.younger,
        threshold_ns: leak.threshold.age(),
        threshold_by: leak.threshold.name(),
        finished: match leak.threshold {
            Threshold::Learned { finished, .. } => Some(finished),
            Threshold::Given(_) | Threshold::Default(_) => None,
        },
        oldest_ns: leak.oldest(),
        growth_per_minute: leak.growth.map(|growth| growth.per_minute.per_unit),
        growth_error: leak.growth.map(|growth| growth.per_minute.error),
        growth_by: leak.growth.map(|growth| growth.basis),
        descriptors: descriptors.map(|fds| fds.used),
        descriptor_limit: descriptors.map(|fds| fds.limit),
        exhausted_in_ns: leak.exhausted_in,
        endpoints: leak
            .endpoints
            .iter()
            .map(|endpoint| EndpointJson {
                addr: endpoint.end.ip(),
                port: endpoint.end.port(),
                accepted: endpoint.is_accepted,
                count: endpoint.count,
                peer: endpoint.peer,
                other_peers: endpoint.other_peers,
            })
            .collect(),
        verdicts: leak
            .verdicts()
            .into_iter()
            .map(|(verdict, count)| VerdictJson { verdict, count })
            .collect(),
        sockets: leak.sockets.iter().map(socket_json).collect(),
    }
}

fn socket_json<'a>(leaked: &Leaked<'a>) -> SocketJson<'a> {
    let socket = leaked.socket;
    let (local, remote) = json::ends(&socket.ends);
    SocketJson {
        cookie: socket.cookie,
        local,
        remote,
        netns: socket.netns,
        fds: &socket.fds,
        age_ns: socket.age.map(Age::span),
        age_exact: socket.age.is_some_and(Age::is_exact),
        unread_bytes: socket.unread,
        verdict: leaked.verdict,
    }
}
