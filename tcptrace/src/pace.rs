//! How often something is done that costs: not more often than it is of use, and never for more than a share of the
//! time. Time is an argument.

use crate::event::Nanos;

/// When something may be done again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    every: Nanos,
    pause: u64,
    next: Nanos,
}

impl Pace {
    /// At once, and then `every` so often at most; what has taken T is followed by `pause` times T without it.
    #[must_use]
    pub const fn new(every: Nanos, pause: u64) -> Self {
        Self {
            every,
            pause,
            next: Nanos(0),
        }
    }

    /// The same, and not before `first`.
    #[must_use]
    pub const fn not_before(self, first: Nanos) -> Self {
        Self { next: first, ..self }
    }

    /// Whether it may be done now.
    #[must_use]
    pub fn is_due(&self, now: Nanos) -> bool {
        now >= self.next
    }

    /// Notes that it `took` so long, of the clock or of a processor; the pause counts `from` then.
    pub fn rest(&mut self, from: Nanos, took: Nanos) {
        self.next = from.plus(Nanos(took.0.saturating_mul(self.pause).max(self.every.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_seldom_and_nothing_too_often() {
        let mut pace = Pace::new(Nanos(100), 20);
        assert!(pace.is_due(Nanos(0)));
        pace.rest(Nanos(1_000), Nanos(1));
        assert!(!pace.is_due(Nanos(1_099)) && pace.is_due(Nanos(1_100)));
        pace.rest(Nanos(1_100), Nanos(50));
        assert!(!pace.is_due(Nanos(2_099)) && pace.is_due(Nanos(2_100)));
        pace.rest(Nanos(2_100), Nanos(u64::MAX));
        assert!(!pace.is_due(Nanos(u64::MAX - 1)));
        assert!(!Pace::new(Nanos(1), 1).not_before(Nanos(5)).is_due(Nanos(4)));
    }
}
