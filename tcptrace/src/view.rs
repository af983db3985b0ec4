//! The picture that every output of a moment reads: immutable, built from the engine at one time.

pub mod connections;
pub mod endpoints;
pub mod history;

use crate::{
    connection::audit::Audit,
    engine::Engine,
    event::{Age, Nanos, ProcessKey, TcpState},
    filter::{Filter, Subject},
    owner::{container::Place, policy::Owner, processes::ProcessId, schedule::Cost},
};
use hashbrown::HashMap;
use std::{sync::Arc, time::Duration};

/// How many sockets are in each state.
pub type Counts = [u64; TcpState::COUNT];

/// One process and its sockets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessView {
    /// Process id; `None` for sockets whose owner is not known.
    pub pid: Option<u32>,
    /// The process itself, whoever gets its id later.
    pub key: Option<ProcessKey>,
    /// Its name.
    pub comm: String,
    /// Sockets by state.
    pub counts: Counts,
    /// Changes of state per second.
    pub rate: f64,
    /// Handshakes done per second.
    pub opens: f64,
    /// Connections closed by this side, or reset, per second.
    pub closes: f64,
    /// TIME_WAITs made per second.
    pub timewaits: f64,
    /// Where it runs, as far as anybody has asked.
    pub place: Option<Arc<Place>>,
    /// The socket that has been in a state other than LISTEN and ESTABLISHED for longest, CLOSE_WAIT before all
    /// others.
    pub oldest: Option<(TcpState, Age)>,
}

impl ProcessView {
    /// The age of its oldest CLOSE_WAIT.
    #[must_use]
    pub fn oldest_close_wait(&self) -> Option<Age> {
        let (_, age) = self.oldest.filter(|(state, _)| *state == TcpState::CloseWait)?;
        Some(age)
    }
}

/// The order of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Sockets in CLOSE_WAIT, then changes per second.
    #[default]
    CloseWait,
    /// Sockets in TIME_WAIT.
    TimeWait,
    /// Sockets in all states.
    Sockets,
    /// Changes of state per second.
    Rate,
    /// Process id.
    Pid,
    /// Name.
    Comm,
}

/// What tracing costs: shares of one CPU, 0 to 1, and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Of the programs in the kernel; `None` where it does not say.
    pub kernel: Option<f64>,
    /// Of this process; `None` where it says nothing, as of a recording.
    pub here: Option<f64>,
    /// The most memory that this process had at a time, bytes.
    pub memory: Option<u64>,
}

impl Share {
    /// The shares in a few words.
    #[must_use]
    pub fn of_cpu(&self) -> Option<String> {
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        let here = self.here.map(|share| format!("{} here", percent(share)));
        let kernel = self.kernel.map(|share| format!("{} kernel", percent(share)));
        let parts: Vec<String> = kernel.into_iter().chain(here).collect();
        (!parts.is_empty()).then(|| format!("CPU %: {}", parts.join(" + ")))
    }

    /// The memory in a few words.
    #[must_use]
    pub fn of_memory(&self) -> Option<String> {
        self.memory.map(|bytes| format!("memory {} MiB", bytes >> 20))
    }
}

/// One moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Time watched so far.
    pub watched: Nanos,
    /// Sockets by state, of all processes shown.
    pub counts: Counts,
    /// Changes of state per second.
    pub rate: f64,
    /// Processes, in the order asked for.
    pub processes: Vec<ProcessView>,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// The latest comparison with the kernel's own table.
    pub audit: Option<Audit>,
    /// Rows given up because the table was full.
    pub evicted: u64,
    /// What finding out who holds which socket has cost.
    pub scans: Cost,
    /// What tracing costs.
    pub share: Share,
    /// What is not traced, and why.
    pub shortfalls: Vec<String>,
}

/// What the engine does not know itself.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Time watched so far.
    pub watched: Nanos,
    /// Time since the last view.
    pub frame: Nanos,
    /// Records lost.
    pub lost: u64,
    /// The latest comparison with the kernel's own table.
    pub audit: Option<Audit>,
    /// What finding out who holds which socket has cost.
    pub scans: Cost,
    /// What tracing costs.
    pub share: Share,
    /// What is not traced, and why.
    pub shortfalls: Vec<String>,
}

