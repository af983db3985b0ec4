//! When a state began, exactly or as a bound, in one word. Reads no clock.

use crate::event::{Age, Nanos};

/// When a state began, and whether it was seen to begin or was already there at that time. One word, since every
/// connection has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(u64);

/// Marks a state that was already there. Times are below: 2^63 nanoseconds are 292 years since boot.
const WAS_THERE: u64 = 1 << 63;

impl Since {
    /// It was seen to begin.
    pub(crate) const fn at(time: Nanos) -> Self {
        Self(if time.0 < WAS_THERE { time.0 } else { WAS_THERE - 1 })
    }

    /// It was already there at this time.
    pub(crate) const fn before(time: Nanos) -> Self {
        Self(Self::at(time).0 | WAS_THERE)
    }

    /// Whether it was seen to begin.
    pub(crate) const fn is_exact(self) -> bool {
        self.0 < WAS_THERE
    }

    /// The later of two.
    pub(crate) const fn max(self, other: Self) -> Self {
        if self.time().0 < other.time().0 {
            other
        } else {
            self
        }
    }

    /// The same where events until `until` were lost: what began before was not seen whole.
    pub(crate) const fn unless_lost(self, until: Nanos) -> Self {
        if self.time().0 <= until.0 {
            Self::before(self.time())
        } else {
            self
        }
    }

    /// How long it has lasted at `now`.
    pub(crate) const fn age(self, now: Nanos) -> Age {
        let span = now.since(self.time());
        if self.is_exact() {
            Age::Exact(span)
        } else {
            Age::AtLeast(span)
        }
    }

    /// The time, exact or not.
    pub(crate) const fn time(self) -> Nanos {
        Nanos(self.0 & !WAS_THERE)
    }
}
