//! Replays a recording: applies the live engine's input to an engine, in the same order. Reads no clock and nothing of
//! this machine.

use crate::{
    engine::{Engine, Input},
    event::{Event, Nanos},
    owner::container::Location,
    plural::counted,
    record::{
        bounds::{MOST_CONNECTIONS, MOST_GATHERED},
        entry::Entry,
        origin::Origin,
        run_stats::{Beginning, RunStats},
    },
    socket::{
        Row,
        scan::Scan,
        snapshot::{MOST_NETWORK, Snapshot},
    },
};
use std::{slice, sync::Arc};

/// Applies the entries of a recording to an engine, and keeps the statistics of the run.
pub struct Replay {
    /// The engine that the entries are applied to.
    pub engine: Engine,
    /// Spans, losses and clocks so far.
    pub run_stats: RunStats,
    /// The beginning of the span that is asked for.
    pub beginning: Beginning,
    /// Entries that belong to a snapshot or a scan of which the beginning or the end is missing.
    pub orphans: u64,
    gathering: Gathering,
    /// Whether events are gathered too.
    keeps_events: bool,
    /// Whether the present batch has the end of a drain.
    is_settled: bool,
}

/// Number of changes at which a batch is finished.
const MOST_CHANGES: usize = 65_536;

/// Snapshots and scans are applied as a whole.
#[derive(Default)]
enum Gathering {
    #[default]
    Nothing,
    Snapshot(Snapshot, Vec<Event>),
    Poll(Vec<Row>, Vec<Event>),
    Scan(Scan),
}

impl Replay {
    /// Before the first entry of a run of this origin.
    #[must_use]
    pub fn new(origin: &Origin) -> Self {
        let mut run_stats = RunStats::new(origin.clock);
        run_stats.lost = origin.lost;
        let mut engine = Engine::new(origin.max_connections.min(MOST_CONNECTIONS));
        engine.reset_reasons = origin.reset_reasons.clone();
        engine.table.begin_after(origin.event_lost);
        engine.begin_frame(run_stats.began);
        Self {
            beginning: Beginning::after(run_stats.began, &run_stats, &engine.table.tally),
            engine,
            run_stats,
            orphans: 0,
            gathering: Gathering::Nothing,
            keeps_events: false,
            is_settled: false,
        }
    }

    /// Begins the span that is asked for at `time`: statistics are those of what follows.
    pub(crate) fn begin_span(&mut self, time: Nanos) {
        self.engine.begin_span(time);
        self.beginning = Beginning::after(time, &self.run_stats, &self.engine.table.tally);
    }

    /// Records of the span that the kernel could not deliver.
    pub(crate) const fn lost_in_span(&self) -> u64 {
        self.run_stats.lost.saturating_sub(self.beginning.lost)
    }

    /// Applies one entry to the engine.
    #[inline(always)]
    pub fn apply(&mut self, entry: &Entry) {
        let lost = self.run_stats.lost;
        self.run_stats.note(entry);
        // Nearly all entries are events, so these are matched first.
        if let Entry::Event(event) = entry {
            self.ingest(event);
        } else {
            if self.run_stats.lost != lost {
                self.apply_loss(self.run_stats.latest);
            }
            self.apply_rest(entry);
        }
    }

    #[inline(always)]
    fn ingest(&mut self, event: &Event) {
        if self.run_stats.gaps == 0 && !self.keeps_events {
            return self.apply_event(event);
        }
        // Entries that are missing are losses like the kernel's own: what follows them is treated as after a loss.
        let event = Event {
            lost: event.lost.wrapping_add(self.run_stats.gaps),
            ..*event
        };
        match &mut self.gathering {
            Gathering::Snapshot(_, events) | Gathering::Poll(_, events) => {
                events.push(event);
                self.bound_gathered();
            }
            Gathering::Nothing | Gathering::Scan(_) => self.apply_event(&event),
        }
    }

    #[inline(always)]
    fn apply_event(&mut self, event: &Event) {
        self.engine.apply(Input::Events(slice::from_ref(event)));
    }

    #[inline(never)]
    fn give(&mut self, input: Input<'_>) {
        self.engine.apply(input);
    }

    fn apply_loss(&mut self, time: Nanos) {
        let total = self.run_stats.lost;
        self.give(Input::Lost { time, total });
    }

