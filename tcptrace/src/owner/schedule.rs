//! When to scan open files next: soon if a socket needs an owner, within a given share of one CPU. Time is an argument.

use crate::{duty_cycle::DutyCycle, event::Nanos};
use serde::Serialize;

/// A scan that took T of CPU time is followed by at least this many times T without one: one part in a hundred of one
/// CPU.
const PAUSE: u64 = 99;

/// Two scans are at least this far apart, so that the sockets of a burst share one.
const SOONEST: Nanos = Nanos::from_millis(100);

/// A socket that nobody was found to hold, such as one that waits to be accepted, makes no event when somebody does:
/// it is looked for again and again, ever more rarely, down to this.
const RAREST: Nanos = Nanos::from_secs(5);

/// A descriptor that changes hands makes no event at all, so what is known is looked at again after this time.
const REFRESH: Nanos = Nanos::from_secs(10);

/// What the scans have cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// How many there were.
    pub count: u64,
    /// CPU time that they took, all together.
    pub total_ns: u64,
}

/// Remembers when the latest scan was and what it left open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) cost: Cost,
    pace: DutyCycle,
    /// The latest ended.
    ended: Nanos,
    /// How long rows without a holder wait for the next.
    patience: Nanos,
    /// Rows without a holder that the latest left.
    unsettled: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cost: Cost::default(),
            pace: DutyCycle::new(SOONEST, PAUSE),
            ended: Nanos(0),
            patience: SOONEST,
            unsettled: 0,
        }
    }
}

impl Schedule {
    /// Whether to scan at `now`, where `is_wanted` says that something new needs it.
    pub(crate) fn is_due(&self, now: Nanos, is_wanted: bool) -> bool {
        let waited = now.since(self.ended);
        self.pace.is_due(now)
            && (is_wanted || (self.unsettled > 0 && waited >= self.patience) || waited >= REFRESH)
    }

    /// Notes a scan that `ended`, `cost` so much CPU time and left `unsettled` rows without a holder. `was_wanted`:
    /// whether something new had asked for it.
    pub(crate) fn done(&mut self, ended: Nanos, cost: Nanos, was_wanted: bool, unsettled: u64) {
        self.cost.count += 1;
        self.cost.total_ns += cost.0;
        self.ended = ended;
        self.pace.finished(ended, cost);
        self.patience = if was_wanted || unsettled < self.unsettled {
            SOONEST
        } else {
            Nanos((self.patience.0 * 2).min(RAREST.0))
        };
        self.unsettled = unsettled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Nanos {
        Nanos::from_millis(count)
    }

    #[test]
    fn what_is_new_is_scanned_for_at_once_and_then_after_a_pause() {
        let mut schedule = Schedule::default();
        assert!(schedule.is_due(ms(20_000), true));
        schedule.done(ms(20_001), ms(1), true, 0);
        assert!(!schedule.is_due(ms(20_050), true));
        assert!(schedule.is_due(ms(20_101), true));
        assert!(!schedule.is_due(ms(20_101), false));
    }

    #[test]
    fn scans_take_at_most_one_part_in_a_hundred_of_the_time() {
        let mut schedule = Schedule::default();
        let mut now = ms(10_000);
        let begun = now;
        while now < ms(70_000) {
            now = now.plus(ms(1));
            if schedule.is_due(now, true) {
                let ended = now.plus(ms(7));
                schedule.done(ended, ms(7), true, 3);
                now = ended;
            }
        }
        let share = schedule.cost.total_ns * 100 / now.since(begun).0;
        assert!(schedule.cost.count > 50);
        assert!(share <= 1, "{share} %");
    }

    #[test]
    fn what_nobody_holds_is_scanned_for_ever_more_rarely() {
        let mut schedule = Schedule::default();
        let mut now = ms(10_000);
        schedule.done(now, ms(0), true, 5);
        let mut gaps = Vec::new();
        let mut last = now;
        for _ in 0..20_000 {
            now = now.plus(ms(1));
            if schedule.is_due(now, false) {
                schedule.done(now, ms(0), false, 5);
                gaps.push(now.since(last).0 / 1_000_000);
                last = now;
            }
        }
        assert_eq!(gaps, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn what_is_known_is_scanned_again_after_a_while() {
        let mut schedule = Schedule::default();
        schedule.done(ms(10_001), ms(1), true, 0);
        assert!(!schedule.is_due(ms(20_000), false));
        assert!(schedule.is_due(ms(20_001), false));
    }
}
