//! Numbers and ages: in a fixed width for cells, in full for exported files.

use crate::{duration::human_age, event::Age};

/// A count in five characters at most.
pub(super) fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..10_000_000 => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
        10_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// A rate in five characters at most, from 10,000 on with a unit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are not negative, and far below 2^53"
)]
pub(super) fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0".to_owned()
    } else if per_second < 0.05 {
        "<0.1".to_owned()
    } else if per_second < 9.95 {
        format!("{per_second:.1}")
    } else if per_second < 9_999.5 {
        format!("{per_second:.0}")
    } else if per_second < 99_950.0 {
        format!("{:.1}k", per_second / 1_000.0)
    } else if per_second < 999_500.0 {
        format!("{:.0}k", per_second / 1_000.0)
    } else {
        count(per_second.round() as u64)
    }
}

/// An age, `>` before a lower bound, `-` where there is none.
pub(super) fn age(age: Option<Age>) -> String {
    age.map_or_else(|| "-".to_owned(), human_age)
}

/// Text that keeps its tail where it is longer than `width` characters: the IPv6 addresses of a network begin alike.
pub(super) fn clip_front(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(count + 1 - width).collect();
    format!("…{tail}")
}

/// A field of an exported file, empty where the value is unknown.
pub(super) fn field<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The field of an age in nanoseconds.
pub(super) fn age_ns(age: Option<Age>) -> String {
    field(age.map(|age| age.span().0))
}

/// Whether the age is exact or a lower bound.
pub(super) fn age_exact(age: Option<Age>) -> String {
    field(age.map(Age::is_exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_in_five_characters() {
        for (number, text) in [
            (99_999, "99999"),
            (123_456, "123k"),
            (1_250_000, "1.2M"),
            (45_000_000, "45M"),
            (7_000_000_000, "7G"),
        ] {
            assert_eq!(count(number), text);
        }
        for (per_second, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.25, "0.2"),
            (9.96, "10"),
            (98.4, "98"),
            (9_999.4, "9999"),
            (13_280.4, "13.3k"),
            (99_949.0, "99.9k"),
            (99_960.0, "100k"),
            (999_499.0, "999k"),
            (1_250_000.0, "1.2M"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }
}
