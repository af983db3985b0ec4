//! `leaks`: processes and their leaked sockets, as text and as JSON lines.

mod spared;

use self::spared::{WaitingJson, YoungerJson};
use super::{
    json::{self, EndJson},
    stacks::{self, StacksJson},
    text::push_end,
    unseen,
};
use crate::{
    duration::{human, human_age},
    event::{Age, Nanos, TcpState},
    findings::{
        growth::Basis,
        leak::{Leak, Leaked, Threshold},
        rules::close_wait_leak::{comes, finding, threshold},
        scene::{Carrier, InFlight, Process, Scene},
        spared as spared_sockets,
        verdict::Verdict,
    },
    plural::counted,
    stacks::call_sites::CallSites,
    summary::SCHEMA_VERSION,
    unseen::Unseen,
};
use serde::Serialize;
use std::{fmt::Write as _, net::IpAddr};

/// Endpoints named of each process.
const ENDPOINTS: usize = 5;

/// For people; at most `limit` sockets of each process. `call_sites` are those of each leak, where stacks were recorded.
pub(crate) fn text(
    leaks: &[Leak<'_>],
    call_sites: Option<&[CallSites]>,
    scene: &Scene,
    lost: u64,
    limit: usize,
) -> String {
    let mut text = String::new();
    let in_close_wait = scene.in_state(TcpState::CloseWait).count();
    if scene.watched == Nanos(0) {
        text.push_str("one snapshot");
    } else {
        let _ = write!(text, "watched {}, lost {lost}", human(scene.watched));
    }
    let reset: usize = leaks.iter().map(Leak::reset).sum();
    let _ = write!(
        text,
        ": {} in CLOSE_WAIT, {} leaked",
        counted(in_close_wait, "socket"),
        leaked(leaks)
    );
    if reset > 0 {
        let _ = write!(text, ", {reset} of them since reset and in CLOSE");
    }
    text.push('\n');
    unseen::push(&mut text, &scene.unseen);
    let younger = spared_sockets::younger(scene);
    if leaks.is_empty() {
        if !scene.has_matched() {
            text.push_str("nothing matched, so nothing was checked\n");
        } else if scene.unseen.is_empty() {
            spared::push_no_leaks(&mut text, younger.as_ref());
        } else {
            text.push_str("no leaks found, but not everything could be seen\n");
        }
    }
    if let Some(younger) = &younger {
        spared::push_younger(&mut text, younger);
    }
    for (at, leak) in leaks.iter().enumerate() {
        text.push('\n');
        let call_sites = call_sites.and_then(|call_sites| call_sites.get(at));
        one(&mut text, leak, call_sites, limit);
    }
    spared::push_waiting(&mut text, &spared_sockets::waiting(scene));
    text.push_str(
        "\nESTABLISHED connections are not checked here; `tcptrace doctor` reports those that only grow\n",
    );
    text
}

fn leaked(leaks: &[Leak<'_>]) -> usize {
    leaks.iter().map(|leak| leak.sockets.len()).sum()
}

fn one(text: &mut String, leak: &Leak<'_>, call_sites: Option<&CallSites>, limit: usize) {
    let finding = finding(leak);
    let name = leak
        .process
        .map_or_else(|| "unknown process".to_owned(), |_| leak.subject().to_string());
    let _ = write!(text, "{name}: {}", finding.level);
    if leak.oldest() > Nanos(0) {
        let _ = write!(text, ", oldest {}", human(leak.oldest()));
    }
    text.push('\n');
    let _ = writeln!(text, "  {}", threshold(leak));
    if let Some(growth) = &leak.growth {
        let _ = writeln!(text, "  {growth}");
    }
    if let Some(fds) = leak.process.and_then(|process| process.descriptors) {
        let _ = write!(text, "  {} of {} file descriptors used", fds.used, fds.limit);
        if let Some(left) = leak.exhausted_in {
            let _ = write!(text, "; \"Too many open files\" in {}", human(left));
        }
        text.push('\n');
    }
    for socket in leak.in_flight {
        let _ = writeln!(text, "  {socket}");
    }
    if let Some(shared) = leak.shared() {
        let _ = writeln!(text, "  {shared}");
    }
    if let Some(process) = leak.accepted_by {
        let _ = writeln!(text, "  accepted by {} ({})", process.comm, process.key.pid);
    }
    for endpoint in leak.endpoints.iter().take(ENDPOINTS) {
        let _ = writeln!(text, "  {}", comes(endpoint));
    }
    if leak.endpoints.len() > ENDPOINTS {
        let more = counted(leak.endpoints.len() - ENDPOINTS, "more endpoint");
        let _ = writeln!(text, "  and {more}");
    }
    for (verdict, count) in leak.verdicts() {
        let _ = writeln!(
            text,
            "  {count}: {verdict}\n    {}",
            verdict.remedy(leak.is_accepted())
        );
    }
    if let Some(call_sites) = call_sites {
        stacks::push(text, call_sites, limit);
    }
    let _ = writeln!(
        text,
        "  {:>6} {:<21} {:<21} {:>8} {:>6} {:>6} VERDICT",
        "FD", "LOCAL", "REMOTE", "AGE", "RECV-Q", "SEND-Q"
    );
    for leaked in leak.sockets.iter().take(limit) {
        socket(text, leaked);
    }
    if leak.sockets.len() > limit {
        let _ = writeln!(
            text,
            "  and {} more (--all lists them)",
            leak.sockets.len() - limit
        );
    }
}

fn socket(text: &mut String, leaked: &Leaked<'_>) {
    let Leaked { socket, verdict } = leaked;
    let dash = || "-".to_owned();
    let fd = socket.fds.first().map_or_else(dash, u32::to_string);
    let _ = write!(text, "  {fd:>6} ");
    push_end(text, socket.endpoints.local(), socket.endpoints.local_port, 21);
    text.push(' ');
    push_end(text, socket.endpoints.remote(), socket.endpoints.remote_port, 21);
    let age = socket.age.map_or_else(dash, human_age);
    let queue = |bytes: Option<u32>| bytes.map_or_else(dash, |bytes| bytes.to_string());
    let (unread, unsent) = (queue(socket.unread), queue(socket.unsent));
    let _ = writeln!(text, " {age:>8} {unread:>6} {unsent:>6} {verdict}");
}

#[derive(Serialize)]
struct LeakJson<'a> {
    pid: Option<u32>,
    start_ns: Option<u64>,
    comm: Option<&'a str>,
    is_guess: bool,
    level: crate::findings::Level,
    leaked: usize,
    reset: usize,
    younger: usize,
    threshold_ns: Nanos,
    threshold_source: &'static str,
    finished: Option<u64>,
    oldest_ns: Nanos,
    growth_per_minute: Option<f64>,
    growth_error: Option<f64>,
    growth_source: Option<Basis>,
    descriptors: Option<u64>,
    descriptor_limit: Option<u64>,
    exhausted_in_ns: Option<Nanos>,
    endpoints: Vec<EndpointJson>,
    other_holders: Vec<ProcessJson<'a>>,
    accepted_by: Option<ProcessJson<'a>>,
    in_flight: Vec<InFlightJson<'a>>,
    verdicts: Vec<VerdictJson>,
    stacks: Option<StacksJson<'a>>,
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
struct ProcessJson<'a> {
    pid: u32,
    start_ns: u64,
    comm: &'a str,
}

impl<'a> ProcessJson<'a> {
    fn new(process: &'a Process) -> Self {
        Self {
            pid: process.key.pid,
            start_ns: process.key.start_ns,
            comm: &process.comm,
        }
    }
}

#[derive(Serialize)]
struct InFlightJson<'a> {
    pid: u32,
    comm: &'a str,
    fd: u32,
    files: Option<u64>,
    sockets: Option<usize>,
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
    #[serde(serialize_with = "crate::event::serialize_netns")]
    netns: u32,
    state: TcpState,
    fds: &'a [u32],
    age_ns: Option<Nanos>,
    age_exact: bool,
    unread_bytes: Option<u32>,
    unsent_bytes: Option<u32>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    schema_version: u32,
    watched_ns: Nanos,
    close_wait: usize,
    leaked: usize,
    lost: u64,
    matched: bool,
    unseen: &'a [Unseen],
    younger: Option<YoungerJson>,
    waiting: Vec<WaitingJson<'a>>,
    not_evaluated: [TcpState; 1],
    recorded: bool,
    remarks: &'a [String],
}