/// Builds the picture at `now`.
#[must_use]
pub fn build(engine: &Engine, now: Nanos, context: Context, filter: &Filter, sort: Sort) -> View {
    let seconds = Duration::from_nanos(context.frame.0.max(1)).as_secs_f64();
    let mut by_process: HashMap<Option<ProcessId>, ProcessView> = HashMap::new();
    let mut counts = [0; TcpState::COUNT];
    let processes = &engine.table.processes;
    let mut count = |id: Option<ProcessId>, state: TcpState, age: Option<Age>| {
        counts[state.index()] += 1;
        let row = by_process
            .entry(id)
            .or_insert_with(|| process_view(engine, id, seconds));
        row.counts[state.index()] += 1;
        if let Some(age) = age
            && is_older((state, age), row.oldest)
        {
            row.oldest = Some((state, age));
        }
    };
    for connection in engine.table.iter() {
        let state = connection.life.state;
        let is_wanted = filter.accepts_ends(&Subject {
            ends: &connection.ends,
            netns: connection.netns,
            states: &[state],
            owner: None,
        });
        if is_wanted
            && let Some(id) = wanted_process(engine, connection.owner, connection.id().cookie, filter)
        {
            count(id, state, Some(connection.life.since.age(now)));
        }
    }
    for closed in engine.holders.closed() {
        let is_wanted = filter.accepts(&Subject {
            ends: &closed.ends,
            netns: closed.netns,
            states: &[TcpState::Close],
            owner: processes.get(closed.process),
        });
        if is_wanted {
            count(Some(closed.process), TcpState::Close, None);
        }
    }
    // Of two processes that had the same id the older comes first, whatever order the map has them in.
    let mut rows: Vec<(Option<ProcessId>, ProcessView)> = by_process.into_iter().collect();
    rows.sort_by_key(|(id, _)| {
        id.and_then(|id| processes.get(id))
            .map(|process| process.key.start_ns)
    });
    let mut processes: Vec<ProcessView> = rows.into_iter().map(|(_, row)| row).collect();
    sort_processes(&mut processes, sort);
    View {
        watched: context.watched,
        counts,
        rate: per_second(engine.stats.in_frame, seconds),
        processes,
        lost: context.lost,
        audit: context.audit,
        evicted: engine.table.tally.evicted,
        scans: context.scans,
        share: context.share,
        shortfalls: context.shortfalls,
    }
}

/// A process without any sockets yet.
fn process_view(engine: &Engine, id: Option<ProcessId>, seconds: f64) -> ProcessView {
    let process = id.and_then(|id| engine.table.processes.get(id));
    let flow = engine.stats.in_frame_of(id);
    ProcessView {
        pid: process.map(|process| process.key.pid),
        key: process.map(|process| process.key),
        comm: process.map_or_else(|| "(unknown)".to_owned(), |process| process.name().into_owned()),
        rate: per_second(flow.changes, seconds),
        opens: per_second(flow.opens, seconds),
        closes: per_second(flow.closes, seconds),
        timewaits: per_second(flow.timewaits, seconds),
        place: process.and_then(|process| process.place.clone()),
        ..ProcessView::default()
    }
}

/// The process that a socket counts for: its owner, or else another that has it open and that `filter` wants. `None`
/// where it wants nobody of them, `Some(None)` where any will do and none is known.
#[must_use]
pub fn wanted_process(
    engine: &Engine,
    owner: Option<Owner>,
    cookie: u64,
    filter: &Filter,
) -> Option<Option<ProcessId>> {
    let processes = &engine.table.processes;
    let is_wanted = |id: &Option<ProcessId>| filter.accepts_owner(id.and_then(|id| processes.get(id)));
    let owner = owner.map(|owner| owner.process);
    if is_wanted(&owner) {
        return Some(owner);
    }
    let mut holders = engine.holders.of(cookie).iter().map(|(id, _)| Some(*id));
    holders.find(is_wanted)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate of 2^52 events a second is out of reach"
)]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn is_older(candidate: (TcpState, Age), known: Option<(TcpState, Age)>) -> bool {
    let (state, age) = candidate;
    if matches!(state, TcpState::Listen | TcpState::Established) {
        return false;
    }
    let rank = |state, age: Age| (state == TcpState::CloseWait, age.span());
    known.is_none_or(|(known_state, known_age)| rank(state, age) > rank(known_state, known_age))
}

fn sort_processes(processes: &mut [ProcessView], sort: Sort) {
    let count = |row: &ProcessView, state: TcpState| row.counts[state.index()];
    processes.sort_by(|a, b| {
        let order = match sort {
            Sort::CloseWait => count(b, TcpState::CloseWait)
                .cmp(&count(a, TcpState::CloseWait))
                .then(b.rate.total_cmp(&a.rate)),
            Sort::TimeWait => count(b, TcpState::TimeWait).cmp(&count(a, TcpState::TimeWait)),
            Sort::Sockets => b.counts.iter().sum::<u64>().cmp(&a.counts.iter().sum()),
            Sort::Rate => b.rate.total_cmp(&a.rate),
            Sort::Pid => std::cmp::Ordering::Equal,
            Sort::Comm => a.comm.cmp(&b.comm),
        };
        order.then(a.pid.cmp(&b.pid))
    });
}
