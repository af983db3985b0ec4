//! Per-CPU counters that stay exact when records are lost.

/// Rows and columns of the transition matrix: the kernel's states are 1 to 13, and 16 makes the index a mask.
pub const STATES: usize = 16;

/// Slots of [`Counters::reported`], a power of two: one transition may interrupt another on a CPU, and its mark then
/// stands beside that one's.
pub const REPORTED: usize = 256;

/// Why a record could not be delivered.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A transition found the ring buffer full.
    Transition = 0,
    /// A timewait sock's record found it full.
    Timewait = 1,
    /// A request sock's record found it full.
    Request = 2,
    /// A reset's, an accept's or a new name's record found it full.
    Other = 3,
}

impl Loss {
    /// Every reason, in the order of [`Counters::lost`].
    pub const ALL: [Self; 4] = [Self::Transition, Self::Timewait, Self::Request, Self::Other];
}

/// One CPU's counters, and what its hooks must remember between two calls.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// How often each old × new pair was reported, see [`transition_index`]. TCP only.
    pub transitions: [u64; STATES * STATES],
    /// Records that found the ring buffer full, by [`Loss`].
    pub lost: [u64; 4],
    /// How often each hook fired for a socket of ours, by `kind`.
    pub hits: [u64; 32],
    /// The timewait sock whose timer is running out on this CPU.
    pub expiring: u64,
    /// The timewait sock that is handling a segment on this CPU.
    pub segment: u64,
    /// What that segment means for it, one of [`crate::how`].
    pub segment_how: u64,
    /// Transitions that the first program on the tracepoint has reported and the second has not seen yet.
    pub reported: [u64; REPORTED],
    /// Whether the second program is running.
    pub again: u64,
    /// Where a pointer becomes a number: one word for each program on the tracepoint.
    pub numbers: [u64; 2],
    /// Stacks that found their own buffer full.
    pub lost_stacks: u64,
    /// Records reserved on this CPU, to ask about the buffer's fill only now and then.
    pub reserved: u64,
}

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        transitions: [0; STATES * STATES],
        lost: [0; 4],
        hits: [0; 32],
        expiring: 0,
        segment: 0,
        segment_how: 0,
        reported: [0; REPORTED],
        again: 0,
        numbers: [0; 2],
        lost_stacks: 0,
        reserved: 0,
    };
}

const _: () = assert!(size_of::<Counters>() == (STATES * STATES + 4 + 32 + 8 + REPORTED) * 8);

/// Where `old` → `new` is counted.
#[must_use]
#[inline(always)]
pub const fn transition_index(old: u8, new: u8) -> usize {
    ((old & 15) as usize) << 4 | (new & 15) as usize
}
