//! Gathers what the live view shows from an engine, live or replayed: rates between two frames, durations by process and
//! endpoint, lives that have ended lately. Is handed the time.

use super::{
    content::{self, Content, Matrix},
    place::Place,
};
use crate::{
    connection::{
        lifetime::{Lifetime, Lives},
        table::Change,
    },
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    findings::{
        self,
        gather::{self, Gathered},
        history as findings_history,
        scene::{Scene, Space},
    },
    output::hist::{self, Picture},
    pace::Pace,
    stats::{
        cells::Cells,
        collector::Collector,
        key::{By, Key},
        measure,
        report::Report,
    },
    view::{
        self, Context, Sort,
        connections::{self, Identity, Of, endpoint_of},
        endpoints,
        history::{self, History},
    },
};
use std::{collections::VecDeque, time::Duration};

/// Connections that have ended are remembered, so that one can still be looked at that ends while it is.
const ENDED: usize = 4_096;

/// Judging takes at most one part in this many of the time.
const JUDGE_PAUSE: u64 = 100;

/// One that takes longer counts as this long, so that there is another within ten seconds: what is found must be seen
/// while it is true.
const JUDGE_LONGEST: Nanos = Nanos::from_millis(100);

/// What is gathered beside the engine.
#[derive(Debug)]
pub struct Gather {
    by_process: Collector,
    by_endpoint: Collector,
    ended: VecDeque<Lifetime>,
    changes: Matrix<u64>,
    watched_from: Nanos,
    happened: findings_history::History,
    judgements: Pace,
}

impl Gather {
    /// Begins. The engine keeps whole lives from now on.
    #[must_use]
    pub fn new(engine: &mut Engine, started: Nanos) -> Self {
        let watched_from = engine.stats.watched_from.unwrap_or(started);
        engine.table.lives.get_or_insert_with(Lives::default);
        let everybody = Filter::default();
        Self {
            by_process: Collector::new(&everybody, By::Process, watched_from),
            by_endpoint: Collector::new(&everybody, By::Endpoint, watched_from),
            ended: VecDeque::new(),
            changes: engine.stats.matrix,
            watched_from,
            happened: findings_history::History::default(),
            judgements: Pace::new(Nanos(0), JUDGE_PAUSE),
        }
    }

    /// Takes a change, to be counted by [`Self::sort`].
    pub fn take(&mut self, change: &Change) {
        self.by_process.take(change);
        self.by_endpoint.take(change);
        self.happened.take(change);
    }

    /// Counts the changes taken, and takes over the lives that have ended.
    pub fn sort(&mut self, engine: &mut Engine, now: Nanos) {
        self.happened.sort(engine, now);
        self.by_process.sort(engine);
        self.by_endpoint.sort(engine);
        if let Some(lives) = &mut engine.table.lives {
            lives.take(|life| self.ended.push_back(life));
        }
        let surplus = self.ended.len().saturating_sub(ENDED);
        self.ended.drain(..surplus);
    }

    /// Begins a frame: totals, processes and rates since the frame before.
    pub fn frame(
        &mut self,
        content: &mut Content,
        engine: &mut Engine,
        now: Nanos,
        beside: Context,
        filter: &Filter,
    ) {
        let seconds = Duration::from_nanos(beside.frame.0.max(1)).as_secs_f64();
        content.view = view::build(engine, now, beside, filter, Sort::Pid);
        let changes = engine.stats.matrix;
        content.entered = [0.0; TcpState::COUNT];
        for (old, row) in changes.iter().enumerate() {
            for (new, count) in row.iter().enumerate() {
                let rate = view::per_second(count.saturating_sub(self.changes[old][new]), seconds);
                content.rates[old][new] = rate;
                content.entered[new] += rate;
            }
        }
        content.changes = changes;
        self.changes = changes;
        engine.stats.begin_frame();
    }

    /// Whether the judgement before is long enough ago for another.
    #[must_use]
    pub fn may_judge(&self, now: Nanos) -> bool {
        self.judgements.is_due(now)
    }

    /// Judges the moment by all rules: all sockets, whatever the filter. `spaces` are the network namespaces as they are;
    /// none of a recording.
    pub fn judge(&mut self, content: &mut Content, engine: &Engine, now: Nanos, spaces: Vec<Space>) {
        let Gathered {
            mut sockets,
            mut processes,
            ..
        } = gather::of_engine(engine, now, &Filter::default());
        for socket in &mut sockets {
            if let Some(queue) = content.queues.get(&socket.cookie) {
                (socket.unread, socket.unsent) = (Some(queue.unread), Some(queue.unsent));
            }
        }
        for process in &mut processes {
            process.descriptors = content.descriptors.get(&process.key).copied();
        }
        let scene = Scene {
            watched: content.view.watched,
            sockets,
            processes,
            spaces,
            history: std::mem::take(&mut self.happened),
            ..Scene::default()
        };
        content.findings = findings::judge(&scene);
        self.happened = scene.history;
        content.ports = content::ports(&scene.spaces);
    }

