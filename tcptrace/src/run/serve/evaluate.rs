//! Evaluates the moment for metrics, by all rules, at a bounded share of the time: over a watch of five to ten minutes, so that
//! what was wrong an hour ago is not found any more.

use crate::{
    duty_cycle::DutyCycle,
    event::{Nanos, TcpState},
    filter::Filter,
    findings::{
        self,
        gather::{self, GatheredSockets},
        history::History,
        reading::{Queue, SocketEvidence},
        rules::tcp_memory,
        scene::{Netns, Scene},
        settings,
    },
    kernel::clock,
    metrics::{Evaluation, Totals},
    run::session::Session,
    source::{
        netns_state::{self, Watched},
        process,
    },
};
use hashbrown::HashMap;
use nix::unistd::{SysconfVar, sysconf};

/// How long a watch is when a second one begins, and when that one takes its place.
const HALF: Nanos = Nanos::from_secs(300);
const WHOLE: Nanos = Nanos::from_secs(600);

/// How often sockets are read, at most, and the part of the time that this may take: a scrape waits for it. A reading that
/// takes longer counts as this long, so that there is another within half a minute.
const READ_EVERY: Nanos = Nanos::from_secs(1);
const READ_PAUSE: u64 = 50;
const READ_LONGEST: Nanos = Nanos::from_millis(600);

/// The part of the time that evaluating may take.
const EVALUATE_PAUSE: u64 = 100;

/// Maximum number of processes whose descriptors are counted.
const DESCRIPTORS_OF: usize = 200;

/// A span of time, and what happened in it.
struct Watch {
    began: Nanos,
    history: History,
    namespaces: Watched,
}

impl Watch {
    fn begin(filter: &Filter, now: Nanos) -> Self {
        Self {
            began: now,
            history: History::of(filter),
            namespaces: Watched::default(),
        }
    }
}

/// Evaluates the rules over the last minutes, and has the latest evaluation.
pub(super) struct Evaluator {
    filter: Filter,
    older_than: Option<Nanos>,
    max_series: usize,
    watch: Watch,
    /// The one that takes its place; there is none for half of the time.
    next: Option<Watch>,
    sysctls: Vec<&'static str>,
    page_bytes: u64,
    reads: DutyCycle,
    evaluations: DutyCycle,
    queues: HashMap<u64, Queue>,
    totals: Totals,
    evidence: SocketEvidence,
    is_memory_short: bool,
    latest: Option<Evaluation>,
}

impl Evaluator {
    /// Of what `filter` selects, from `now` on. A CLOSE_WAIT is a leak from the age `older_than` on, if that is given.
    pub(super) fn begin(filter: &Filter, older_than: Option<Nanos>, max_series: usize, now: Nanos) -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            filter: filter.clone(),
            older_than,
            max_series,
            watch: Watch::begin(filter, now),
            next: None,
            sysctls: settings::names(),
            page_bytes: page.map_or(4096, i64::unsigned_abs),
            reads: DutyCycle::new(READ_EVERY, READ_PAUSE),
            evaluations: DutyCycle::new(Nanos(0), EVALUATE_PAUSE),
            queues: HashMap::new(),
            totals: Totals::new(max_series),
            evidence: SocketEvidence::default(),
            is_memory_short: false,
            latest: None,
        }
    }

    /// Counts the changes of the engine's current batch, and takes the samples that are due.
    pub(super) fn count(&mut self, session: &Session, now: Nanos) {
        let age = now.since(self.watch.began);
        if age >= HALF && self.next.is_none() {
            self.next = Some(Watch::begin(&self.filter, now));
        }
        if age >= WHOLE
            && let Some(next) = self.next.take()
        {
            self.watch = next;
        }
        for watch in [Some(&mut self.watch), self.next.as_mut()].into_iter().flatten() {
            watch.history.count(&session.engine);
            watch.history.sample(&session.engine, now);
        }
    }

    /// The latest evaluation, if there was one.
    pub(super) const fn latest(&self) -> Option<&Evaluation> {
        self.latest.as_ref()
    }

    /// Evaluates anew, if it is time for that.
    pub(super) fn evaluate(&mut self, session: &Session) {
        let now = clock::monotonic();
        if self.evaluations.is_due(now) {
            self.latest = Some(self.new_evaluation(session, now));
            // Other threads and the scout work for it too: so the whole time is charged.
            let ended = clock::monotonic();
            self.evaluations.finished(ended, ended.since(now));
        }
    }

    /// Reads the queues of listeners and of sockets in CLOSE_WAIT, and what the network does to those that wait, if it is
    /// time for that.
    pub(super) fn read_sockets(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        if !self.reads.is_due(now) {
            return;
        }
        let mut queues = HashMap::new();
        let mut evidence = SocketEvidence::default();
        let is_memory_short = self.is_memory_short;
        let read = session.visit_sockets(&self.filter.netns, |socket| {
            evidence.note(socket, is_memory_short);
            if matches!(socket.row.state, TcpState::CloseWait | TcpState::Listen) {
                queues.insert(socket.row.sock.cookie, Queue::of(socket));
            }
        });
        // What cannot be read now is as it was.
        if read.is_ok() {
            self.queues = queues;
            self.evidence = evidence;
        }
        let ended = clock::monotonic();
        self.reads.finished(ended, ended.since(now).min(READ_LONGEST));
    }

    fn new_evaluation(&mut self, session: &Session, now: Nanos) -> Evaluation {
        let engine = &session.engine;
        let namespaces = self.namespaces(now);
        let GatheredSockets {
            mut sockets,
            mut processes,
            ..
        } = gather::of_engine(engine, &self.watch.history, now, &self.filter);
        self.evidence.complete(&mut sockets, &self.queues);
        // The sockets of each process, without listeners that the filter excludes.
        let mut owned: HashMap<usize, u64> = HashMap::new();
        let asked_for = sockets.iter().filter(|socket| socket.is_asked_for);
        for owner in asked_for.filter_map(|socket| socket.owner) {
            *owned.entry(owner.process).or_default() += 1;
        }
        let mut order: Vec<(usize, u64)> = owned.into_iter().collect();
        order.sort_unstable_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
        let not_counted = order.len().saturating_sub(DESCRIPTORS_OF);
        for (at, _) in order.into_iter().take(DESCRIPTORS_OF) {
            processes[at].descriptors = process::descriptors_of(processes[at].key);
        }
        let wanted = self.filter.asks_for_processes().then(Default::default);
        let scene = Scene {
            watched: now.since(self.watch.began),
            sockets,
            networks: self.evidence.networks().collect(),
            processes,
            namespaces,
            history: std::mem::take(&mut self.watch.history),
            older_than: self.older_than,
            asked: gather::asked(&self.filter, wanted, Some(engine)),
            ..Scene::default()
        };
        let found = findings::evaluate(&scene);
        self.is_memory_short = tcp_memory::is_short(&scene.namespaces);
        let mut evaluation = Evaluation::of(
            &scene,
            &found,
            &self.queues,
            &mut self.totals,
            self.page_bytes,
            now,
            self.max_series,
        );
        evaluation.note_not_counted(not_counted);
        self.watch.history = scene.history;
        evaluation
    }

    fn namespaces(&mut self, now: Nanos) -> Vec<Netns> {
        let wanted = (!self.filter.netns.is_empty()).then_some(self.filter.netns.as_slice());
        let mut namespaces = netns_state::read(wanted, &[], &self.sysctls, now);
        if let Some(next) = &mut self.next {
            next.namespaces.compare(&mut namespaces);
        }
        self.watch.namespaces.compare(&mut namespaces);
        namespaces
    }
}
