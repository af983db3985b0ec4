//! Ties the kernel's monotonic clock to wall time.

use crate::event::Nanos;
use nix::time::{ClockId, clock_getres, clock_gettime};
use serde::{Deserialize, Serialize};

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPair {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since 1970.
    pub wall_ns: u64,
}

impl ClockPair {
    /// Reads both; the wall clock between two readings of the other, of which the middle is taken.
    pub(crate) fn now() -> Self {
        let before = read(ClockId::CLOCK_MONOTONIC);
        let wall_ns = read(ClockId::CLOCK_REALTIME);
        let after = read(ClockId::CLOCK_MONOTONIC);
        Self {
            mono_ns: before.midpoint(after),
            wall_ns,
        }
    }

    /// Wall time of a monotonic time, nanoseconds since 1970.
    pub(crate) const fn wall(&self, time: Nanos) -> u64 {
        self.wall_ns.wrapping_add(time.0.wrapping_sub(self.mono_ns))
    }
}

pub(crate) fn monotonic() -> Nanos {
    Nanos(read(ClockId::CLOCK_MONOTONIC))
}

/// CPU time that the calling thread has had.
pub(crate) fn thread_cpu() -> Nanos {
    Nanos(read(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

/// What the kernel's timers count in, a jiffy: the coarse clocks advance by it (`KTIME_LOW_RES`).
pub(crate) fn tick() -> Nanos {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("Linux has this clock");
    Nanos(tick.tv_sec().unsigned_abs() * 1_000_000_000 + tick.tv_nsec().unsigned_abs())
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has these clocks");
    time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
}
