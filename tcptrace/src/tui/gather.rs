//! Gathers the content of the live view from an engine, live or replayed: rates per frame, durations by process and
//! endpoint, recently ended connections. Time is an argument.

use super::{
    app::App,
    content::{self, Content},
    route::Route,
};
use crate::{
    connection::lifetime::{Lifetime, LifetimeTracker},
    duty_cycle::DutyCycle,
    engine::{Engine, collector::Collector},
    event::{Nanos, TcpState},
    filter::Filter,
    findings::{
        self,
        gather::{self, GatheredSockets},
        history as findings_history,
        rules::tcp_memory,
        scene::{Netns, Scene},
    },
    stats::key::By,
    view::{self, Context, Sort},
};
use std::{collections::VecDeque, time::Duration};

/// Connections kept after their end, so that the history of one that ends stays open.
const ENDED: usize = 4_096;

/// Evaluating takes at most one part in this many of the time.
const EVALUATE_PAUSE: u64 = 100;

/// One that takes longer counts as this long, so that there is another within ten seconds: what is found must be seen
/// while it is true.
const EVALUATE_LONGEST: Nanos = Nanos::from_millis(100);

/// State kept in addition to the engine.
#[derive(Debug)]
pub struct Gather {
    pub(super) by_process: Collector,
    pub(super) by_endpoint: Collector,
    ended: VecDeque<Lifetime>,
    pub(super) watched_from: Nanos,
    happened: findings_history::History,
    evaluations: DutyCycle,
}

impl Gather {
    /// Starts gathering: from now on, the engine keeps lifetimes and counts what matches `filter`.
    #[must_use]
    pub fn new(engine: &mut Engine, started: Nanos, filter: &Filter) -> Self {
        engine.stats.begin_frames(started);
        engine.select(filter, started);
        let watched_from = engine.stats.watched_from.unwrap_or(started);
        engine
            .table
            .lifetimes
            .get_or_insert_with(LifetimeTracker::default);
        let everybody = Filter::default();
        Self {
            by_process: Collector::new(&everybody, By::Process, watched_from),
            by_endpoint: Collector::new(&everybody, By::Endpoint, watched_from),
            ended: VecDeque::new(),
            watched_from,
            happened: findings_history::History::default(),
            evaluations: DutyCycle::new(Nanos(0), EVALUATE_PAUSE),
        }
    }

    /// Counts the changes of the engine's current batch, and takes the lifetimes that have ended.
    pub(crate) fn count(&mut self, engine: &mut Engine) {
        self.happened.count(engine);
        self.by_process.count(engine);
        self.by_endpoint.count(engine);
        if let Some(lifetimes) = &mut engine.table.lifetimes {
            lifetimes.take(|lifetime| self.ended.push_back(lifetime));
        }
        let surplus = self.ended.len().saturating_sub(ENDED);
        self.ended.drain(..surplus);
    }

    /// Notes how many segments the kernel has dropped at each listener, by its cookie (`sk_drops`).
    pub(crate) fn note_drops(&mut self, listeners: &[(u64, u32)]) {
        self.happened.note_drops(listeners);
    }

    /// Takes the samples of growth that are due at `now`.
    pub(crate) fn sample(&mut self, engine: &Engine, now: Nanos) {
        self.happened.sample(engine, now);
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
        Self::picture(content, engine, now, beside, filter);
        // One that is too short for rates continues.
        if content.view.rate.is_some() {
            engine.begin_frame(now);
        }
    }

    fn picture(content: &mut Content, engine: &Engine, now: Nanos, beside: Context, filter: &Filter) {
        content.view = view::build(engine, now, beside, filter, Sort::Pid).with_left_over_merged(Sort::Pid);
        let stats = engine.shown();
        let frame = now.since(stats.frame_began);
        let seconds = Duration::from_nanos(frame.0.max(1)).as_secs_f64();
        content.entered = [0.0; TcpState::COUNT];
        for (old, row) in stats.in_frame.iter().enumerate() {
            for (new, count) in row.iter().enumerate() {
                let rate = view::per_second(*count, seconds);
                content.rates[old][new] = rate;
                content.entered[new] += rate;
            }
        }
        content.changes = stats.matrix;
    }

    /// Whether the evaluation before is long enough ago for another.
    pub(crate) fn may_evaluate(&self, now: Nanos) -> bool {
        self.evaluations.is_due(now)
    }

    /// Evaluates the moment by all rules: all sockets, whatever the filter. `namespaces` are the network namespaces as they are;
    /// none of a recording.
    pub fn evaluate(&mut self, content: &mut Content, engine: &Engine, now: Nanos, namespaces: Vec<Netns>) {
        let GatheredSockets {
            mut sockets,
            mut processes,
            mut networks,
            ..
        } = gather::of_engine(engine, &self.happened, now, &Filter::default());
        let evidence = &content.evidence;
        evidence.complete(&mut sockets, &content.queues);
        networks.extend(evidence.networks());
        for process in &mut processes {
            process.descriptors = content.descriptors.get(&process.key).copied();
        }
        let scene = Scene {
            watched: content.view.watched,
            sockets,
            networks,
            processes,
            namespaces,
            history: std::mem::take(&mut self.happened),
            ..Scene::default()
        };
        content.findings = findings::evaluate(&scene);
        content.is_memory_short = tcp_memory::is_short(&scene.namespaces);
        self.happened = scene.history;
        content.ports = content::ports(&scene.namespaces);
        content.limits = content::limits(&scene.namespaces);
    }

    /// Notes when an evaluation ended, and how much of a processor's time it took.
    pub(crate) fn evaluated(&mut self, ended: Nanos, cost: Nanos) {
        self.evaluations.finished(ended, cost.min(EVALUATE_LONGEST));
    }

    /// Gathers the processes of another filter, between two frames: with their sockets, and without rates.
    pub(crate) fn refilter(content: &mut Content, engine: &mut Engine, now: Nanos, filter: &Filter) {
        engine.select(filter, now);
        engine.begin_frame(now);
        let before = std::mem::take(&mut content.view);
        let beside = Context {
            watched: before.watched,
            lost: before.lost,
            audit: before.audit,
            scans: before.scans,
            share: before.share,
            limitations: before.limitations,
        };
        Self::picture(content, engine, now, beside, filter);
    }

    /// Gathers what the open view shows, drops what other views showed, and arranges the rows.
    pub fn rows(&self, app: &mut App, engine: &Engine, now: Nanos, filter: &Filter) {
        let route = app.current().route;
        let content = &mut app.content;
        content.now = now;
        // The next rows most likely fit into the memory of those before.
        if !matches!(route, Route::Connections(_)) {
            content.connections = Vec::new();
        }
        content.endpoints = Vec::new();
        content.history = None;
        content.histograms = Vec::new();
        let sources = Sources {
            gather: self,
            engine,
            now,
            filter,
        };
        route.view().gather(content, &sources);
        app.arrange();
    }

    /// Lifetimes that have ended recently, the latest last.
    pub(super) fn ended(&self) -> impl DoubleEndedIterator<Item = &Lifetime> {
        self.ended.iter()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    pub(super) gather: &'a Gather,
    pub(super) engine: &'a Engine,
    pub(super) now: Nanos,
    pub(super) filter: &'a Filter,
}
