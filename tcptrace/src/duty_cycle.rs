//! Limits how often expensive work runs: not more often than useful, and for at most a share of the time. Time is an
//! argument.

use crate::event::Nanos;

/// When something may be done again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DutyCycle {
    every: Nanos,
    pause: u64,
    next: Nanos,
}

impl DutyCycle {
    /// At once, and then `every` so often at most; what has taken T is followed by `pause` times T without it.
    pub(crate) const fn new(every: Nanos, pause: u64) -> Self {
        Self {
            every,
            pause,
            next: Nanos(0),
        }
    }

    /// The same, and not before `first`.
    pub(crate) const fn not_before(self, first: Nanos) -> Self {
        Self { next: first, ..self }
    }

    /// Whether it may be done now.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.next
    }

    /// Records a run that `cost` this wall-clock or CPU time; the pause starts at `from`.
    pub(crate) fn finished(&mut self, from: Nanos, cost: Nanos) {
        self.next = from.plus(Nanos(cost.0.saturating_mul(self.pause).max(self.every.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_seldom_and_nothing_too_often() {
        let mut pace = DutyCycle::new(Nanos(100), 20);
        assert!(pace.is_due(Nanos(0)));
        pace.finished(Nanos(1_000), Nanos(1));
        assert!(!pace.is_due(Nanos(1_099)) && pace.is_due(Nanos(1_100)));
        pace.finished(Nanos(1_100), Nanos(50));
        assert!(!pace.is_due(Nanos(2_099)) && pace.is_due(Nanos(2_100)));
        pace.finished(Nanos(2_100), Nanos(u64::MAX));
        assert!(!pace.is_due(Nanos(u64::MAX - 1)));
        assert!(!DutyCycle::new(Nanos(1), 1).not_before(Nanos(5)).is_due(Nanos(4)));
    }
}
