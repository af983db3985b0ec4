//! What a report says beside the engine's state: spans, losses, costs, clocks. Kept alike by a live run and by its
//! replay, from the same entries.

use super::{bounds::MOST_REMARKS, entry::Entry};
use crate::{event::Nanos, kernel::clock::Anchor, owner::schedule::Cost};

/// How a recording ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Its run ended in order.
    Stopped,
    /// It just ends: the run was killed, has crashed, could not write, or goes on.
    #[default]
    Open,
}

/// The books of one run.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// When the run began.
    pub began: Nanos,
    /// The latest time that anything spoke of.
    pub latest: Nanos,
    /// Events taken in.
    pub events: u64,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// Times that entries are missing from the recording.
    pub gaps: u32,
    /// Entries that are known to be missing from the recording.
    pub missing: u64,
    /// What scans of open files have cost.
    pub scans: Cost,
    /// How it ends.
    pub ending: Ending,
    /// What the user was told while it ran.
    pub notes: Vec<String>,
    anchors: Vec<Anchor>,
}

impl Ledger {
    /// The books of a run that begins when both clocks read `clock`.
    #[must_use]
    pub fn new(clock: Anchor) -> Self {
        Self {
            began: Nanos(clock.mono_ns),
            latest: Nanos(clock.mono_ns),
            events: 0,
            lost: 0,
            gaps: 0,
            missing: 0,
            scans: Cost::default(),
            ending: Ending::Open,
            notes: Vec::new(),
            anchors: vec![clock],
        }
    }

    /// Notes one entry.
    #[inline]
    pub fn note(&mut self, entry: &Entry) {
        if let Entry::Event(event) = entry {
            self.latest = self.latest.max(event.time);
            self.events += 1;
            return;
        }
        self.note_rest(entry);
    }

    fn note_rest(&mut self, entry: &Entry) {
        if let Some(time) = entry.time() {
            self.latest = self.latest.max(time);
        }
        match entry {
            Entry::Lost { total, .. } => self.lost = *total,
            Entry::Gap { entries, .. } => {
                self.gaps += 1;
                self.missing += entries;
            }
            Entry::ScanDone { took } => {
                self.scans.count += 1;
                self.scans.total_ns += took.0;
            }
            Entry::Note { text, .. } => match self.notes.len() {
                ..MOST_REMARKS => self.notes.push(text.to_string()),
                MOST_REMARKS => self
                    .notes
                    .push("more notes follow, which are not kept".to_owned()),
                _ => {}
            },
            Entry::Clock(anchor) => self.anchors.push(*anchor),
            Entry::Stopped(_) => self.ending = Ending::Stopped,
            Entry::Event(_)
            | Entry::Settled(_)
            | Entry::SnapshotBegun(_)
            | Entry::Covered(_)
            | Entry::Row(_)
            | Entry::SnapshotDone
            | Entry::Hidden(_)
            | Entry::LookBegun(_)
            | Entry::Looked(_)
            | Entry::ScanBegun { .. }
            | Entry::Holder(_)
            | Entry::Place { .. }
            | Entry::Summary(_) => {}
        }
    }

    /// Both clocks at the latest reading that is not after `time`, or at the first.
    #[must_use]
    pub fn anchor(&self, time: Nanos) -> Anchor {
        let after = self.anchors.partition_point(|anchor| anchor.mono_ns <= time.0);
        self.anchors[after.saturating_sub(1)]
    }

    /// Wall time of a monotonic time, nanoseconds since 1970: steps of the clock and suspends are followed.
    #[must_use]
    pub fn wall(&self, time: Nanos) -> u64 {
        self.anchor(time).wall(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_follows_the_clock() {
        let at = |mono_ns, wall_ns| Anchor { mono_ns, wall_ns };
        let mut ledger = Ledger::new(at(1_000, 50_000));
        ledger.note(&Entry::Clock(at(2_000, 90_000)));
        assert_eq!(ledger.wall(Nanos(900)), 49_900);
        assert_eq!(ledger.wall(Nanos(1_999)), 50_999);
        assert_eq!(ledger.wall(Nanos(2_500)), 90_500);
    }
}
