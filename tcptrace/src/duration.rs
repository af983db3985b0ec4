//! Durations as text, in the unit that reads best.

use crate::event::{Age, Nanos};

/// Three digits and a unit from nanoseconds to seconds, then minutes, hours and days, six characters at
/// most below 30 years: `62.9µs`, `1.20s`, `2m03s`.
pub(crate) fn human(span: Nanos) -> String {
    let ns = span.0;
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => three_digits(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => three_digits(ns, 1_000_000, "ms"),
        1_000_000_000..60_000_000_000 => three_digits(ns, 1_000_000_000, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            match seconds {
                ..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
                3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
                86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
                _ => format!("{}d", seconds / 86_400),
            }
        }
    }
}

/// The same, with `>` before a lower bound.
pub(crate) fn human_age(age: Age) -> String {
    match age {
        Age::Exact(span) => human(span),
        Age::AtLeast(span) => format!(">{}", human(span)),
    }
}

fn three_digits(ns: u64, unit: u64, name: &str) -> String {
    let hundredths = u128::from(ns) * 100 / u128::from(unit);
    match hundredths {
        ..1_000 => format!("{}.{:02}{name}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{}{name}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{}{name}", hundredths / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_in_their_own_unit() {
        let table = [
            (999, "999ns"),
            (62_945, "62.9µs"),
            (1_204_000, "1.20ms"),
            (999_999_999, "999ms"),
            (60_000_000_000 - 1, "59.9s"),
            (123_000_000_000, "2m03s"),
            (3_600_000_000_000, "1h00m"),
            (90_000_000_000_000, "1d01h"),
            (31_622_400_000_000_000, "366d"),
        ];
        for (ns, text) in table {
            assert_eq!(human(Nanos(ns)), text);
        }
        assert_eq!(human_age(Age::AtLeast(Nanos(5_000_000_000))), ">5.00s");
    }
}
