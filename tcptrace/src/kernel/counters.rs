//! The counters of the kernel programs, summed over all CPUs.

use crate::event::Nanos;
use tcptrace_common::{Counters, Hits};

/// How often the counters of losses are read.
pub(crate) const LOSS_CHECK_EVERY: Nanos = Nanos::from_millis(250);

/// Everything the kernel counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    /// Old × new, over all CPUs.
    pub(crate) transitions: [u64; 256],
    /// Records that found the buffer full, by [`tcptrace_common::Loss`].
    pub(crate) lost: [u64; 4],
    /// What hooks reported.
    pub(crate) hits: Hits,
    /// Stacks that found their buffer full.
    pub(crate) lost_stacks: u64,
    /// Runs of a program that the kernel skipped, because the same program was running on that CPU already.
    pub(crate) skipped: u64,
}

impl Totals {
    /// Adds up the processors' counters.
    pub(super) fn of<'a>(processors: impl Iterator<Item = &'a CountersPod>, skipped: u64) -> Self {
        let mut totals = Self {
            transitions: [0; 256],
            lost: [0; 4],
            hits: [[0; 4]; 16],
            lost_stacks: 0,
            skipped,
        };
        for CountersPod(processor) in processors {
            add(&mut totals.transitions, &processor.transitions);
            add(&mut totals.lost, &processor.lost);
            add(totals.hits.as_flattened_mut(), processor.hits.as_flattened());
            totals.lost_stacks += processor.lost_stacks;
        }
        totals
    }

    /// All transitions of TCP sockets.
    pub(crate) fn all_transitions(&self) -> u64 {
        self.transitions.iter().sum()
    }

    /// All records that did not arrive.
    pub(crate) fn all_lost(&self) -> u64 {
        self.lost.iter().sum::<u64>() + self.skipped
    }
}

/// One processor's counters as the map holds them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct CountersPod(Counters);

// SAFETY: `repr(C)`, 64-bit integers only, so there is no padding and every bit pattern is a value.
unsafe impl aya::Pod for CountersPod {}

fn add(sum: &mut [u64], more: &[u64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}
