//! Times of lines for people.

use crate::{event::Nanos, kernel::clock::ClockPair};
use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

/// How wall times are written.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// Time of day in this zone.
    Zone(TimeZone),
    /// Seconds since 1970, UTC.
    Epoch,
}

impl Times {
    /// The columns of [`Self::seconds`].
    pub(crate) const fn width(&self) -> usize {
        match self {
            Self::Zone(_) => 8,
            Self::Epoch => 10,
        }
    }

    /// To the second.
    pub(crate) fn seconds(&self, time: Nanos, anchor: &ClockPair) -> String {
        match self {
            Self::Zone(zone) => wall(time, anchor, zone).strftime("%H:%M:%S").to_string(),
            Self::Epoch => (anchor.wall(time) / 1_000_000_000).to_string(),
        }
    }

    /// To the microsecond, in seven more columns.
    pub(crate) fn micros(&self, time: Nanos, anchor: &ClockPair) -> String {
        match self {
            Self::Zone(zone) => wall(time, anchor, zone).strftime("%H:%M:%S%.6f").to_string(),
            Self::Epoch => {
                let micros = anchor.wall(time) / 1_000;
                format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
            }
        }
    }

    /// The day, if times do not include it.
    pub(crate) fn date(&self, time: Nanos, anchor: &ClockPair) -> Option<Date> {
        match self {
            Self::Zone(zone) => Some(wall(time, anchor, zone).date()),
            Self::Epoch => None,
        }
    }
}

pub(crate) fn wall(time: Nanos, anchor: &ClockPair, zone: &TimeZone) -> Zoned {
    Timestamp::from_nanosecond(i128::from(anchor.wall(time)))
        .unwrap_or_default()
        .to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_a_day_or_since_1970() {
        let anchor = ClockPair {
            mono_ns: 0,
            wall_ns: 1_795_300_000_000_000_000,
        };
        let time = Nanos(1_234_567);
        let utc = Times::Zone(TimeZone::UTC);
        assert_eq!(utc.seconds(time, &anchor), "22:26:40");
        assert_eq!(utc.micros(time, &anchor), "22:26:40.001234");
        assert_eq!(utc.date(time, &anchor).unwrap().to_string(), "2026-11-21");
        assert_eq!(Times::Epoch.seconds(time, &anchor), "1795300000");
        assert_eq!(Times::Epoch.micros(time, &anchor), "1795300000.001234");
        assert_eq!(Times::Epoch.date(time, &anchor), None);
    }
}
