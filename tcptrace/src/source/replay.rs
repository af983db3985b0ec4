//! A recording as a source of events: gives an engine what the live one was given, in the same order. Looks at no
//! clock and at nothing of this machine.

use crate::{
    connection::table::Change,
    decode::Row,
    engine::Engine,
    event::{Event, Nanos, SockRef},
    owner::{container::Place, holders::Scan},
    record::{
        bounds::{MOST_CONNECTIONS, MOST_GATHERED},
        entry::Entry,
        ledger::Ledger,
        origin::Origin,
    },
    source::snapshot::Snapshot,
};
use std::sync::Arc;

/// An engine that is being told, and the books beside it.
pub struct Replay {
    /// The engine.
    pub engine: Engine,
    /// The books.
    pub ledger: Ledger,
    /// Entries that belong to a snapshot or a scan of which the beginning or the end is missing.
    pub orphans: u64,
    gathering: Gathering,
    /// Whether events are gathered too.
    keeps_events: bool,
}

/// Snapshots and scans are taken in whole.
#[derive(Default)]
enum Gathering {
    #[default]
    Nothing,
    Snapshot(Snapshot, Vec<Event>),
    Look(Vec<Row>, Vec<Event>),
    Scan(Scan),
}

impl Replay {
    /// Before the first entry of a run of this origin.
    #[must_use]
    pub fn new(origin: &Origin) -> Self {
        Self {
            engine: Engine::new(origin.max_connections.min(MOST_CONNECTIONS)),
            ledger: Ledger::new(origin.clock),
            orphans: 0,
            gathering: Gathering::Nothing,
            keeps_events: false,
        }
    }

    /// Looks for the sockets of rows that follow soon: while one is fetched from memory, others are too. Changes
    /// nothing.
    pub fn foresee(&mut self, socks: &[SockRef]) {
        self.engine.table.foresee(socks.iter().copied());
    }

    /// Takes one entry; `emit` gets every change of state that it makes known.
    #[inline(always)]
    pub fn apply(&mut self, entry: &Entry, emit: &mut impl FnMut(&Change)) {
        self.ledger.note(entry);
        // Nearly all are events: they are asked for before the rest is told apart.
        if let Entry::Event(event) = entry {
            self.ingest(event, emit);
        } else {
            self.apply_rest(entry, emit);
        }
    }

    #[inline(always)]
    fn ingest(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        if self.ledger.gaps == 0 && !self.keeps_events {
            return self.engine.ingest(event, emit);
        }
        // Entries that are missing are losses like the kernel's own: what follows them is judged as such.
        let event = Event {
            lost: event.lost.wrapping_add(self.ledger.gaps),
            ..*event
        };
        match &mut self.gathering {
            Gathering::Snapshot(_, events) | Gathering::Look(_, events) => {
                events.push(event);
                self.bound_gathered(emit);
            }
            Gathering::Nothing | Gathering::Scan(_) => self.engine.ingest(&event, emit),
        }
    }

