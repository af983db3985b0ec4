//! `CLOCK_MONOTONIC`, which is also the clock of the kernel side, and the moments before and after an action. A moment
//! has two readings: preemption widens it, and never makes it wrong.

use nix::time::{ClockId, clock_gettime};
use std::{fmt, thread, time::Duration};

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists");
    u64::try_from(Duration::from(now).as_nanos()).expect("uptime fits 64 bits")
}

/// The interval in which an action happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub earliest_ns: u64,
    pub latest_ns: u64,
}

impl Moment {
    /// Performs `action` and returns its moment.
    pub fn of<T>(action: impl FnOnce() -> T) -> (T, Self) {
        let earliest_ns = monotonic_ns();
        let value = action();
        (
            value,
            Self {
                earliest_ns,
                latest_ns: monotonic_ns(),
            },
        )
    }

    /// Whether `time_ns` is in the moment, within `slack`.
    #[must_use]
    pub fn contains(self, time_ns: u64, slack: Duration) -> bool {
        let slack = nanoseconds(slack);
        time_ns.saturating_add(slack) >= self.earliest_ns && time_ns <= self.latest_ns.saturating_add(slack)
    }

    /// Whether something of duration `dwell_ns` can have begun at `start` and ended at this moment, within `slack`.
    #[must_use]
    pub fn ends_after(self, start: Self, dwell_ns: u64, slack: Duration) -> bool {
        let (shortest_ns, longest_ns) = self.distance_ns(start);
        let slack = nanoseconds(slack);
        dwell_ns.saturating_add(slack) >= shortest_ns && dwell_ns <= longest_ns.saturating_add(slack)
    }

    /// Minimum and maximum time between `start` and this moment, nanoseconds.
    #[must_use]
    pub fn distance_ns(self, start: Self) -> (u64, u64) {
        (
            self.earliest_ns.saturating_sub(start.latest_ns),
            self.latest_ns.saturating_sub(start.earliest_ns),
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} +{} ns",
            self.earliest_ns,
            self.latest_ns - self.earliest_ns
        )
    }
}

/// Stays in the present state for `length`: the dwell time of a script, not a wait for an event.
pub fn linger(length: Duration) {
    thread::sleep(length);
}

/// Calls `question` repeatedly until it returns an answer; `None` when `timeout` has elapsed.
pub fn poll_until<T>(timeout: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    const INTERVAL: Duration = Duration::from_millis(5);
    let deadline_ns = monotonic_ns() + nanoseconds(timeout);
    loop {
        // Reads the clock first, so that the last call is at or after the deadline.
        let over = monotonic_ns() >= deadline_ns;
        let answer = question();
        if answer.is_some() || over {
            return answer;
        }
        thread::sleep(INTERVAL);
    }
}

#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dwell_may_be_as_uncertain_as_its_two_ends() {
        let start = Moment {
            earliest_ns: 1_000,
            latest_ns: 2_000,
        };
        let end = Moment {
            earliest_ns: 5_000,
            latest_ns: 9_000,
        };
        assert!(end.ends_after(start, 3_000, Duration::ZERO));
        assert!(end.ends_after(start, 8_000, Duration::ZERO));
        assert!(!end.ends_after(start, 2_999, Duration::ZERO));
        assert!(!end.ends_after(start, 8_001, Duration::ZERO));
        assert!(end.ends_after(start, 8_001, Duration::from_nanos(1)));
    }
}