    fn apply_rest(&mut self, entry: &Entry) {
        match entry {
            Entry::Settled(time) => {
                self.is_settled = true;
                self.give(Input::Settle(*time));
            }
            Entry::Stopped(time) => self.give(Input::Stop(*time)),
            Entry::SnapshotBegun(started) => {
                let snapshot = Snapshot {
                    started: *started,
                    ..Snapshot::default()
                };
                self.begin(Gathering::Snapshot(snapshot, Vec::new()));
            }
            Entry::Covered(netns) => match &mut self.gathering {
                Gathering::Snapshot(snapshot, _) => {
                    snapshot.covered.insert(*netns);
                }
                Gathering::Nothing | Gathering::Poll(..) | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::Row(row) => match &mut self.gathering {
                Gathering::Poll(rows, _) | Gathering::Snapshot(Snapshot { rows, .. }, _) => {
                    rows.push(*row);
                    self.bound_gathered();
                }
                Gathering::Nothing | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::Network(socket) => match &mut self.gathering {
                Gathering::Snapshot(Snapshot { network, .. }, _) if network.sockets.len() < MOST_NETWORK => {
                    network.sockets.push(**socket);
                }
                Gathering::Snapshot(..) | Gathering::Nothing | Gathering::Poll(..) | Gathering::Scan(_) => {
                    self.orphans += 1;
                }
            },
            Entry::SnapshotDone => match self.take_gathered() {
                Gathering::Snapshot(snapshot, events) => {
                    self.give(Input::Snapshot(&snapshot, &events));
                }
                Gathering::Nothing | Gathering::Poll(..) | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::Blindspots(hidden) => self.give(Input::Blindspots(*hidden)),
            Entry::PollBegun(_) => self.begin(Gathering::Poll(Vec::new(), Vec::new())),
            Entry::Polled(begun) => {
                let (rows, events) = match self.take_gathered() {
                    Gathering::Poll(rows, events) => (rows, events),
                    Gathering::Nothing | Gathering::Snapshot(..) | Gathering::Scan(_) => Default::default(),
                };
                self.give(Input::Poll {
                    begun: *begun,
                    rows: &rows,
                    events: &events,
                });
            }
            Entry::ScanBegun { started, mechanism } => {
                let scan = Scan {
                    started: *started,
                    mechanism: *mechanism,
                    ..Scan::default()
                };
                self.begin(Gathering::Scan(scan));
            }
            Entry::Holder(holder) => match &mut self.gathering {
                Gathering::Scan(scan) => {
                    scan.holders.push(*holder);
                    self.bound_gathered();
                }
                Gathering::Nothing | Gathering::Poll(..) | Gathering::Snapshot(..) => self.orphans += 1,
            },
            Entry::ScanDone { cost } => match self.take_gathered() {
                Gathering::Scan(scan) => {
                    self.give(Input::Holders { scan, cost: *cost });
                }
                Gathering::Nothing | Gathering::Poll(..) | Gathering::Snapshot(..) => self.orphans += 1,
            },
            Entry::Location { task, path } => {
                let location = Arc::new(Location::of_path(path.as_bytes()));
                self.give(Input::Container {
                    task: *task,
                    location,
                });
            }
            // What was being gathered has lost a part.
            Entry::Gap { time, .. } => {
                self.begin(Gathering::Nothing);
                self.apply_loss(*time);
            }
            Entry::Event(_)
            | Entry::Lost { .. }
            | Entry::Clock(_)
            | Entry::Note { .. }
            | Entry::Summary(_) => {}
        }
    }

    /// Whether the present batch of changes is to be finished before this entry. Where processes run was found out, and
    /// recorded, after the drain that first reported them.
    #[must_use]
    #[inline]
    pub fn ends_batch(&self, entry: &Entry) -> bool {
        let is_next_drain = || matches!(entry, Entry::Event(_) | Entry::Settled(_) | Entry::Stopped(_));
        self.is_settled && !self.keeps_events && is_next_drain() || self.engine.batch().len() >= MOST_CHANGES
    }

    /// Finishes the present batch, and counts what the engine's filter accepts of it.
    pub fn finish_batch(&mut self) {
        self.is_settled = false;
        self.engine.finish_batch();
        self.engine.count_selected();
    }

    /// Settles what waited when the recording, or the part of it that is wanted, ended, and finishes the last batch.
    pub fn end(&mut self) {
        self.begin(Gathering::Nothing);
        self.give(Input::Settle(self.run_stats.latest));
        self.finish_batch();
    }

    /// What of the recording could not be applied to the engine.
    pub(crate) fn remark(&self) -> Option<String> {
        (self.orphans > 0).then(|| {
            let rows = counted(self.orphans, "row");
            format!("{rows} of incomplete snapshots and scans")
        })
    }

    /// Drops a snapshot or scan that is larger than any host's: in a hostile recording it may never end.
    fn bound_gathered(&mut self) {
        let gathered = match &self.gathering {
            Gathering::Nothing => 0,
            Gathering::Snapshot(snapshot, events) => snapshot.rows.len() + events.len(),
            Gathering::Poll(rows, events) => rows.len() + events.len(),
            Gathering::Scan(scan) => scan.holders.len(),
        };
        if gathered >= MOST_GATHERED {
            self.begin(Gathering::Nothing);
        }
    }

    fn take_gathered(&mut self) -> Gathering {
        self.keeps_events = false;
        std::mem::take(&mut self.gathering)
    }

    /// Begins to gather something else. Half a snapshot proves nothing, but the events in it happened.
    fn begin(&mut self, next: Gathering) {
        let gathered = self.take_gathered();
        self.keeps_events = matches!(next, Gathering::Snapshot(..) | Gathering::Poll(..));
        self.gathering = next;
        match gathered {
            Gathering::Nothing => {}
            Gathering::Scan(scan) => self.orphans += 1 + scan.holders.len() as u64,
            Gathering::Poll(rows, events) => {
                self.orphans += 1 + rows.len() as u64;
                self.give(Input::Events(&events));
            }
            Gathering::Snapshot(snapshot, events) => {
                self.orphans += 1 + (snapshot.rows.len() + snapshot.network.sockets.len()) as u64;
                self.give(Input::Events(&events));
            }
        }
    }
}
