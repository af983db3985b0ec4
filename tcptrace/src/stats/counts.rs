//! Changes of state by pair and by process, and the durations of all of them together. Knows no filter and no key.

use super::{measure::Kind, totals::Totals};
use crate::{
    connection::table::Change,
    event::{Nanos, TcpState},
    owner::processes::ProcessId,
    stats::measure::Measure,
};
use hdrhistogram::Histogram;

/// Counts since the start and since the last frame.
#[derive(Debug, Default)]
pub struct Stats {
    /// Changes by old and new state.
    pub matrix: [[u64; TcpState::COUNT]; TcpState::COUNT],
    /// Changes since [`Stats::begin_frame`].
    pub in_frame: u64,
    /// The same by owner: that of nobody known first, then by the number of [`ProcessId`].
    in_frame_by_process: Vec<Flow>,
    /// How long states and connections lasted.
    pub totals: Totals,
    /// The time of the first event or snapshot: what is older was not seen to begin.
    pub watched_from: Option<Nanos>,
}

/// What one process's connections did within a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Changes of state.
    pub changes: u64,
    /// Handshakes that were done.
    pub opens: u64,
    /// Connections that this side closed, or that were reset while they could still be used. A process that opens
    /// more than it closes keeps ever more.
    pub closes: u64,
    /// TIME_WAITs made.
    pub timewaits: u64,
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
    #[must_use]
    pub fn of_span(begin: Nanos) -> Self {
        Self {
            watched_from: Some(begin),
            ..Self::default()
        }
    }

    /// Counts one change.
    #[inline(always)]
    pub fn count(&mut self, change: &Change) {
        self.matrix[change.old.index()][change.new.index()] += 1;
        self.in_frame += 1;
        let place = place(change.owner.map(|owner| owner.process));
        if self.in_frame_by_process.len() <= place {
            self.in_frame_by_process.resize(place + 1, Flow::default());
        }
        self.in_frame_by_process[place].count(change.old, change.new);
        self.totals.count(change, self.watched_from.unwrap_or_default());
    }

    /// What happened since [`Stats::begin_frame`] to sockets that this process owns.
    #[must_use]
    pub fn in_frame_of(&self, process: Option<ProcessId>) -> Flow {
        self.in_frame_by_process
            .get(place(process))
            .copied()
            .unwrap_or_default()
    }

    /// The finished, exact dwells in each state that had any, nanoseconds. Lower bounds are none.
    pub fn dwells(&self) -> impl Iterator<Item = (TcpState, Histogram<u64>)> {
        TcpState::ALL.into_iter().filter_map(|state| {
            let histogram = self.totals.get(Measure::Dwell(state), Kind::Finished)?;
            Some((state, histogram))
        })
    }

    /// Starts the counts of the next frame.
    pub fn begin_frame(&mut self) {
        self.in_frame = 0;
        self.in_frame_by_process.clear();
    }
}

const fn place(process: Option<ProcessId>) -> usize {
    match process {
        None => 0,
        Some(ProcessId(number)) => number as usize + 1,
    }
}