    fn apply_rest(&mut self, entry: &Entry, emit: &mut impl FnMut(&Change)) {
        match entry {
            Entry::Settled(time) => self.engine.settle(*time, emit),
            Entry::Stopped(_) => self.engine.settle(Nanos(u64::MAX), emit),
            Entry::SnapshotBegun(started) => {
                let snapshot = Snapshot {
                    started: *started,
                    ..Snapshot::default()
                };
                self.begin(Gathering::Snapshot(snapshot, Vec::new()), emit);
            }
            Entry::Covered(netns) => match &mut self.gathering {
                Gathering::Snapshot(snapshot, _) => {
                    snapshot.covered.insert(*netns);
                }
                Gathering::Nothing | Gathering::Look(..) | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::Row(row) => match &mut self.gathering {
                Gathering::Look(rows, _) | Gathering::Snapshot(Snapshot { rows, .. }, _) => {
                    rows.push(*row);
                    self.bound_gathered(emit);
                }
                Gathering::Nothing | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::SnapshotDone => match self.take_gathered() {
                Gathering::Snapshot(snapshot, events) => {
                    self.engine.merge(&snapshot, &events, emit);
                }
                Gathering::Nothing | Gathering::Look(..) | Gathering::Scan(_) => self.orphans += 1,
            },
            Entry::Hidden(hidden) => self.engine.table.hidden = *hidden,
            Entry::LookBegun(_) => self.begin(Gathering::Look(Vec::new(), Vec::new()), emit),
            Entry::Looked(begun) => {
                if let Gathering::Look(rows, events) = self.take_gathered() {
                    self.engine.observe(&rows, &events, emit);
                }
                self.engine.table.looked_before = *begun;
            }
            Entry::ScanBegun { started, way } => {
                let scan = Scan {
                    started: *started,
                    way: *way,
                    ..Scan::default()
                };
                self.begin(Gathering::Scan(scan), emit);
            }
            Entry::Holder(holder) => match &mut self.gathering {
                Gathering::Scan(scan) => {
                    scan.holders.push(*holder);
                    self.bound_gathered(emit);
                }
                Gathering::Nothing | Gathering::Look(..) | Gathering::Snapshot(..) => self.orphans += 1,
            },
            Entry::ScanDone { .. } => match self.take_gathered() {
                Gathering::Scan(scan) => {
                    self.engine.hold(scan);
                }
                Gathering::Nothing | Gathering::Look(..) | Gathering::Snapshot(..) => self.orphans += 1,
            },
            Entry::Place { task, path } => {
                let place = Arc::new(Place::of_path(path.as_bytes()));
                self.engine.table.processes.settle_place(task.process, place);
            }
            // What was being gathered has lost a part.
            Entry::Gap { .. } => self.begin(Gathering::Nothing, emit),
            Entry::Event(_)
            | Entry::Clock(_)
            | Entry::Lost { .. }
            | Entry::Note { .. }
            | Entry::Summary(_) => {}
        }
    }

    /// Settles what waited when the recording, or the part of it that is wanted, ended.
    pub fn end(&mut self, emit: &mut impl FnMut(&Change)) {
        self.begin(Gathering::Nothing, emit);
        self.engine.settle(self.ledger.latest, emit);
    }

    /// What of the recording could not be told to the engine.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        (self.orphans > 0).then(|| format!("{} rows of snapshots and scans that are not whole", self.orphans))
    }

    /// Gives up a snapshot or a scan that is larger than any host's: a recording may say that it never ends.
    fn bound_gathered(&mut self, emit: &mut impl FnMut(&Change)) {
        let gathered = match &self.gathering {
            Gathering::Nothing => 0,
            Gathering::Snapshot(snapshot, events) => snapshot.rows.len() + events.len(),
            Gathering::Look(rows, events) => rows.len() + events.len(),
            Gathering::Scan(scan) => scan.holders.len(),
        };
        if gathered >= MOST_GATHERED {
            self.begin(Gathering::Nothing, emit);
        }
    }

    fn take_gathered(&mut self) -> Gathering {
        self.keeps_events = false;
        std::mem::take(&mut self.gathering)
    }

    /// Begins to gather something else. Half a snapshot proves nothing, but the events in it happened.
    fn begin(&mut self, next: Gathering, emit: &mut impl FnMut(&Change)) {
        let gathered = self.take_gathered();
        self.keeps_events = matches!(next, Gathering::Snapshot(..) | Gathering::Look(..));
        self.gathering = next;
        match gathered {
            Gathering::Nothing => {}
            Gathering::Scan(scan) => self.orphans += 1 + scan.holders.len() as u64,
            Gathering::Look(rows, events) => {
                self.orphans += 1 + rows.len() as u64;
                for event in &events {
                    self.engine.ingest(event, emit);
                }
            }
            Gathering::Snapshot(snapshot, events) => {
                self.orphans += 1 + snapshot.rows.len() as u64;
                for event in &events {
                    self.engine.ingest(event, emit);
                }
            }
        }
    }
}
