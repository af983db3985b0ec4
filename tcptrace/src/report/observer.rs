//! What a page shows that statistics do not keep: sockets over time, transitions by pair, handshakes by destination and
//! the connections held longest, of all connections and by process. Receives the engine after each batch; bounded.

use super::{
    arrows::Arrows,
    held::{Longest, Path, Paths},
    over_time::{Axis, Series},
};
use crate::{
    connection::{change::Change, handshake::HandshakeEnd, row::Connection},
    engine::{Engine, collector::Collector},
    event::{Age, Nanos, ProcessKey, TcpState},
    filter::Filter,
    owner::processes::ProcessId,
    stats::{
        key::{By, Facts},
        measure::{Kind, Measure},
        top_k::TopK,
    },
    view::Counts,
};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// Processes that are kept apart; when there are more, the less active half is added up, and so are new ones until then.
const MOST_PROCESSES: usize = 256;

/// Endpoints that are kept apart, of each process.
const MOST_ENDPOINTS: usize = 256;

/// Of some connections.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The process's name, zero-padded; zeros for several.
    pub(crate) comm: [u8; 16],
    pub(crate) series: Series,
    pub(crate) arrows: Arrows,
    /// Handshakes by endpoint.
    pub(crate) handshakes: TopK,
    pub(crate) longest: Longest,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            comm: [0; 16],
            series: Series::default(),
            arrows: Arrows::default(),
            handshakes: TopK::new(By::Endpoint, MOST_ENDPOINTS),
            longest: Longest::default(),
        }
    }
}

impl Scope {
    fn count(&mut self, axis: &Axis, bucket: usize, change: &Change, facts: &Facts<'_>, ended: Option<Path>) {
        let old = change.dwell.map(|_| change.old);
        let new = (change.new != TcpState::Close).then_some(change.new);
        self.series.count(axis, bucket, change.time, old, new);
        self.arrows.count(change);
        if let (Some(end), Some(dwell)) = (HandshakeEnd::of(change), change.dwell)
            && let Some(bins) = self.handshakes.cells_of(facts)
        {
            let kind = match dwell {
                Age::Exact(_) => Kind::Finished,
                Age::AtLeast(_) => Kind::LowerBound,
            };
            bins.record(Measure::Handshake(end), kind, dwell.span());
        }
        if let Some(path) = ended {
            self.longest.push(path, change.time);
        }
    }

    /// Adds another scope. Handshakes by endpoint are those of one process, and are not added.
    pub(crate) fn add(&mut self, other: &Self, now: Nanos) {
        self.series.add(&other.series);
        self.arrows.add(&other.arrows);
        self.longest.add(&other.longest, now);
    }

    /// How much there is to see of it.
    fn activity(&self) -> u64 {
        self.series.changes() + self.series.most(TcpState::CloseWait)
    }
}

/// A process; `None` where the owner of connections is not known.
pub(crate) type Whose = Option<ProcessKey>;

/// Records that were lost, and gaps of the recording, until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) records: u64,
    pub(crate) gaps: u32,
}

/// Gathers from batch to batch.
#[derive(Debug)]
pub(crate) struct Observer {
    filter: Filter,
    pub(crate) axis: Axis,
    /// Of all connections.
    pub(crate) all: Scope,
    pub(crate) by_process: HashMap<Whose, Scope>,
    /// Of processes that were added up.
    pub(crate) rest: Scope,
    /// By bucket, records that were lost and gaps.
    pub(crate) losses: Vec<u64>,
    lost: Lost,
    /// Durations by process.
    pub(crate) durations: Collector,
    paths: Paths,
    /// The bucket in which the table was counted last, and how many sockets snapshots had shown by then.
    counted: Option<(usize, u64)>,
}

impl Observer {
    /// Begins at `began`, with what `filter` selects; its states are ignored.
    pub(crate) fn new(filter: &Filter, began: Nanos, watched_from: Nanos) -> Self {
        Self {
            filter: Filter {
                states: Vec::new(),
                ..filter.clone()
            },
            axis: Axis::new(began),
            all: Scope::default(),
            by_process: HashMap::new(),
            rest: Scope::default(),
            losses: Vec::new(),
            lost: Lost::default(),
            durations: Collector::new(filter, By::Process, watched_from),
            paths: Paths::default(),
            counted: None,
        }
    }