    /// Notes when a judgement ended, and how much of a processor's time it took.
    pub fn judged(&mut self, ended: Nanos, took: Nanos) {
        self.judgements.rest(ended, took.min(JUDGE_LONGEST));
    }

    /// Gathers the processes of another filter, between two frames: with their sockets, and without rates.
    pub fn refilter(&self, content: &mut Content, engine: &Engine, now: Nanos, filter: &Filter) {
        let before = std::mem::take(&mut content.view);
        let beside = Context {
            watched: before.watched,
            frame: Nanos(0),
            lost: before.lost,
            audit: before.audit,
            scans: before.scans,
            share: before.share,
            shortfalls: before.shortfalls,
        };
        content.view = view::build(engine, now, beside, filter, Sort::Pid);
        content.view.rate = before.rate;
        for row in &mut content.view.processes {
            let known = before.processes.iter().find(|known| known.key == row.key);
            let (rate, opens, closes, timewaits) = known.map_or((0.0, 0.0, 0.0, 0.0), |known| {
                (known.rate, known.opens, known.closes, known.timewaits)
            });
            (row.rate, row.opens, row.closes, row.timewaits) = (rate, opens, closes, timewaits);
        }
    }

    /// Gathers the rows of the view that is open, and forgets those of others.
    pub fn rows(&self, content: &mut Content, engine: &Engine, now: Nanos, filter: &Filter, place: &Place) {
        content.now = now;
        // As many rows as before are most likely gathered again, into the same room.
        let mut rows = std::mem::take(&mut content.connections);
        content.endpoints = Vec::new();
        content.history = None;
        content.histograms = Vec::new();
        match place {
            Place::Connections(of) => {
                connections::gather(&mut rows, engine, now, filter, *of);
                content.connections = rows;
            }
            Place::Endpoints => content.endpoints = endpoints::build(engine, now, filter),
            Place::History(identity) => content.history = self.history(engine, identity, now),
            Place::Histograms(of) => content.histograms = self.histograms(engine, now, *of),
            Place::Processes | Place::Transitions | Place::Findings | Place::Help => {}
        }
    }

    fn history(&self, engine: &Engine, identity: &Identity, now: Nanos) -> Option<History> {
        history::of_living(engine, identity, now).or_else(|| {
            let is_it = |life: &&Lifetime| {
                let ended = Identity {
                    id: life.id,
                    netns: life.netns,
                    ends: life.ends,
                };
                identity.is(&ended)
            };
            let life = self.ended.iter().rev().find(is_it)?;
            Some(history::of_ended(engine, life))
        })
    }

    fn histograms(&self, engine: &Engine, now: Nanos, of: Of) -> Vec<String> {
        let mut report = match of {
            Of::All => Report::of_totals(&engine.stats.totals, By::State),
            Of::Process(_) | Of::Endpoint(_) => Report::default(),
        };
        let ended = match of {
            Of::All => None,
            Of::Process(process) => self.by_process.cells_of(&Key::Process(process)),
            Of::Endpoint(key) => self.by_endpoint.cells_of(&key),
        };
        let mut cells = ended.cloned().unwrap_or_default();
        self.add_open(&mut cells, engine, now, of);
        report.take_total(&cells);
        if report.everybody().is_empty() {
            return Vec::new();
        }
        let picture = Picture {
            report: &report,
            measures: &hist::measures(&[]),
            watched: None,
            top: 0,
        };
        hist::text::draw(&picture).lines().map(str::to_owned).collect()
    }

    fn add_open(&self, cells: &mut Cells, engine: &Engine, now: Nanos, of: Of) {
        let processes = &engine.table.processes;
        for row in engine.table.iter() {
            let belongs = match of {
                Of::All => true,
                Of::Process(process) => {
                    let owner = row.owner.and_then(|owner| processes.get(owner.process));
                    owner.map(|owner| owner.key) == process
                }
                Of::Endpoint(key) => endpoint_of(&row.ends, row.netns, engine.table.role(row)) == Some(key),
            };
            if belongs {
                let (state, since) = (row.life.state, row.life.since);
                measure::open_at(
                    now,
                    state,
                    since,
                    row.began,
                    self.watched_from,
                    |measure, kind, span| {
                        cells.record(measure, kind, span);
                    },
                );
            }
        }
    }
}
