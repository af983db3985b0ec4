//! The one engine: everything known about sockets, from the kernel, a recording or a test, is an [`Input`] to it. It
//! keeps the table and the statistics, and collects changes into batches.

pub mod collector;
mod late_ports;
mod latest_network;
mod selected;

use crate::{
    connection::{blindspots::Blindspots, change::Change, holders::Holders, row::Connection, table::Table},
    engine::{late_ports::LatePorts, latest_network::LatestNetwork, selected::Selected},
    event::{Event, Nanos, ResetReason, SockRef, Task},
    filter::{Filter, FilterInput},
    kernel::reset_reasons::ResetReasons,
    owner::{container::Location, policy::Owner, processes::ProcessId},
    socket::{Row, scan::Scan, snapshot::Snapshot},
    stats::Stats,
};
use std::sync::Arc;

/// Something that the engine is to know. A recording is a list of these, so that a replay takes the steps of the live
/// run.
#[derive(Debug)]
pub enum Input<'a> {
    /// Events as the kernel reported them. Several at a time are cheaper where the caches do not hold the table.
    Events(&'a [Event]),
    /// The time: ends that have waited for an explanation for long enough are reported with what is known.
    Settle(Nanos),
    /// Tracing ended at this time: nothing waits any longer.
    Stop(Nanos),
    /// A snapshot of the kernel's sockets, and the events that came while it was taken, in order of time. Of rows and
    /// events the newer wins; what the snapshot should show and does not has ended.
    Snapshot(&'a Snapshot, &'a [Event]),
    /// A poll of the timewait socks in FIN_WAIT2, for kernels without a hook that reports their FIN.
    Poll {
        /// When it was begun.
        begun: Nanos,
        /// Those that are still known as such.
        rows: &'a [Row],
        /// The events that came meanwhile, in order of time.
        events: &'a [Event],
    },
    /// Who holds which socket.
    Holders {
        /// The scan of open files.
        scan: Scan,
        /// CPU time that it took.
        cost: Nanos,
    },
    /// What the hooks do not report from now on.
    Blindspots(Blindspots),
    /// The kernel could not deliver records until this time.
    Lost {
        /// When that was noticed.
        time: Nanos,
        /// How many since the start.
        total: u64,
    },
    /// Where a process runs. A live session enters it into the engine's list of processes itself.
    Container {
        /// The process, as in its events.
        task: Task,
        /// Where it runs, and the cgroup from which that is derived.
        location: Arc<Location>,
    },
}

/// Table and statistics.
#[derive(Debug)]
pub struct Engine {
    /// Live connections.
    pub table: Table,
    /// Counts of all connections.
    pub stats: Box<Stats>,
    /// Counts of those that a filter accepts, where there is one.
    selected: Option<Box<Selected>>,
    /// Who holds which socket, by the latest scan.
    pub holders: Holders,
    /// What the network did to connections, by the latest snapshot of a run that is recorded.
    pub(crate) network: LatestNetwork,
    /// What the kernel that the events come from calls its reasons for a reset.
    pub reset_reasons: ResetReasons,
    late_ports: LatePorts,
    is_finished: bool,
    /// How many changes of the batch [`Self::count_selected`] has counted.
    counted: usize,
}

/// Number of changes whose memory is reused from batch to batch; a snapshot that retires a full table causes far more.
const KEPT_CHANGES: usize = 65_536;