    /// Counts the engine's present batch, which was finished at `now`. `lost` is what was lost by then.
    pub(crate) fn count(&mut self, engine: &Engine, now: Nanos, lost: Lost) {
        self.durations.count(engine);
        for change in engine.batch() {
            self.count_change(engine, change);
        }
        let bucket = self.bucket(now);
        if self.losses.len() <= bucket {
            self.losses.resize(bucket + 1, 0);
        }
        self.losses[bucket] += lost.records.saturating_sub(self.lost.records)
            + u64::from(lost.gaps.saturating_sub(self.lost.gaps));
        self.lost = lost;
        let counted = Some((bucket, engine.table.tally.shown));
        if self.counted != counted {
            self.counted = counted;
            self.make_room(now);
            self.count_table(engine, bucket);
        }
    }

    /// At the end of everything: what is still there.
    pub(crate) fn finish(&mut self, engine: &Engine, now: Nanos) {
        let bucket = self.bucket(now);
        self.count_table(engine, bucket);
        self.losses.resize(bucket + 1, 0);
        for connection in engine.table.iter() {
            if connection.state.tcp == TcpState::Listen {
                continue;
            }
            let Some(whose) = self.whose(engine, connection) else {
                continue;
            };
            let path = self.paths.of(connection).of_owner(whose);
            self.all.longest.push(path, now);
            if let Some(scope) = self.by_process.get_mut(&whose) {
                scope.longest.push(path, now);
            } else {
                self.rest.longest.push(path, now);
            }
        }
        let scopes = self.by_process.values_mut();
        for scope in scopes.chain([&mut self.all, &mut self.rest]) {
            scope.series.extend_to(bucket);
        }
    }

    fn count_change(&mut self, engine: &Engine, change: &Change) {
        let Some(process) = engine.accepted_change(change, &self.filter) else {
            return;
        };
        let bucket = self.bucket(change.time);
        let owner = process.and_then(|id| engine.table.processes.get(id));
        let whose = owner.map(|process| process.key);
        let ended = self.paths.count(change).map(|path| path.of_owner(whose));
        let facts = Facts {
            endpoints: &change.endpoints,
            netns: change.netns,
            role: change.role,
            owner,
        };
        let axis = self.axis;
        self.all.count(&axis, bucket, change, &facts, ended);
        let has_room = self.by_process.len() < MOST_PROCESSES || self.by_process.contains_key(&whose);
        if !has_room {
            self.rest.count(&axis, bucket, change, &facts, ended);
            return;
        }
        let scope = self.by_process.entry(whose).or_default();
        if let Some(process) = owner {
            scope.comm = process.comm;
        }
        scope.count(&axis, bucket, change, &facts, ended);
    }

    /// Counts the sockets in the table: snapshots show some that no transition does, and owners become known later.
    fn count_table(&mut self, engine: &Engine, bucket: usize) {
        let mut all: Counts = [0; TcpState::COUNT];
        let mut counted: HashMap<Whose, (Option<ProcessId>, Counts)> = HashMap::new();
        for connection in engine.table.iter() {
            let Some(process) = engine.accepted_row(connection, &self.filter) else {
                continue;
            };
            let key = process.and_then(|id| Some(engine.table.processes.get(id)?.key));
            let state = connection.state.tcp.index();
            all[state] += 1;
            counted.entry(key).or_insert((process, [0; TcpState::COUNT])).1[state] += 1;
        }
        self.all.series.set(bucket, all);
        for (whose, scope) in &mut self.by_process {
            if !counted.contains_key(whose) {
                scope.series.set(bucket, [0; TcpState::COUNT]);
            }
        }
        let mut rest = [0; TcpState::COUNT];
        // In an order of their own, since room is made by what was there before.
        let mut counted: Vec<_> = counted.into_iter().collect();
        counted.sort_unstable_by_key(|(whose, (_, counts))| {
            (Reverse(counts[TcpState::CloseWait.index()]), *whose)
        });
        for (whose, (process, counts)) in counted {
            if self.by_process.len() >= MOST_PROCESSES && !self.by_process.contains_key(&whose) {
                for (sum, more) in rest.iter_mut().zip(counts) {
                    *sum += more;
                }
                continue;
            }
            let scope = self.by_process.entry(whose).or_default();
            if let Some(process) = process.and_then(|id| engine.table.processes.get(id)) {
                scope.comm = process.comm;
            }
            scope.series.set(bucket, counts);
        }
        self.rest.series.set(bucket, rest);
    }

