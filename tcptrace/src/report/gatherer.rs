//! What a page shows that statistics do not keep: sockets over time, transitions by pair, handshakes by destination and
//! the connections held longest, of all connections and by process. Receives the engine after each batch; bounded.

use super::{
    arrows::Arrows,
    held::{Longest, Timeline, Timelines},
    over_time::{Axis, Series},
};
use crate::{
    connection::{change::Change, handshake::HandshakeEnd, row::Connection},
    engine::{Engine, collector::Collector},
    event::{Age, ConnectionId, Nanos, ProcessKey, TcpState},
    filter::Filter,
    kernel::counters::LOSS_CHECK_EVERY,
    owner::processes::ProcessId,
    record::run_stats::Beginning,
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
pub(crate) const MOST_PROCESSES: usize = 256;

/// Endpoints that are kept apart, of each process.
const MOST_ENDPOINTS: usize = 256;

/// What was gathered of all connections, of a process's, or of those of several.
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
    /// `old` is the state that the connection is counted in.
    fn count(
        &mut self,
        axis: &Axis,
        bucket: usize,
        change: &Change,
        old: Option<TcpState>,
        facts: &Facts<'_>,
        ended: Option<Timeline>,
    ) {
        self.series.count(axis, bucket, change.time, old, after(change));
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
        if let Some(timeline) = ended {
            self.longest.push(timeline, change.time);
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

/// The state that a connection is in after a change; `None` where it ends.
fn after(change: &Change) -> Option<TcpState> {
    (change.new != TcpState::Close).then_some(change.new)
}

/// A process; `None` where the owner of connections is not known.
pub(crate) type OwnerKey = Option<ProcessKey>;

/// Records that were lost, and gaps of the recording, until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) records: u64,
    pub(crate) gaps: u32,
}

impl Lost {
    pub(crate) const fn of(records: u64, gaps: u32) -> Self {
        Self { records, gaps }
    }
}

/// Records that were lost, and gaps, in one of these buckets or in several of them: it is only known when they were
/// missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) count: u64,
}

/// Gathers from batch to batch.
#[derive(Debug)]
pub(crate) struct Gatherer {
    filter: Filter,
    pub(crate) axis: Axis,
    /// Of all connections.
    pub(crate) all: Scope,
    pub(crate) by_process: HashMap<OwnerKey, Scope>,
    /// Of processes that were added up.
    pub(crate) rest: Scope,
    /// Whether any process was added up.
    pub(crate) is_folded: bool,
    /// In the order of time; one ends no later than in the bucket in which the next begins, as far as checks go.
    pub(crate) losses: Vec<Loss>,
    lost: Lost,
    /// When `lost` was read last.
    checked: Nanos,
    /// Durations by process.
    pub(crate) durations: Collector,
    timelines: Timelines,
    /// The connections that are counted now, by whom and in which state. Those without a cookie cannot be recognised.
    counted_as: HashMap<ConnectionId, (OwnerKey, TcpState)>,
    /// The bucket in which the table was counted last, and how many sockets snapshots had shown by then.
    counted: Option<(usize, u64)>,
}

impl Gatherer {
    /// Begins with a span of a recording, of which `engine` has the statistics.
    pub(crate) fn of_span(filter: &Filter, engine: &Engine, beginning: &Beginning) -> Self {
        let watched_from = engine.stats.watched_from.unwrap_or(beginning.time);
        let lost = Lost::of(beginning.lost, beginning.gaps);
        Self::new(filter, beginning.time, watched_from, lost)
    }

    /// Begins at `began`, with what `filter` selects, which must not select states. `lost` is what was lost before.
    pub(crate) fn new(filter: &Filter, began: Nanos, watched_from: Nanos, lost: Lost) -> Self {
        Self {
            filter: filter.clone(),
            axis: Axis::new(began),
            all: Scope::default(),
            by_process: HashMap::new(),
            rest: Scope::default(),
            is_folded: false,
            losses: Vec::new(),
            lost,
            checked: began,
            durations: Collector::new(filter, By::Process, watched_from),
            timelines: Timelines::default(),
            counted_as: HashMap::new(),
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
        self.count_losses(bucket, now, lost);
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
        for connection in engine.table.iter() {
            if connection.state.tcp == TcpState::Listen {
                continue;
            }
            let Some(owner_key) = self.owner_key(engine, connection) else {
                continue;
            };
            let timeline = self.timelines.of(connection).of_owner(owner_key);
            self.all.longest.push(timeline, now);
            if let Some(scope) = self.by_process.get_mut(&owner_key) {
                scope.longest.push(timeline, now);
            } else {
                self.rest.longest.push(timeline, now);
            }
        }
        let scopes = self.by_process.values_mut();
        for scope in scopes.chain([&mut self.all, &mut self.rest]) {
            scope.series.extend_to(bucket);
        }
    }

    /// What is missing since the last time went missing since then, or since the counters were read before.
    fn count_losses(&mut self, bucket: usize, now: Nanos, lost: Lost) {
        let count = lost.records.saturating_sub(self.lost.records)
            + u64::from(lost.gaps.saturating_sub(self.lost.gaps));
        let since = self.checked.min(Nanos(now.0.saturating_sub(LOSS_CHECK_EVERY.0)));
        (self.lost, self.checked) = (lost, now);
        if count > 0 {
            self.losses.push(Loss {
                first: self.axis.bucket_of(since).min(bucket),
                last: bucket,
                count,
            });
            self.join_losses();
        }
    }

    /// Adds up those of the same buckets, so that there are not many more than buckets.
    fn join_losses(&mut self) {
        self.losses.dedup_by(|next, loss| {
            let is_same = (next.first, next.last) == (loss.first, loss.last);
            if is_same {
                loss.count += next.count;
            }
            is_same
        });
    }

    fn count_change(&mut self, engine: &Engine, change: &Change) {
        let bucket = self.bucket(change.time);
        let Some(process) = engine.accepted_change(change, &self.filter) else {
            self.leave(bucket, change.id);
            return;
        };
        let owner = process.and_then(|id| engine.table.processes.get(id));
        let owner_key = owner.map(|process| process.key);
        let ended = self
            .timelines
            .count(change)
            .map(|timeline| timeline.of_owner(owner_key));
        let facts = Facts {
            endpoints: &change.endpoints,
            netns: change.netns,
            role: change.role,
            owner,
        };
        let axis = self.axis;
        let old = self.hand_over(bucket, change, owner_key);
        self.all.count(&axis, bucket, change, old, &facts, ended);
        let scope = self.scope_of(owner_key);
        if let Some(process) = owner {
            scope.comm = process.comm;
        }
        scope.count(&axis, bucket, change, old, &facts, ended);
    }

    /// Makes `whose` the one that the connection of a change is counted for, in the state that is returned; `None` where
    /// it begins. What enters or leaves the selection by a change of its owner does so in all connections, too.
    fn hand_over(&mut self, bucket: usize, change: &Change, owner_key: OwnerKey) -> Option<TcpState> {
        let old = change.dwell.map(|_| change.old);
        if change.id.cookie == 0 {
            return old;
        }
        let counted = match after(change) {
            Some(new) => self.counted_as.insert(change.id, (owner_key, new)),
            None => self.counted_as.remove(&change.id),
        };
        match (counted, old) {
            (Some((before, state)), _) if before != owner_key => {
                self.scope_of(before).series.leave(bucket, state);
                self.scope_of(owner_key).series.enter(bucket, state);
                Some(state)
            }
            (Some((_, state)), _) => Some(state),
            (None, Some(state)) => {
                self.all.series.enter(bucket, state);
                self.scope_of(owner_key).series.enter(bucket, state);
                Some(state)
            }
            (None, None) => None,
        }
    }

    /// Ends the count of a connection that is no longer selected.
    fn leave(&mut self, bucket: usize, id: ConnectionId) {
        if let Some((owner_key, state)) = self.counted_as.remove(&id) {
            self.all.series.leave(bucket, state);
            self.scope_of(owner_key).series.leave(bucket, state);
        }
    }

    /// The scope that a process is counted in; [`Self::rest`] where there is no room for one of its own.
    fn scope_of(&mut self, owner_key: OwnerKey) -> &mut Scope {
        if self.by_process.len() < MOST_PROCESSES || self.by_process.contains_key(&owner_key) {
            self.by_process.entry(owner_key).or_default()
        } else {
            self.is_folded = true;
            &mut self.rest
        }
    }

    /// Counts the sockets in the table: snapshots show some that no transition does, and owners become known later.
    fn count_table(&mut self, engine: &Engine, bucket: usize) {
        let mut all: Counts = [0; TcpState::COUNT];
        let mut counted: HashMap<OwnerKey, (Option<ProcessId>, Counts)> = HashMap::new();
        self.counted_as.clear();
        for connection in engine.table.iter() {
            let Some(process) = engine.accepted_row(connection, &self.filter) else {
                continue;
            };
            let key = process.and_then(|id| Some(engine.table.processes.get(id)?.key));
            let state = connection.state.tcp.index();
            all[state] += 1;
            if connection.id().cookie != 0 {
                self.counted_as
                    .insert(connection.id(), (key, connection.state.tcp));
            }
            counted.entry(key).or_insert((process, [0; TcpState::COUNT])).1[state] += 1;
        }
        self.all.series.set(bucket, all);
        for (owner_key, scope) in &mut self.by_process {
            if !counted.contains_key(owner_key) {
                scope.series.set(bucket, [0; TcpState::COUNT]);
            }
        }
        let mut rest = [0; TcpState::COUNT];
        // In an order of their own, since room is made by what was there before.
        let mut counted: Vec<_> = counted.into_iter().collect();
        counted.sort_unstable_by_key(|(owner_key, (_, counts))| {
            (Reverse(counts[TcpState::CloseWait.index()]), *owner_key)
        });
        for (owner_key, (process, counts)) in counted {
            if self.by_process.len() >= MOST_PROCESSES && !self.by_process.contains_key(&owner_key) {
                self.is_folded = true;
                for (sum, more) in rest.iter_mut().zip(counts) {
                    *sum += more;
                }
                continue;
            }
            let scope = self.by_process.entry(owner_key).or_default();
            if let Some(process) = process.and_then(|id| engine.table.processes.get(id)) {
                scope.comm = process.comm;
            }
            scope.series.set(bucket, counts);
        }
        self.rest.series.set(bucket, rest);
    }

    fn owner_key(&self, engine: &Engine, connection: &Connection) -> Option<OwnerKey> {
        let process = engine.accepted_row(connection, &self.filter)?;
        Some(process.and_then(|id| Some(engine.table.processes.get(id)?.key)))
    }

    /// Where there are too many processes, adds up those with the least to see. Once in a bucket, before everything is
    /// counted anew: what was added up is nobody's from then on.
    fn make_room(&mut self, now: Nanos) {
        if self.by_process.len() < MOST_PROCESSES {
            return;
        }
        let mut ranked: Vec<(u64, OwnerKey)> = self
            .by_process
            .iter()
            .map(|(owner_key, scope)| (scope.activity(), *owner_key))
            .collect();
        ranked.sort_unstable();
        for (_, owner_key) in ranked.iter().take(MOST_PROCESSES / 2) {
            if let Some(scope) = self.by_process.remove(owner_key) {
                self.is_folded = true;
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
            for loss in &mut self.losses {
                (loss.first, loss.last) = (loss.first / 2, loss.last / 2);
            }
            self.join_losses();
            self.counted = None;
        }
        // An end that waited for its explanation is older than the latest bucket, and belongs to what has passed.
        let latest = self.all.series.buckets().len().saturating_sub(1);
        self.axis.bucket_of(time).max(latest)
    }
}

#[cfg(test)]
mod tests;
