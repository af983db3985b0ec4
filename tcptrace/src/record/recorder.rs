//! Passes the engine's input from a session to the writer thread. Never waits: if the writer cannot keep up, entries
//! are dropped and counted, and a snapshot repairs the state.

use super::{entry::Entry, origin::Origin, run_stats::RunStats};
use crate::{engine::Input, kernel::clock::ClockPair, plural::counted};
use std::{
    path::PathBuf,
    sync::mpsc::{SyncSender, TrySendError},
};

/// Entries are handed over in pieces of this many, or fewer after each drain.
const PIECE: usize = 4_096;

/// Maximum number of pending pieces: half a million entries, 80 MB, more than a second of 450,000 events (`cargo xtask
/// measure`).
pub(crate) const WAITING_PIECES: usize = 128;

/// Messages to the writing thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// Write these.
    Entries(Vec<Entry>),
    /// Go on in this file.
    Next(PathBuf, Box<Origin>),
}

/// Where a session's entries go.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Option<Open>);

#[derive(Debug)]
struct Open {
    piece: Vec<Entry>,
    /// Before there is a writer, entries wait here without a limit: they are the first snapshot's.
    sender: Option<SyncSender<Message>>,
    run_stats: RunStats,
    dropped: u64,
    owes_snapshot: bool,
    is_broken: bool,
}

impl Recorder {
    /// A recorder that buffers its inputs until [`Self::connect`].
    pub(crate) fn open() -> Self {
        Self(Some(Open {
            piece: Vec::new(),
            sender: None,
            run_stats: RunStats::new(ClockPair {
                mono_ns: 0,
                wall_ns: 0,
            }),
            dropped: 0,
            owes_snapshot: false,
            is_broken: false,
        }))
    }

    /// Begins the statistics, which count entries from when both clocks read `clock`.
    pub(crate) fn begin(&mut self, clock: ClockPair) {
        if let Some(open) = &mut self.0 {
            open.run_stats = RunStats::new(clock);
        }
    }

    /// Hands over what was recorded so far, and all that follows.
    pub(crate) fn connect(&mut self, sender: SyncSender<Message>) {
        if let Some(open) = &mut self.0 {
            open.sender = Some(sender);
            open.hand_over();
        }
    }

    /// The books, where the recorder is open.
    pub(crate) fn run_stats(&self) -> Option<&RunStats> {
        self.0.as_ref().map(|open| &open.run_stats)
    }

    /// Whether anything is recorded.
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the writer thread has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.is_broken)
    }

    /// Whether entries could not be handed over since the last snapshot that could.
    pub(crate) fn owes_snapshot(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.owes_snapshot)
    }

    pub(crate) fn record(&mut self, input: &Input<'_>) {
        if let Some(open) = &mut self.0 {
            open.record(input);
        }
    }

    /// Tells anything else.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(open) = &mut self.0 {
            open.push(entry);
        }
    }

    /// Hands over what has gathered, as at the end of each drain.
    pub(crate) fn hand_over(&mut self) {
        if let Some(open) = &mut self.0
            && open.sender.is_some()
        {
            open.hand_over();
        }
    }

    /// Goes on in another file; a snapshot has to follow, so that the file can be read without the one before.
    pub(crate) fn next_file(&mut self, path: PathBuf, origin: Origin) {
        let Some(open) = &mut self.0 else { return };
        open.hand_over();
        // A reader takes it from the file's header.
        open.run_stats.note(&Entry::Clock(origin.clock));
        if let Some(sender) = &open.sender {
            // It waits for room: the rest of a run depends on it, and the kernel's buffer takes what comes meanwhile.
            open.is_broken |= sender.send(Message::Next(path, Box::new(origin))).is_err();
        }
    }

    /// Tells the writing thread that this is all.
    pub(crate) fn close(&mut self) {
        if let Some(open) = &mut self.0 {
            let piece = std::mem::take(&mut open.piece);
            if let Some(sender) = open.sender.take() {
                open.is_broken |= sender.send(Message::Entries(piece)).is_err();
            }
        }
    }
}

