//! Times of a recording in which nothing is recorded: a replay that goes on step by step skips them.

use crate::{event::Nanos, output::duration::human};

/// A run that goes on writes an entry a minute, whatever happens. Longer, the host was suspended, a part is missing, or
/// the times are wild.
const LONGEST: Nanos = Nanos::from_secs(120);

/// How much of the time before an entry is skipped, in whole steps: the step before the entry is left. `latest` is when
/// the entry before it was, `next` when the next step is due.
pub(super) fn skipped(latest: Nanos, next: Nanos, entry: Nanos, step: Nanos) -> Option<Nanos> {
    if entry.since(latest) <= LONGEST {
        return None;
    }
    // Steps are due before an entry, not with it.
    let last = entry.0.checked_sub(1)?.checked_sub(next.0)?;
    let steps = last.checked_div(step.0)?;
    (steps > 0).then(|| Nanos(steps * step.0))
}

/// The same for people.
pub(super) fn said(span: Nanos) -> String {
    format!("skipped {} in which nothing was recorded", human(span))
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
