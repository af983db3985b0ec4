//! Per-CPU counters that stay exact when records are lost.

use crate::{EventKind, TimerStep};

/// Rows and columns of the transition matrix: the kernel's states are 1 to 13, and 16 makes the index a mask.
pub const STATES: usize = 16;

/// Slots of [`Counters::reported`], a power of two: one transition may interrupt another on a CPU, and its mark is then
/// stored next to that one's.
pub const REPORTED: usize = 256;

/// Why a record could not be delivered.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A transition, because the ring buffer was full.
    Transition = 0,
    /// The record of a timewait socket, likewise.
    Timewait = 1,
    /// The record of a request socket, likewise.
    Request = 2,
    /// The record of a reset, an accept or a change of name, likewise.
    Other = 3,
}

impl Loss {
    /// Every reason, in the order of [`Counters::lost`].
    pub const ALL: [Self; 4] = [Self::Transition, Self::Timewait, Self::Request, Self::Other];
}

/// One CPU's counters, and state that its hooks keep between calls.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Number of reports of each old × new pair, see [`transition_index`]. TCP only.
    pub transitions: [u64; STATES * STATES],
    /// Records lost because the ring buffer was full, by [`Loss`].
    pub lost: [u64; 4],
    /// Number of reports of each hook, see [`Hit`].
    pub hits: Hits,
    /// The timewait socket whose timer is expiring on this CPU.
    pub expiring: u64,
    /// The timewait socket that is handling a segment on this CPU.
    pub segment: u64,
    /// The effect of that segment, an [`EndCause`](crate::EndCause).
    pub segment_how: u64,
    /// Transitions that the first program on the tracepoint has reported and the second has not seen yet.
    pub reported: [u64; REPORTED],
    /// Whether the first program is running.
    pub first: u64,
    /// Whether the second program is running.
    pub again: u64,
    /// Scratch words that turn a pointer into a number: one for each program on the tracepoint.
    pub numbers: [u64; 2],
    /// Stacks lost because their buffer was full.
    pub lost_stacks: u64,
    /// Records reserved on this CPU, to query the buffer's fill level only periodically.
    pub reserved: u64,
}

/// Counts of what hooks reported: by [`EventKind`], and by [`TimerStep`] or 0.
pub type Hits = [[u64; 4]; 16];

/// The counter that a report increments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The kind of event.
    pub kind: EventKind,
    /// For a timer: its step.
    pub step: Option<TimerStep>,
}

impl Hit {
    /// The counter of events that are not about timers.
    #[must_use]
    pub const fn of(kind: EventKind) -> Self {
        Self { kind, step: None }
    }

    /// The counter of a timer's step.
    #[must_use]
    pub const fn timer(kind: EventKind, step: TimerStep) -> Self {
        Self {
            kind,
            step: Some(step),
        }
    }

    /// Index of the counter.
    #[inline(always)]
    pub fn counter(self, hits: &mut Hits) -> &mut u64 {
        let step = match self.step {
            Some(step) => step as usize,
            None => 0,
        };
        &mut hits[self.kind as usize & 15][step & 3]
    }

    /// Value of the counter in `hits`.
    #[must_use]
    pub fn count(self, hits: &Hits) -> u64 {
        hits[self.kind as usize][self.step.map_or(0, |step| step as usize)]
    }
}

impl Counters {
    /// All counters zero.
    pub const ZERO: Self = Self {
        transitions: [0; STATES * STATES],
        lost: [0; 4],
        hits: [[0; 4]; 16],
        expiring: 0,
        segment: 0,
        segment_how: 0,
        reported: [0; REPORTED],
        first: 0,
        again: 0,
        numbers: [0; 2],
        lost_stacks: 0,
        reserved: 0,
    };
}

const _: () = assert!(size_of::<Counters>() == (STATES * STATES + 4 + 64 + 9 + REPORTED) * 8);

/// Index of the counter of `old` → `new`.
#[must_use]
#[inline(always)]
pub const fn transition_index(old: u8, new: u8) -> usize {
    ((old & 15) as usize) << 4 | (new & 15) as usize
}