/// A line a process, and a summary; `remarks` is what of a recording was not read.
pub(crate) fn json(
    leaks: &[Leak<'_>],
    call_sites: Option<&[CallSites]>,
    scene: &Scene,
    lost: u64,
    remarks: &[String],
) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: SummaryJson<'a>,
    }
    let mut text: String = leaks
        .iter()
        .enumerate()
        .map(|(at, leak)| {
            let call_sites = call_sites.and_then(|call_sites| call_sites.get(at));
            json::line(&leak_json(leak, call_sites))
        })
        .collect();
    text.push_str(&json::line(&Line {
        summary: SummaryJson {
            schema_version: SCHEMA_VERSION,
            watched_ns: scene.watched,
            close_wait: scene.in_state(TcpState::CloseWait).count(),
            leaked: leaked(leaks),
            lost,
            matched: scene.has_matched(),
            unseen: &scene.unseen,
            younger: spared_sockets::younger(scene).as_ref().map(YoungerJson::new),
            waiting: spared_sockets::waiting(scene)
                .iter()
                .map(WaitingJson::new)
                .collect(),
            not_evaluated: [TcpState::Established],
            recorded: scene.is_recorded,
            remarks,
        },
    }));
    text
}

fn leak_json<'a>(leak: &Leak<'a>, call_sites: Option<&'a CallSites>) -> LeakJson<'a> {
    let descriptors = leak.process.and_then(|process| process.descriptors);
    LeakJson {
        pid: leak.process.map(|process| process.key.pid),
        start_ns: leak.process.map(|process| process.key.start_ns),
        comm: leak.process.map(|process| process.comm.as_str()),
        is_guess: leak.is_guess,
        level: finding(leak).level,
        leaked: leak.sockets.len(),
        reset: leak.reset(),
        younger: leak.younger,
        threshold_ns: leak.threshold.age(),
        threshold_source: leak.threshold.name(),
        finished: match leak.threshold {
            Threshold::Learned { finished, .. } => Some(finished),
            Threshold::Given(_) | Threshold::Default(_) => None,
        },
        oldest_ns: leak.oldest(),
        growth_per_minute: leak.growth.map(|growth| growth.per_minute.rounded().per_unit),
        growth_error: leak.growth.map(|growth| growth.per_minute.rounded().error),
        growth_source: leak.growth.map(|growth| growth.basis),
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
        other_holders: leak
            .sharers
            .iter()
            .map(|process| ProcessJson::new(process))
            .collect(),
        accepted_by: leak.accepted_by.map(ProcessJson::new),
        in_flight: leak.in_flight.iter().map(in_flight_json).collect(),
        verdicts: leak
            .verdicts()
            .into_iter()
            .map(|(verdict, count)| VerdictJson { verdict, count })
            .collect(),
        stacks: call_sites.map(stacks::json),
        sockets: leak.sockets.iter().map(socket_json).collect(),
    }
}

fn in_flight_json(of: &InFlight) -> InFlightJson<'_> {
    let (files, sockets) = match of.carrier {
        Carrier::Queue { files } => (Some(files), None),
        Carrier::Ring { sockets } => (None, Some(sockets)),
    };
    InFlightJson {
        pid: of.pid,
        comm: &of.comm,
        fd: of.fd,
        files,
        sockets,
    }
}

fn socket_json<'a>(leaked: &Leaked<'a>) -> SocketJson<'a> {
    let socket = leaked.socket;
    let (local, remote) = json::endpoints(&socket.endpoints);
    SocketJson {
        cookie: socket.cookie,
        local,
        remote,
        netns: socket.netns,
        state: socket.state,
        fds: &socket.fds,
        age_ns: socket.age.map(Age::span),
        age_exact: socket.age.is_some_and(Age::is_exact),
        unread_bytes: socket.unread,
        unsent_bytes: socket.unsent,
        verdict: leaked.verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_states_that_are_not_checked() {
        let scene = Scene::default();
        assert!(text(&[], None, &scene, 0, 10).contains("ESTABLISHED connections are not checked here"));
        assert!(json(&[], None, &scene, 0, &[]).contains("\"not_evaluated\":[\"ESTABLISHED\"]"));
    }
}
