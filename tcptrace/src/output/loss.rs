//! What is missing in a stream, at the place where it is missing.

use super::{json, text};
use crate::{event::Nanos, kernel::clock::Anchor};
use jiff::tz::TimeZone;
use serde::Serialize;

/// What went missing since the loss before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When that was noticed.
    pub time: Nanos,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// Lines dropped because their reader did not take them.
    pub dropped: u64,
}

#[derive(Serialize)]
struct Line {
    loss: LossJson,
}

#[derive(Serialize)]
struct LossJson {
    time: String,
    mono_ns: u64,
    lost: u64,
    dropped: u64,
}

/// As a JSON line.
#[must_use]
pub fn json(loss: &Loss, anchor: &Anchor) -> String {
    json::line(&Line {
        loss: LossJson {
            time: json::rfc3339(anchor.wall(loss.time)),
            mono_ns: loss.time.0,
            lost: loss.lost,
            dropped: loss.dropped,
        },
    })
}

/// As a row of the table with these titles, so that whoever reads the table needs to know nothing of losses: only the
/// times and `reason` are not empty.
#[must_use]
pub fn csv(loss: &Loss, titles: &str, anchor: &Anchor) -> String {
    let fields: Vec<String> = titles
        .trim_end()
        .split(',')
        .map(|title| match title {
            "time" => json::rfc3339(anchor.wall(loss.time)),
            "mono_ns" => loss.time.0.to_string(),
            "reason" => format!("lost {} dropped {}", loss.lost, loss.dropped),
            _ => String::new(),
        })
        .collect();
    fields.join(",") + "\n"
}

/// As a line for people.
#[must_use]
pub fn line(loss: &Loss, anchor: &Anchor, zone: &TimeZone) -> String {
    let time = text::wall(loss.time, anchor, zone)
        .strftime("%H:%M:%S")
        .to_string();
    let records = (loss.lost > 0).then(|| format!("{} records of the kernel were lost", loss.lost));
    let lines =
        (loss.dropped > 0).then(|| format!("{} lines were dropped, because nobody took them", loss.dropped));
    let parts: Vec<String> = records.into_iter().chain(lines).collect();
    format!("{time} # here {}\n", parts.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::csv::TITLES;

    const LOSS: Loss = Loss {
        time: Nanos::from_secs(1),
        lost: 7,
        dropped: 3,
    };
    const ANCHOR: Anchor = Anchor {
        mono_ns: 0,
        wall_ns: 1_795_300_000_000_000_000,
    };

    #[test]
    fn a_loss_is_a_line_of_each_form() {
        assert_eq!(
            json(&LOSS, &ANCHOR),
            "{\"loss\":{\"time\":\"2026-11-21T22:26:41.000000000Z\",\"mono_ns\":1000000000,\"lost\":7,\"dropped\":3}}\n"
        );
        assert_eq!(
            line(&LOSS, &ANCHOR, &TimeZone::UTC),
            "22:26:41 # here 7 records of the kernel were lost, and 3 lines were dropped, because nobody took them\n"
        );
        let only = Loss { lost: 0, ..LOSS };
        assert_eq!(
            line(&only, &ANCHOR, &TimeZone::UTC),
            "22:26:41 # here 3 lines were dropped, because nobody took them\n"
        );
    }

    #[test]
    fn a_table_stays_a_table() {
        let row = csv(&LOSS, TITLES, &ANCHOR);
        assert_eq!(row.matches(',').count(), TITLES.matches(',').count());
        let reason = TITLES.split(',').position(|title| title == "reason").unwrap();
        let fields: Vec<&str> = row.trim_end().split(',').collect();
        assert_eq!(fields[reason], "lost 7 dropped 3");
        assert_eq!(fields[..3], ["2026-11-21T22:26:41.000000000Z", "1000000000", ""]);
    }
}