    fn whose(&self, engine: &Engine, connection: &Connection) -> Option<Whose> {
        let process = engine.accepted_row(connection, &self.filter)?;
        Some(process.and_then(|id| Some(engine.table.processes.get(id)?.key)))
    }

    /// Where there are too many processes, adds up those with the least to see. Once in a bucket, before everything is
    /// counted anew: what was added up is nobody's from then on.
    fn make_room(&mut self, now: Nanos) {
        if self.by_process.len() < MOST_PROCESSES {
            return;
        }
        let mut ranked: Vec<(u64, Whose)> = self
            .by_process
            .iter()
            .map(|(whose, scope)| (scope.activity(), *whose))
            .collect();
        ranked.sort_unstable();
        for (_, whose) in ranked.iter().take(MOST_PROCESSES / 2) {
            if let Some(scope) = self.by_process.remove(whose) {
                self.rest.add(&scope, now);
            }
        }
    }

    /// The bucket of a time, after the buckets were widened if that is necessary.
    fn bucket(&mut self, time: Nanos) -> usize {
        for _ in 0..self.axis.widenings(time) {
            self.axis.width = Nanos(self.axis.width.0.saturating_mul(2));
            let width = self.axis.width;
            let scopes = self.by_process.values_mut();
            for scope in scopes.chain([&mut self.all, &mut self.rest]) {
                scope.series.widen(width);
            }
            let pairs = self.losses.chunks(2);
            self.losses = pairs.map(|pair| pair.iter().sum()).collect();
            self.counted = None;
        }
        // An end that waited for its explanation is older than the latest bucket, and belongs to what has passed.
        let latest = self.all.series.buckets().len().saturating_sub(1);
        self.axis.bucket_of(time).max(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Input,
        event::fixture::{comm, of_client},
        report::over_time::{MOST, total},
    };
    use TcpState::{Close, CloseWait, Established, SynSent};

    fn play(engine: &mut Engine, observer: &mut Observer, pid: u32, at: Nanos, step: (TcpState, TcpState)) {
        let event = of_client(ProcessKey::new(pid, 1), comm("client"), pid.into(), at, step);
        engine.apply(Input::Events(&[event]));
        engine.finish_batch();
        observer.count(engine, at, Lost::default());
    }

    #[test]
    fn processes_beyond_the_limit_are_added_up_and_nothing_is_counted_twice() {
        let processes = u32::try_from(3 * MOST_PROCESSES).expect("some hundreds");
        let mut engine = Engine::new(4_096);
        let mut observer = Observer::new(&Filter::default(), Nanos(0), Nanos(0));
        // Long enough for the buckets to be widened on the way.
        let second = |pid: u32| Nanos::from_secs(pid.into());
        for pid in 1..=processes {
            play(&mut engine, &mut observer, pid, second(pid), (Close, SynSent));
            if pid == 1 {
                play(
                    &mut engine,
                    &mut observer,
                    pid,
                    second(pid),
                    (SynSent, Established),
                );
                play(
                    &mut engine,
                    &mut observer,
                    pid,
                    second(pid),
                    (Established, CloseWait),
                );
            }
        }
        observer.finish(&engine, second(processes));
        assert!(observer.by_process.len() <= MOST_PROCESSES);
        assert!(
            observer.by_process.contains_key(&Some(ProcessKey::new(1, 1))),
            "the busiest stays"
        );
        let now = |scope: &Scope| total(scope.series.now());
        let apart: u64 = observer.by_process.values().map(now).sum();
        assert_eq!(now(&observer.all), u64::from(processes));
        assert_eq!(apart + now(&observer.rest), u64::from(processes));
        let changes = |scope: &Scope| scope.series.changes();
        let apart: u64 = observer.by_process.values().map(changes).sum();
        assert_eq!(apart + changes(&observer.rest), changes(&observer.all));
        let buckets = observer.all.series.buckets();
        assert!(
            buckets.len() <= MOST && buckets.len() > MOST / 2,
            "{}",
            buckets.len()
        );
        let longest = observer.all.longest.paths();
        assert_eq!(
            longest[0].owner,
            Some(ProcessKey::new(1, 1)),
            "it is in CLOSE_WAIT"
        );
    }
}
