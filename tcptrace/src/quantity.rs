//! Times, sizes and networks as users write them: `10`, `500ms`, `5m`, `64K`, `10.0.0.0/8`.

use ipnet::IpNet;
use std::{net::IpAddr, str::FromStr, time::Duration};

/// Longer times are taken to be this long, a hundred years: clocks can add it to the present.
const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);

/// The units of times, and how many seconds they are.
const TIME_UNITS: [(&str, f64); 5] = [
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];

/// The units of sizes, and how far they shift a number of bytes.
const SIZE_UNITS: [(&str, u32); 3] = [("K", 10), ("M", 20), ("G", 30)];

const TIME_HELP: &str =
    "give seconds such as 0.5 or 60, or a time with its unit such as 500ms, 10s, 5m or 1h";
const MINUTES_HELP: &str = "give minutes such as 10, or a time with its unit such as 90s or 1h";

/// A time above 0, at most a hundred years; without a unit in seconds. Fails with what to give instead.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    above_zero(time_or_zero(text)?, TIME_HELP)
}

/// The same, or 0.
pub(crate) fn time_or_zero(text: &str) -> Result<Duration, String> {
    time_in("s", text).ok_or_else(|| TIME_HELP.to_owned())
}

/// A time as users write it: `500ms`, `90s`, `5m`, `1h30m`, rounded to the next lower unit that is shown.
pub(crate) fn written(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3_600, seconds % 3_600 / 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, _) if time.subsec_millis() > 0 => format!("{time:?}"),
        (0, 0, rest) => format!("{rest}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, rest) => format!("{minutes}m{rest:02}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

/// A whole number from 0. Fails with what to give instead.
pub(crate) fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "give a whole number from 0, such as 10".to_owned())
}

/// A process ID. Fails with what to give instead.
pub(crate) fn pid(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "give a process ID such as 4242; -c selects by name".to_owned())
}

/// A port. Fails with what to give instead.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "give a port from 0 to 65535".to_owned())
}

/// A factor of time. Fails with what to give instead.
pub(crate) fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok();
    factor
        .filter(|factor: &f64| factor.is_finite() && *factor >= 0.0)
        .ok_or_else(|| "give a factor such as 0.5, 1 or 10, or 0 for no wait".to_owned())
}

/// A time above 0; without a unit in minutes.
pub(crate) fn minutes(text: &str) -> Result<Duration, String> {
    let time = time_in("m", text).ok_or_else(|| MINUTES_HELP.to_owned())?;
    above_zero(time, MINUTES_HELP)
}

fn above_zero(time: Duration, help: &str) -> Result<Duration, String> {
    if time.is_zero() {
        return Err(format!("it must be above 0; {help}"));
    }
    Ok(time)
}

fn time_in(default: &str, text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let unit = if unit.is_empty() { default } else { unit };
    let (_, scale) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
    let seconds = number.parse::<f64>().ok()? * scale;
    let within = seconds.is_finite().then(|| seconds.min(FOREVER.as_secs_f64()))?;
    Duration::try_from_secs_f64(within).ok()
}

/// A number of bytes: `4096`, `64K`, `8MiB`, `2g`, in powers of two. Fails with what to give instead.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_uppercase();
    let shift = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => Some(0),
        unit => SIZE_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, shift)| *shift),
    };
    let bytes = shift.zip(number.parse::<u64>().ok());
    bytes
        .and_then(|(shift, number)| number.checked_mul(1 << shift))
        .ok_or_else(|| "give a number of bytes, or a size with its unit such as 64K, 8M or 2G".to_owned())
}

/// A network as `10.0.0.0/8`, or an address, which is a network of one. Fails with what to give instead.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "give an address or a network such as 10.0.0.1, 10.0.0.0/8, ::1 or fe80::/10".to_owned())
}

/// The number and the unit, which is the letters at the end.
fn split(text: &str) -> (&str, &str) {
    let number = text.trim_end_matches(|c: char| c.is_alphabetic());
    text.split_at(number.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_are_in_seconds() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("0.5", 500),
            ("10s", 10_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for long in ["9223372036854775807", "1e30", "99999999d"] {
            assert_eq!(time(long), Ok(FOREVER));
        }
        assert!(std::time::Instant::now().checked_add(FOREVER).is_some());
        for wrong in [
            "", "0", "0s", "-1", "1e-30", "nan", "inf", "s", "5 m", "5min", "1h30m", "x",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time_or_zero("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn times_are_written_with_at_most_two_units() {
        for (milliseconds, text) in [
            (500, "500ms"),
            (0, "0s"),
            (10_000, "10s"),
            (60_000, "1m"),
            (61_000, "1m01s"),
            (3_600_000, "1h"),
            (5_400_000, "1h30m"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(written(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn minutes_are_the_unit_of_a_flight_recorder() {
        assert_eq!(minutes("10"), Ok(Duration::from_mins(10)));
        assert_eq!(minutes("90s"), Ok(Duration::from_secs(90)));
        assert!(minutes("0").is_err());
    }

    #[test]
    fn networks_are_addresses_with_a_length() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fe80::/10").unwrap().to_string(), "fe80::/10");
        for wrong in ["", "10.0.0.0/33", "10.0.0", "localhost", "::1/x"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_in_powers_of_two() {
        for (text, bytes) in [
            ("4096", 4_096),
            ("64K", 65_536),
            ("8MiB", 8 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "K", "1.5M", "-1K", "8T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
