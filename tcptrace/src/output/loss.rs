//! Losses, reported at the place in a stream where they happened.

use super::{csv, json, times::Times};
use crate::{
    event::Nanos,
    kernel::clock::ClockPair,
    plural::{counted, was},
};
use serde::Serialize;

/// What went missing since the loss before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) time: Nanos,
    /// Records that the kernel could not deliver.
    pub(crate) lost: u64,
    /// Lines dropped because the reader was too slow.
    pub(crate) dropped: u64,
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

pub(crate) fn json(loss: &Loss, anchor: &ClockPair) -> String {
    json::line(&Line {
        loss: LossJson {
            time: json::rfc3339(anchor.wall(loss.time)),
            mono_ns: loss.time.0,
            lost: loss.lost,
            dropped: loss.dropped,
        },
    })
}

/// As a row of a table, so that its reader needs to know nothing of losses: only the times and `reason` are not empty.
/// Without a column for the reason, as a comment.
pub(crate) fn csv(loss: &Loss, titles: &[&str], anchor: &ClockPair) -> String {
    if !titles.contains(&"reason") {
        return format!("# lost {} dropped {}\n", loss.lost, loss.dropped);
    }
    csv::line(titles.iter().map(|title| match *title {
        "time" => json::rfc3339(anchor.wall(loss.time)),
        "mono_ns" => loss.time.0.to_string(),
        "reason" => format!("lost {} dropped {}", loss.lost, loss.dropped),
        _ => String::new(),
    }))
}

/// As a line for people.
pub(crate) fn line(loss: &Loss, anchor: &ClockPair, times: &Times) -> String {
    let time = times.seconds(loss.time, anchor);
    let records = (loss.lost > 0).then(|| {
        let records = counted(loss.lost, "record");
        format!("{records} {} lost in the kernel", was(loss.lost))
    });
    let lines = (loss.dropped > 0).then(|| {
        let lines = counted(loss.dropped, "line");
        format!(
            "{lines} {} dropped because the reader is too slow",
            was(loss.dropped)
        )
    });
    let parts: Vec<String> = records.into_iter().chain(lines).collect();
    format!("{time} # {}\n", parts.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::change::Change, output::row::Line};
    use jiff::tz::TimeZone;

    const LOSS: Loss = Loss {
        time: Nanos::from_secs(1),
        lost: 7,
        dropped: 3,
    };
    const ANCHOR: ClockPair = ClockPair {
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
            line(&LOSS, &ANCHOR, &Times::Zone(TimeZone::UTC)),
            "22:26:41 # 7 records were lost in the kernel, and 3 lines were dropped because the reader is too slow\n"
        );
        let only = Loss { lost: 0, ..LOSS };
        assert_eq!(
            line(&only, &ANCHOR, &Times::Zone(TimeZone::UTC)),
            "22:26:41 # 3 lines were dropped because the reader is too slow\n"
        );
    }

    #[test]
    fn a_table_stays_a_table() {
        let titles = csv::titles::<Line<'_, Change>>();
        let row = csv(&LOSS, &titles, &ANCHOR);
        assert_eq!(row.matches(',').count() + 1, titles.len());
        let reason = titles.iter().position(|title| *title == "reason").unwrap();
        let fields: Vec<&str> = row.trim_end().split(',').collect();
        assert_eq!(fields[reason], "lost 7 dropped 3");
        assert_eq!(
            fields[..4],
            ["", "2026-11-21T22:26:41.000000000Z", "1000000000", ""]
        );
        assert_eq!(csv(&LOSS, &["time", "pid"], &ANCHOR), "# lost 7 dropped 3\n");
    }
}
