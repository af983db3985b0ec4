//! State transitions by pair and by process, and all durations together. Knows no filter and no key.

use super::{measure::Kind, totals::Totals};
use crate::{
    connection::change::Change,
    event::{Nanos, TcpState},
    owner::processes::ProcessId,
    stats::measure::Measure,
};
use hdrhistogram::Histogram;

/// Counts by old and new state.
pub(crate) type Matrix = [[u64; TcpState::COUNT]; TcpState::COUNT];

/// Counts since the start and since the last frame.
#[derive(Debug, Default)]
pub struct Stats {
    /// Changes by old and new state.
    pub matrix: Matrix,
    /// The same since [`Stats::begin_frame`].
    pub in_frame: Matrix,
    /// The same by owner: that of nobody known first, then by the number of [`ProcessId`].
    in_frame_by_process: Vec<Flow>,
    /// When this frame began.
    pub frame_began: Nanos,
    /// What is older belongs to no frame.
    frames_from: Nanos,
    /// How long states and connections lasted.
    pub totals: Totals,
    /// The time of the first event or snapshot: what is older was not seen to begin.
    pub watched_from: Option<Nanos>,
}

/// What one process's connections did within a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) changes: u64,
    /// Handshakes that were done.
    pub(crate) opens: u64,
    /// Connections that this side closed, or that were reset while they could still be used. A process that opens
    /// more than it closes keeps ever more.
    pub(crate) closes: u64,
    /// TIME_WAITs made.
    pub(crate) timewaits: u64,
}

impl Flow {
    #[inline]
    fn count(&mut self, old: TcpState, new: TcpState) {
        let could_be_used = matches!(
            old,
            TcpState::Established | TcpState::CloseWait | TcpState::SynRecv
        );
        let is_closed = match new {
            TcpState::FinWait1 | TcpState::LastAck => could_be_used,
            TcpState::Close => could_be_used && old != TcpState::SynRecv,
            _ => false,
        };
        self.changes += 1;
        self.opens += u64::from(new == TcpState::Established);
        self.closes += u64::from(is_closed);
        self.timewaits += u64::from(new == TcpState::TimeWait);
    }
}

impl Stats {
    /// Empty ones, of a span that begins then.
    pub(crate) fn of_span(begin: Nanos) -> Self {
        Self {
            watched_from: Some(begin),
            frame_began: begin,
            ..Self::default()
        }
    }

    /// Counts one change, for the owner of its socket.
    #[inline(always)]
    pub(crate) fn count(&mut self, change: &Change) {
        self.count_for(change, change.owner.map(|owner| owner.process));
    }

    #[inline(always)]
    pub(crate) fn count_for(&mut self, change: &Change, process: Option<ProcessId>) {
        self.matrix[change.old.index()][change.new.index()] += 1;
        if change.time >= self.frames_from {
            self.in_frame[change.old.index()][change.new.index()] += 1;
            let index = index_of(process);
            if self.in_frame_by_process.len() <= index {
                self.in_frame_by_process.resize(index + 1, Flow::default());
            }
            self.in_frame_by_process[index].count(change.old, change.new);
        }
        self.totals.count(change, self.watched_from.unwrap_or_default());
    }

    pub(crate) fn changes(&self) -> u64 {
        self.matrix.iter().flatten().sum()
    }

    /// What happened in this frame to sockets that this process owns.
    pub(crate) fn in_frame_of(&self, process: Option<ProcessId>) -> Flow {
        self.in_frame_by_process
            .get(index_of(process))
            .copied()
            .unwrap_or_default()
    }

    /// The finished, exact dwells in each state that had any, nanoseconds. Lower bounds are none.
    pub(crate) fn dwells(&self) -> impl Iterator<Item = (TcpState, Histogram<u64>)> {
        TcpState::ALL.into_iter().filter_map(|state| {
            let histogram = self.totals.get(Measure::Dwell(state), Kind::Finished)?;
            Some((state, histogram))
        })
    }

    /// Starts the counts of the next frame.
    pub(crate) fn begin_frame(&mut self, now: Nanos) {
        self.in_frame = Matrix::default();
        self.in_frame_by_process.clear();
        self.frame_began = now;
    }

    /// Starts the first frame. What happened before, and is only read later, is counted and belongs to no frame.
    pub(crate) fn begin_frames(&mut self, now: Nanos) {
        self.frames_from = now;
        self.begin_frame(now);
    }
}

const fn index_of(process: Option<ProcessId>) -> usize {
    match process {
        None => 0,
        Some(ProcessId(number)) => number as usize + 1,
    }
}
