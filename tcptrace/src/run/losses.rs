//! Reports losses when they happen: immediately, then periodically while they continue.

use crate::event::Nanos;

/// While losses go on, they are reported this often.
const AGAIN: Nanos = Nanos::from_secs(10);

/// Reports a count that grows.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    reported: u64,
    not_before: Nanos,
}

impl Alarm {
    /// How much is to be reported at `now`, if anything is, where `total` was lost so far.
    pub(super) fn due(&mut self, total: u64, now: Nanos) -> Option<u64> {
        if total == self.reported || now < self.not_before {
            return None;
        }
        let new = total - self.reported;
        self.reported = total;
        self.not_before = now.plus(AGAIN);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_reported_at_once_and_what_goes_on_now_and_then() {
        let mut alarm = Alarm::default();
        let mut due = |total, seconds| alarm.due(total, Nanos::from_secs(seconds));
        assert_eq!(due(0, 1), None);
        assert_eq!(due(7, 2), Some(7));
        assert_eq!(due(9, 3), None, "it was reported a second ago");
        assert_eq!(due(12, 12), Some(5));
        assert_eq!(due(12, 60), None);
        assert_eq!(due(13, 61), Some(1));
    }
}
