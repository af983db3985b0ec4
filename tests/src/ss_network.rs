//! What `ss -tinoem` prints on each connection, in the units of `tcptrace snapshot --json`.

use crate::sockets::Network;
use std::{collections::HashMap, io, process::Command};

/// What `ss` printed on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The fields that `ss` has too, those that it leaves out because they are 0 included.
    pub network: Network,
    /// How long the timer runs, as printed: rounded down to this many nanoseconds.
    pub timer_precision_ns: u64,
}

/// Every connection of the current thread's namespace, by cookie.
pub fn by_cookie() -> io::Result<HashMap<u64, Printed>> {
    let output = Command::new("ss").arg("-tinoemOH").output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "ss: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| parse(line).ok_or_else(|| io::Error::other(format!("ss printed {line:?}"))))
        .collect()
}

fn parse(line: &str) -> Option<(u64, Printed)> {
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let number = |name: &str| value(name).map_or(Some(0), |text| text.parse().ok());
    let cookie = u64::from_str_radix(value("sk:")?, 16).ok()?;
    let (rtt, variance) = value("rtt:").unwrap_or("0/0").split_once('/')?;
    let (retransmitted, total) = value("retrans:").unwrap_or("0/0").split_once('/')?;
    let timer = value("timer:(").map_or(Some(Timer::OFF), Timer::parse)?;
    let memory = value("skmem:(")?.trim_end_matches(')');
    let of_memory = |name: &str| {
        let found = memory.split(',').find_map(|item| item.strip_prefix(name));
        found.and_then(|text| text.parse::<u32>().ok())
    };
    let network = Network {
        rtt_ns: Some(nanos_of_millis(rtt)?),
        rtt_var_ns: Some(nanos_of_millis(variance)?),
        rto_ns: Some(nanos_of_millis(value("rto:").unwrap_or("0"))?),
        mss_bytes: number("mss:"),
        send_window_bytes: number("snd_wnd:"),
        in_flight_segments: number("unacked:"),
        retransmitted_in_flight_segments: retransmitted.parse().ok(),
        retransmits_total: total.parse().ok(),
        not_sent_bytes: number("notsent:"),
        backoff: number("backoff:"),
        retransmits: (timer.name == "retransmit").then_some(timer.count),
        probes: matches!(timer.name, "window-probe" | "keepalive").then_some(timer.count),
        timer: Some(timer.name.to_owned()),
        timer_expires_ns: (timer.name != Timer::OFF.name).then_some(timer.expires_ns),
        receive_memory_bytes: of_memory("r"),
        send_memory_bytes: of_memory("w"),
        drops: of_memory("d"),
        ..Network::default()
    };
    Some((
        cookie,
        Printed {
            network,
            timer_precision_ns: timer.precision_ns,
        },
    ))
}

/// Milliseconds with up to three decimals.
fn nanos_of_millis(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let micros: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + micros * 1_000)
}

struct Timer {
    name: &'static str,
    expires_ns: u64,
    precision_ns: u64,
    count: u32,
}

impl Timer {
    const OFF: Self = Self {
        name: "off",
        expires_ns: 0,
        precision_ns: 0,
        count: 0,
    };

    /// Parses the rest of `timer:(keepalive,1min15sec,0)`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_end_matches(')').split(',');
        let name = match parts.next()? {
            "on" => "retransmit",
            "keepalive" => "keepalive",
            "persist" => "window-probe",
            _ => return None,
        };
        let (expires_ns, precision_ns) = span(parts.next()?)?;
        Some(Self {
            name,
            expires_ns,
            precision_ns,
            count: parts.next()?.parse().ok()?,
        })
    }
}

/// A time of `print_ms_timer` and its precision, nanoseconds: `12min`, `1min15sec`, `12sec`, `1.200ms` for 1.2 seconds,
/// `200ms`, or nothing.
fn span(text: &str) -> Option<(u64, u64)> {
    const MILLI: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MILLI;
    let (minutes, rest) = match text.split_once("min") {
        Some((minutes, rest)) => (minutes.parse::<u64>().ok()?, rest),
        None => (0, text),
    };
    let (below, precision) = if let Some(seconds) = rest.strip_suffix("sec") {
        (seconds.parse::<u64>().ok()? * SECOND, SECOND)
    } else if let Some(millis) = rest.strip_suffix("ms") {
        let (seconds, millis) = millis.split_once('.').unwrap_or(("0", millis));
        let seconds: u64 = seconds.parse().ok()?;
        (seconds * SECOND + millis.parse::<u64>().ok()? * MILLI, MILLI)
    } else if rest.is_empty() {
        (0, if minutes > 0 { 60 * SECOND } else { MILLI })
    } else {
        return None;
    };
    Some((minutes * 60 * SECOND + below, precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_timer_is_read() {
        let millis = |ms: u64| ms * 1_000_000;
        assert_eq!(span("644ms"), Some((millis(644), millis(1))));
        assert_eq!(span("1.200ms"), Some((millis(1_200), millis(1))));
        assert_eq!(span("9sec"), Some((millis(9_000), millis(1_000))));
        assert_eq!(span("1min15sec"), Some((millis(75_000), millis(1_000))));
        assert_eq!(span("119min"), Some((millis(119 * 60_000), millis(60_000))));
        assert_eq!(span("soon"), None);
    }

    #[test]
    fn what_ss_leaves_out_is_0() {
        let line = "ESTAB 0 5 127.0.0.1:1 127.0.0.1:2 timer:(on,3.264ms,4) ino:7 sk:1f cgroup:/ <-> \
            skmem:(r1,rb131072,t0,tb87040,f2,w3,o0,bl0,d4) ts sack cubic rto:3264 backoff:4 rtt:0.036/0.018 mss:1348 \
            unacked:1 retrans:1/5 snd_wnd:65535";
        let (cookie, printed) = parse(line).expect("a line of ss");
        let network = printed.network;
        assert_eq!(
            (cookie, network.rtt_ns, network.not_sent_bytes),
            (0x1f, Some(36_000), Some(0))
        );
        assert_eq!(
            (network.retransmits, network.retransmits_total),
            (Some(4), Some(5))
        );
        assert_eq!((network.send_memory_bytes, network.drops), (Some(3), Some(4)));
        assert_eq!(network.timer_expires_ns, Some(3_264_000_000));
    }
}