impl Open {
    fn record(&mut self, input: &Input<'_>) {
        match input {
            Input::Events(events) => self.push_all(events.iter().copied().map(Entry::Event)),
            Input::Settle(now) => self.push(Entry::Settled(*now)),
            Input::Stop(now) => self.push(Entry::Stopped(*now)),
            Input::Snapshot(snapshot, events) => {
                self.owes_snapshot = false;
                self.push(Entry::SnapshotBegun(snapshot.started));
                self.push_all(snapshot.covered.iter().copied().map(Entry::Covered));
                self.push_all(snapshot.rows.iter().copied().map(Entry::Row));
                let network = snapshot.network.sockets.iter();
                self.push_all(network.map(|socket| Entry::Network(Box::new(*socket))));
                self.push_all(events.iter().copied().map(Entry::Event));
                self.push(Entry::SnapshotDone);
                if snapshot.network.omitted > 0 {
                    let sockets = counted(snapshot.network.omitted, "socket");
                    self.push(Entry::Note {
                        time: snapshot.started,
                        text: format!("what the network did to {sockets} was not recorded").into(),
                    });
                }
            }
            Input::Poll { begun, rows, events } => {
                if !rows.is_empty() || !events.is_empty() {
                    self.push(Entry::PollBegun(*begun));
                    self.push_all(rows.iter().copied().map(Entry::Row));
                    self.push_all(events.iter().copied().map(Entry::Event));
                }
                self.push(Entry::Polled(*begun));
            }
            Input::Holders { scan, cost } => {
                self.push(Entry::ScanBegun {
                    started: scan.started,
                    mechanism: scan.mechanism,
                });
                self.push_all(scan.holders.iter().copied().map(Entry::Holder));
                self.push(Entry::ScanDone { cost: *cost });
            }
            Input::Blindspots(hidden) => self.push(Entry::Blindspots(*hidden)),
            Input::Lost { time, total } => self.push(Entry::Lost {
                time: *time,
                total: *total,
            }),
            Input::Container { task, location } => self.push(Entry::Location {
                task: *task,
                path: location.path.as_str().into(),
            }),
        }
    }

    fn push_all(&mut self, entries: impl Iterator<Item = Entry>) {
        for entry in entries {
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        self.run_stats.note(&entry);
        self.piece.push(entry);
        if self.piece.len() >= PIECE && self.sender.is_some() {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let Some(sender) = &self.sender else { return };
        if self.piece.is_empty() {
            return;
        }
        let mut piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if self.dropped > 0 {
            let gap = Entry::Gap {
                time: self.run_stats.latest,
                entries: self.dropped,
            };
            self.run_stats.note(&gap);
            piece.insert(0, gap);
        }
        match sender.try_send(Message::Entries(piece)) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(Message::Entries(piece))) => {
                // The gap's own entry is recorded again, with these.
                let entries = piece.len() as u64 - u64::from(self.dropped > 0);
                if self.dropped > 0 {
                    self.run_stats.gaps -= 1;
                    self.run_stats.missing -= self.dropped;
                }
                self.dropped += entries;
                self.owes_snapshot = true;
            }
            Err(TrySendError::Full(Message::Next(..)) | TrySendError::Disconnected(_)) => {
                self.is_broken = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Nanos, socket::snapshot::Snapshot};
    use std::sync::mpsc;

    #[test]
    fn a_writer_that_cannot_follow_costs_entries_that_are_counted_and_a_snapshot() {
        let mut recorder = Recorder::open();
        let (sender, receiver) = mpsc::sync_channel(1);
        recorder.connect(sender);
        let settle = |recorder: &mut Recorder, time| {
            recorder.push(Entry::Settled(Nanos(time)));
            recorder.hand_over();
        };
        settle(&mut recorder, 1);
        settle(&mut recorder, 2);
        settle(&mut recorder, 3);
        assert!(recorder.owes_snapshot());
        receiver.recv().unwrap();
        settle(&mut recorder, 4);
        let Ok(Message::Entries(piece)) = receiver.recv() else {
            panic!("entries come")
        };
        let gap = Entry::Gap {
            time: Nanos(4),
            entries: 2,
        };
        assert_eq!(piece, [gap, Entry::Settled(Nanos(4))]);
        let run_stats = recorder.run_stats().unwrap();
        assert_eq!((run_stats.gaps, run_stats.missing), (1, 2));
        recorder.record(&Input::Snapshot(&Snapshot::default(), &[]));
        assert!(!recorder.owes_snapshot());
        drop(receiver);
        settle(&mut recorder, 5);
        assert!(recorder.is_broken());
    }
}
