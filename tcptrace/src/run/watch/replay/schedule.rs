//! When frames of a recording are due. Times in which nothing is recorded are skipped.

use crate::{duration::human, event::Nanos, record::entry::Entry};

/// When frames are due, in the recording's time.
pub(super) struct Schedule {
    /// The next frame. Who has shown one sets the next.
    pub(super) next: Nanos,
    /// Whether a frame has shown what the latest entry left.
    is_shown: bool,
}

pub(super) struct Due {
    /// The time that it shows.
    pub(super) now: Nanos,
    /// How much before it is not shown.
    pub(super) skipped: Option<Nanos>,
}

impl Schedule {
    pub(super) const fn new(next: Nanos) -> Self {
        Self {
            next,
            is_shown: false,
        }
    }

    /// The frame to show before the entry is applied, if there is one; `latest` is when the entry before it was, and
    /// `step` the time from one frame to the next.
    pub(super) fn due(&mut self, entry: &Entry, latest: Nanos, step: Nanos) -> Option<Due> {
        let time = entry.time()?;
        if time <= self.next {
            self.is_shown = false;
            return None;
        }
        let skipped = if self.is_shown {
            skipped(latest, self.next, time, step)
        } else {
            None
        };
        self.is_shown = true;
        self.next = self.next.plus(skipped.unwrap_or_default());
        Some(Due {
            now: self.next,
            skipped,
        })
    }
}

/// A run that goes on writes an entry a minute, whatever happens. Longer, the host was suspended, a part is missing, or
/// the times are wild.
const LONGEST: Nanos = Nanos::from_secs(120);

/// How much of the time before an entry is skipped, in whole steps: the step before the entry is left. `latest` is when
/// the entry before it was, `next` when the next step is due.
fn skipped(latest: Nanos, next: Nanos, entry: Nanos, step: Nanos) -> Option<Nanos> {
    if entry.since(latest) <= LONGEST {
        return None;
    }
    // Steps are due before an entry, not with it.
    let last = entry.0.checked_sub(1)?.checked_sub(next.0)?;
    let steps = last.checked_div(step.0)?;
    (steps > 0).then(|| Nanos(steps * step.0))
}

/// Reports a skip to the user.
pub(super) fn skip_note(span: Nanos) -> String {
    format!("skipped {} without entries", human(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    fn at(seconds: u64) -> Nanos {
        Nanos::from_secs(seconds)
    }

    #[test]
    fn two_minutes_are_shown_and_more_is_skipped() {
        assert_eq!(skipped(at(10), at(11), at(130), SECOND), None);
        assert_eq!(skipped(at(10), at(11), at(131), SECOND), Some(at(119)));
        let century = at(136 * 365 * 86_400);
        let span = skipped(at(10), at(11), century, SECOND);
        assert_eq!(span, Some(Nanos(century.0 - at(12).0)));
        assert_eq!(skipped(at(10), at(500), at(400), SECOND), None);
        assert_eq!(skipped(Nanos(0), Nanos(0), Nanos(u64::MAX), Nanos(0)), None);
    }

    #[test]
    fn a_century_without_entries_takes_two_frames() {
        let began = Nanos::from_secs(100);
        let mut schedule = Schedule::new(began.plus(SECOND));
        let mut latest = began;
        let mut shown = Vec::new();
        let century = 136 * 365 * 86_400;
        for seconds in [102, 102 + century, 103 + century, u64::MAX / 1_000_000_000] {
            let time = Nanos::from_secs(seconds);
            while let Some(due) = schedule.due(&Entry::Settled(time), latest, SECOND) {
                schedule.next = due.now.plus(SECOND);
                shown.push((due.now.0 / 1_000_000_000, due.skipped.is_some()));
            }
            latest = time;
        }
        let last = u64::MAX / 1_000_000_000;
        assert_eq!(
            shown,
            [
                (101, false),
                (102, false),
                (101 + century, true),
                (102 + century, false),
                (103 + century, false),
                (last - 1, true),
            ]
        );
    }

    proptest! {
        #[test]
        fn one_step_is_left_before_the_entry(
            latest in any::<u64>(),
            next in any::<u64>(),
            entry in any::<u64>(),
            step in 1..u64::MAX,
        ) {
            let [latest, next, entry, step] = [latest, next, entry, step].map(Nanos);
            if let Some(span) = skipped(latest, next, entry, step) {
                prop_assert!(next.0 + span.0 < entry.0 && entry.0 - (next.0 + span.0) <= step.0);
            }
        }
    }
}
