//! What a report has in addition to the engine's state: spans, losses, costs, clocks. Kept by a live run and by its
//! replay, from the same entries.

use super::{bounds::MOST_REMARKS, entry::Entry};
use crate::{connection::table::Tally, event::Nanos, kernel::clock::ClockPair, owner::schedule::Cost};
use hashbrown::HashSet;

/// More network namespaces are not noted: a recording may be hostile.
const MOST_NETNS: usize = 65_536;

/// How a recording ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Its run ended cleanly.
    Stopped,
    /// It has no end marker: the run was killed, crashed, could not write, or is still running.
    #[default]
    Open,
}

/// Spans, losses, costs and clocks of one run.
#[derive(Clone, Debug)]
pub struct RunStats {
    /// When the run began.
    pub began: Nanos,
    /// The latest time of any entry.
    pub latest: Nanos,
    /// Number of events.
    pub events: u64,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// Number of gaps, where entries are missing from the recording.
    pub gaps: u32,
    /// Entries that are known to be missing from the recording.
    pub missing: u64,
    /// What scans of open files have cost.
    pub scans: Cost,
    /// Whether the run ended cleanly.
    pub ending: Ending,
    /// Messages shown during the run.
    pub notes: Vec<String>,
    /// The network namespaces of which it has snapshots.
    pub covered: HashSet<u32>,
    anchors: Vec<ClockPair>,
}

/// What had been counted when a span of a run began.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// When the span begins.
    pub time: Nanos,
    /// Events until then.
    pub events: u64,
    /// Records lost until then.
    pub lost: u64,
    /// Gaps until then.
    pub gaps: u32,
    /// Entries known to be missing until then.
    pub missing: u64,
    /// Counts of the engine until then.
    pub tally: Tally,
}

impl Beginning {
    /// The beginning of the run.
    #[must_use]
    pub fn of_run(run_stats: &RunStats) -> Self {
        Self {
            time: run_stats.began,
            events: 0,
            lost: 0,
            gaps: 0,
            missing: 0,
            tally: Tally::default(),
        }
    }

    /// The beginning at `time` of a span, after what `run_stats` and `tally` have counted.
    #[must_use]
    pub const fn after(time: Nanos, run_stats: &RunStats, tally: &Tally) -> Self {
        Self {
            time,
            events: run_stats.events,
            lost: run_stats.lost,
            gaps: run_stats.gaps,
            missing: run_stats.missing,
            tally: *tally,
        }
    }
}

impl RunStats {
    /// The statistics of a run that begins when both clocks read `clock`.
    pub(crate) fn new(clock: ClockPair) -> Self {
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
            covered: HashSet::new(),
            anchors: vec![clock],
        }
    }

    #[inline]
    pub(crate) fn note(&mut self, entry: &Entry) {
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
            // A total that falls is hostile.
            Entry::Lost { total, .. } => self.lost = self.lost.max(*total),
            Entry::Gap { entries, .. } => {
                self.gaps += 1;
                self.missing += entries;
            }
            Entry::ScanDone { cost } => {
                self.scans.count += 1;
                self.scans.total_ns += cost.0;
            }
            Entry::Note { text, .. } => match self.notes.len() {
                ..MOST_REMARKS => self.notes.push(text.to_string()),
                MOST_REMARKS => self.notes.push("further notes were dropped".to_owned()),
                _ => {}
            },
            Entry::Clock(anchor) => self.anchors.push(*anchor),
            Entry::Covered(netns) if self.covered.len() < MOST_NETNS => {
                self.covered.insert(*netns);
            }
            Entry::Stopped(_) => self.ending = Ending::Stopped,
            Entry::Event(_)
            | Entry::Settled(_)
            | Entry::SnapshotBegun(_)
            | Entry::Covered(_)
            | Entry::Row(_)
            | Entry::Network(_)
            | Entry::SnapshotDone
            | Entry::Blindspots(_)
            | Entry::PollBegun(_)
            | Entry::Polled(_)
            | Entry::ScanBegun { .. }
            | Entry::Holder(_)
            | Entry::Location { .. }
            | Entry::Summary(_) => {}
        }
    }

    /// Both clocks at the latest reading that is not after `time`, or at the first.
    pub(crate) fn anchor(&self, time: Nanos) -> ClockPair {
        let after = self.anchors.partition_point(|anchor| anchor.mono_ns <= time.0);
        self.anchors[after.saturating_sub(1)]
    }

    /// Wall time of a monotonic time, nanoseconds since 1970: steps of the clock and suspends are followed.
    pub(crate) fn wall(&self, time: Nanos) -> u64 {
        self.anchor(time).wall(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_follows_the_clock() {
        let at = |mono_ns, wall_ns| ClockPair { mono_ns, wall_ns };
        let mut run_stats = RunStats::new(at(1_000, 50_000));
        run_stats.note(&Entry::Clock(at(2_000, 90_000)));
        assert_eq!(run_stats.wall(Nanos(900)), 49_900);
        assert_eq!(run_stats.wall(Nanos(1_999)), 50_999);
        assert_eq!(run_stats.wall(Nanos(2_500)), 90_500);
    }
}