impl Engine {
    /// An engine for at most `max_connections` live connections.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self {
            table: Table::new(max_connections),
            stats: Box::default(),
            selected: None,
            holders: Holders::default(),
            network: LatestNetwork::default(),
            reset_reasons: ResetReasons::default(),
            late_ports: LatePorts::default(),
            is_finished: false,
            counted: 0,
        }
    }

    /// Applies an input. Returns the changes that it makes known, in the order in which they become known; the present
    /// batch has them too.
    #[inline(always)]
    pub fn apply(&mut self, input: Input<'_>) -> &[Change] {
        if self.is_finished {
            self.clear_batch();
        }
        let first = self.table.changes.len();
        // Nearly all inputs are events.
        if let Input::Events(events) = input {
            self.ingest(events);
        } else {
            self.apply_rest(input);
        }
        let changes = &self.table.changes[first..];
        for change in changes {
            self.stats.count(change);
        }
        changes
    }

    #[inline(always)]
    fn ingest(&mut self, events: &[Event]) {
        let [first, rest @ ..] = events else { return };
        self.stats.watched_from.get_or_insert(first.time);
        if !rest.is_empty() {
            self.table.prefetch(events.iter().map(|event| event.sock));
        }
        for event in events {
            self.table.apply(event);
        }
    }

    fn apply_rest(&mut self, input: Input<'_>) {
        match input {
            Input::Events(events) => self.ingest(events),
            Input::Settle(now) => self.table.settle(now),
            Input::Stop(_) => self.table.settle(Nanos(u64::MAX)),
            Input::Snapshot(snapshot, events) => self.merge(snapshot, events),
            Input::Poll { begun, rows, events } => {
                self.observe(rows, events);
                self.table.polled_before = begun;
            }
            Input::Holders { scan, .. } => {
                self.network.replace_options(&scan);
                self.holders.take_in(scan, &mut self.table);
            }
            Input::Blindspots(blindspots) => self.table.blindspots = blindspots,
            Input::Lost { time, .. } => self.table.note_loss(time),
            Input::Container { task, location } => {
                self.table.processes.settle_location(task.process, location);
            }
        }
    }

    /// Rows and the events that came while they were read, in order of time.
    fn observe(&mut self, rows: &[Row], events: &[Event]) {
        let mut rows = rows.iter().peekable();
        for event in events {
            while let Some(row) = rows.next_if(|row| row.time <= event.time) {
                self.table.observe(row);
            }
            self.table.apply(event);
        }
        for row in rows {
            self.table.observe(row);
        }
    }

    fn merge(&mut self, snapshot: &Snapshot, events: &[Event]) {
        let first = events
            .first()
            .map_or(snapshot.started, |event| event.time.min(snapshot.started));
        self.stats.watched_from.get_or_insert(first);
        self.network.replace(snapshot);
        self.observe(&snapshot.rows, events);
        let table = &mut self.table;
        table.retire_missing(snapshot.started, &snapshot.covered, &snapshot.rows);
        table.fix_roles();
        table.note_covered(&snapshot.covered);
        table.forget_children(snapshot.started, &snapshot.covered);
        table.forget_losses(snapshot.started);
    }

    /// Loads the rows of sockets that inputs are about to be about, so that they do not wait for memory one after the
    /// other. Changes nothing.
    pub fn prefetch(&mut self, socks: &[SockRef]) {
        self.table.prefetch(socks.iter().copied());
    }

    /// Ends the present batch and puts it in order of time: an end that waited for its explanation became known late. Enters
    /// local ports that the kernel chose after the change that it reported without one.
    /// The batch is valid until the next input; ending it again without an input in between gives an empty one.
    pub fn finish_batch(&mut self) {
        if self.is_finished {
            self.clear_batch();
        }
        let mut changes = std::mem::take(&mut self.table.changes);
        if !changes.is_sorted_by_key(|change| change.time) {
            changes.sort_by_key(|change| change.time);
        }
        self.late_ports.fill(&mut changes, &self.table);
        self.table.changes = changes;
        self.is_finished = true;
    }

    /// Begins a batch, without the changes of the one before.
    pub(crate) fn clear_batch(&mut self) {
        self.table.changes.clear();
        self.table.changes.shrink_to(KEPT_CHANGES);
        self.counted = 0;
        self.is_finished = false;
    }

    /// The changes of the present batch: all inputs since the batch before was finished.
    #[must_use]
    pub fn batch(&self) -> &[Change] {
        &self.table.changes
    }

    /// Completes the changes of the present batch by what became known after them: owners, and who opened a connection.
    pub(crate) fn complete_batch(&mut self) {
        let mut changes = std::mem::take(&mut self.table.changes);
        for change in &mut changes {
            self.table.complete(change);
        }
        self.table.changes = changes;
    }

    /// From `now` on, also counts the changes of the connections that this filter accepts, which [`Self::shown`] then
    /// has. Forgets those of a filter before.
    pub(crate) fn select(&mut self, filter: &Filter, now: Nanos) {
        let watched_from = self.stats.watched_from.unwrap_or(now);
        self.selected =
            (*filter != Filter::default()).then(|| Box::new(Selected::new(filter, now, watched_from)));
    }

    /// Counts the changes of the present batch that the filter accepts, where there is one; each change once. Where
    /// processes run must be known by then, if the filter asks for containers.
    pub(crate) fn count_selected(&mut self) {
        if let Some(mut selected) = self.selected.take() {
            selected.count(self, &self.table.changes[self.counted..]);
            self.selected = Some(selected);
        }
        self.counted = self.table.changes.len();
    }

    pub(crate) const fn is_selecting(&self) -> bool {
        self.selected.is_some()
    }

    /// The statistics of what the filter accepts; those of all connections where there is none.
    pub(crate) fn shown(&self) -> &Stats {
        self.selected
            .as_ref()
            .map_or(&self.stats, |selected| &selected.stats)
    }

    /// Starts the counts of the next frame.
    pub(crate) fn begin_frame(&mut self, now: Nanos) {
        self.stats.begin_frame(now);
        if let Some(selected) = &mut self.selected {
            selected.stats.begin_frame(now);
        }
    }

    /// Begins all statistics again, and the batch, with a span of a recording.
    pub(crate) fn begin_span(&mut self, begin: Nanos) {
        self.clear_batch();
        *self.stats = Stats::of_span(begin);
        if let Some(selected) = &mut self.selected {
            selected.begin_span(begin);
        }
    }

    /// The name of a reason for a reset; `None` if there is none, or the kernel has no name for it.
    pub(crate) fn reset_reason(&self, reason: Option<ResetReason>) -> Option<&str> {
        self.reset_reasons.name(reason?)
    }

    /// The process that a socket counts for: its owner, or else another that has it open and that `filter` accepts. `None`
    /// where it accepts nobody of them, `Some(None)` where it accepts any and none is known.
    #[must_use]
    pub fn accepted_process(
        &self,
        owner: Option<Owner>,
        cookie: u64,
        filter: &Filter,
    ) -> Option<Option<ProcessId>> {
        let processes = &self.table.processes;
        let is_accepted = |id: &Option<ProcessId>| filter.accepts_owner(id.and_then(|id| processes.get(id)));
        let owner = owner.map(|owner| owner.process);
        if is_accepted(&owner) {
            return Some(owner);
        }
        let mut holders = self.holders.of(cookie).iter().map(|(id, _)| Some(*id));
        holders.find(is_accepted)
    }

    /// The process that a change counts for, by the owners that are known now; see [`Self::accepted_process`]. `None` where
    /// `filter` does not accept the change.
    #[expect(
        clippy::option_option,
        reason = "accepted or not, and owned by somebody known or not"
    )]
    pub(crate) fn accepted_change(&self, change: &Change, filter: &Filter) -> Option<Option<ProcessId>> {
        let subject = FilterInput {
            endpoints: &change.endpoints,
            netns: change.netns,
            states: &change.states(),
            owner: None,
        };
        if !filter.accepts_ends(&subject) {
            return None;
        }
        self.accepted_process(change.owner, change.id.cookie, filter)
    }

    /// The same of a connection in the table, in its present state.
    #[expect(
        clippy::option_option,
        reason = "accepted or not, and owned by somebody known or not"
    )]
    pub(crate) fn accepted_row(&self, row: &Connection, filter: &Filter) -> Option<Option<ProcessId>> {
        let subject = FilterInput {
            endpoints: &row.endpoints,
            netns: row.netns,
            states: &[row.state.tcp],
            owner: None,
        };
        if !filter.accepts_ends(&subject) {
            return None;
        }
        self.accepted_process(row.owner, row.id().cookie, filter)
    }
}
