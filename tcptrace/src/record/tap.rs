//! What a session tells a recording: each entry as the engine takes it, handed over in pieces to the thread that
//! writes. Never waits: a writer that cannot follow costs entries, which are counted, and a snapshot makes up for them.

use super::{entry::Entry, ledger::Ledger, origin::Origin};
use crate::{
    decode::Row,
    event::{Event, Nanos},
    kernel::clock::Anchor,
    owner::holders::Scan,
    source::snapshot::Snapshot,
};
use std::{
    path::PathBuf,
    sync::mpsc::{SyncSender, TrySendError},
};

/// Entries are handed over in pieces of this many, or fewer after each drain.
const PIECE: usize = 4_096;

/// So many pieces may wait: half a million entries, 80 MB, more than a second of 450,000 events (`cargo xtask
/// measure`).
pub const WAITING_PIECES: usize = 128;

/// What the writing thread is told.
#[derive(Debug)]
pub enum Message {
    /// Write these.
    Entries(Vec<Entry>),
    /// Go on in this file.
    Next(PathBuf, Box<Origin>),
}

/// Where a session's entries go.
#[derive(Debug, Default)]
pub struct Tap(Option<Open>);

#[derive(Debug)]
struct Open {
    piece: Vec<Entry>,
    /// Before there is a writer, entries wait here without a limit: they are the first snapshot's.
    sender: Option<SyncSender<Message>>,
    ledger: Ledger,
    dropped: u64,
    owes_snapshot: bool,
    is_broken: bool,
}

impl Tap {
    /// A tap that keeps what it is told until [`Self::connect`].
    #[must_use]
    pub fn open() -> Self {
        Self(Some(Open {
            piece: Vec::new(),
            sender: None,
            ledger: Ledger::new(Anchor {
                mono_ns: 0,
                wall_ns: 0,
            }),
            dropped: 0,
            owes_snapshot: false,
            is_broken: false,
        }))
    }

    /// Begins the books: everything was told since both clocks read `clock`.
    pub fn begin(&mut self, clock: Anchor) {
        if let Some(open) = &mut self.0 {
            open.ledger = Ledger::new(clock);
        }
    }

    /// Hands over what was told so far, and all that follows.
    pub fn connect(&mut self, sender: SyncSender<Message>) {
        if let Some(open) = &mut self.0 {
            open.sender = Some(sender);
            open.hand_over();
        }
    }

    /// The books, where the tap is open.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.0.as_ref().map(|open| &open.ledger)
    }

    /// Whether the writing thread has given up.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.is_broken)
    }

    /// Whether entries could not be handed over since the last snapshot that could.
    #[must_use]
    pub fn owes_snapshot(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.owes_snapshot)
    }

    /// Tells one event.
    pub fn event(&mut self, event: &Event) {
        if let Some(open) = &mut self.0 {
            open.tell(Entry::Event(*event));
        }
    }

    /// Tells a snapshot, and the events that came while it was taken.
    pub fn snapshot(&mut self, snapshot: &Snapshot, events: &[Event]) {
        let Some(open) = &mut self.0 else { return };
        open.owes_snapshot = false;
        open.tell(Entry::SnapshotBegun(snapshot.started));
        for netns in &snapshot.covered {
            open.tell(Entry::Covered(*netns));
        }
        for row in &snapshot.rows {
            open.tell(Entry::Row(*row));
        }
        for event in events {
            open.tell(Entry::Event(*event));
        }
        open.tell(Entry::SnapshotDone);
    }

    /// Tells what a look at timewait socks, begun at `begun`, has found, and the events that came meanwhile.
    /// [`Entry::Looked`] has to follow.
    pub fn look(&mut self, begun: Nanos, rows: &[Row], events: &[Event]) {
        let Some(open) = &mut self.0 else { return };
        open.tell(Entry::LookBegun(begun));
        for row in rows {
            open.tell(Entry::Row(*row));
        }
        for event in events {
            open.tell(Entry::Event(*event));
        }
    }

    /// Tells a scan of open files that took so long.
    pub fn scan(&mut self, scan: &Scan, took: Nanos) {
        let Some(open) = &mut self.0 else { return };
        open.tell(Entry::ScanBegun {
            started: scan.started,
            way: scan.way,
        });
        for holder in &scan.holders {
            open.tell(Entry::Holder(*holder));
        }
        open.tell(Entry::ScanDone { took });
    }

    /// Tells anything else.
    pub fn tell(&mut self, entry: Entry) {
        if let Some(open) = &mut self.0 {
            open.tell(entry);
        }
    }

    /// Hands over what has gathered, as at the end of each drain.
    pub fn hand_over(&mut self) {
        if let Some(open) = &mut self.0
            && open.sender.is_some()
        {
            open.hand_over();
        }
    }

    /// Goes on in another file; a snapshot has to follow, so that the file can be read without the one before.
    pub fn next_file(&mut self, path: PathBuf, origin: Origin) {
        let Some(open) = &mut self.0 else { return };
        open.hand_over();
        // A reader takes it from the file's header.
        open.ledger.note(&Entry::Clock(origin.clock));
        if let Some(sender) = &open.sender {
            // It waits for room: the rest of a run depends on it, and the kernel's buffer takes what comes meanwhile.
            open.is_broken |= sender.send(Message::Next(path, Box::new(origin))).is_err();
        }
    }

    /// Tells the writing thread that this is all.
    pub fn close(&mut self) {
        if let Some(open) = &mut self.0 {
            let piece = std::mem::take(&mut open.piece);
            if let Some(sender) = open.sender.take() {
                open.is_broken |= sender.send(Message::Entries(piece)).is_err();
            }
        }
    }
}

impl Open {
    fn tell(&mut self, entry: Entry) {
        self.ledger.note(&entry);
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
                time: self.ledger.latest,
                entries: self.dropped,
            };
            self.ledger.note(&gap);
            piece.insert(0, gap);
        }
        match sender.try_send(Message::Entries(piece)) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(Message::Entries(piece))) => {
                // The gap's own entry is told anew, with these.
                let told = piece.len() as u64 - u64::from(self.dropped > 0);
                if self.dropped > 0 {
                    self.ledger.gaps -= 1;
                    self.ledger.missing -= self.dropped;
                }
                self.dropped += told;
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
    use std::sync::mpsc;

    #[test]
    fn a_writer_that_cannot_follow_costs_entries_that_are_counted_and_a_snapshot() {
        let mut tap = Tap::open();
        let (sender, receiver) = mpsc::sync_channel(1);
        tap.connect(sender);
        let settle = |tap: &mut Tap, time| {
            tap.tell(Entry::Settled(Nanos(time)));
            tap.hand_over();
        };
        settle(&mut tap, 1);
        settle(&mut tap, 2);
        settle(&mut tap, 3);
        assert!(tap.owes_snapshot());
        receiver.recv().unwrap();
        settle(&mut tap, 4);
        let Ok(Message::Entries(piece)) = receiver.recv() else {
            panic!("entries come")
        };
        let gap = Entry::Gap {
            time: Nanos(4),
            entries: 2,
        };
        assert_eq!(piece, [gap, Entry::Settled(Nanos(4))]);
        let ledger = tap.ledger().unwrap();
        assert_eq!((ledger.gaps, ledger.missing), (1, 2));
        tap.snapshot(&Snapshot::default(), &[]);
        assert!(!tap.owes_snapshot());
        drop(receiver);
        settle(&mut tap, 5);
        assert!(tap.is_broken());
    }
}
