//! Text lines: one per change, aligned; within 80 columns for IPv4, everything with `-w`.

use super::field::{Padded, clip};
use crate::{
    connection::change::Change,
    duration::human_age,
    engine::Engine,
    event::{EndReason, Endpoints, Nanos},
    kernel::clock::ClockPair,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::{fmt::Write as _, net::IpAddr};

pub(crate) fn titles(wide: bool) -> String {
    if wide {
        format!(
            "{:<15} {:>7} {:<15} {:<8} {:<20} {:<15} {:<47} {:<47} {:>8} {}\n",
            "TIME",
            "PID",
            "COMMAND",
            "EVIDENCE",
            "CONTAINER/UNIT",
            "NETNS",
            "LOCAL",
            "REMOTE",
            "DWELL",
            "CHANGE"
        )
    } else {
        format!(
            "{:<8} {:<11} {:>5} {:<21} {:>7} {}\n",
            "TIME", "PID/COMMAND", "LPORT", "REMOTE", "DWELL", "CHANGE"
        )
    }
}

/// One change, with its newline. Narrow lines leave out the local address, and shorten a remote end of IPv6.
pub(crate) fn change(
    change: &Change,
    engine: &Engine,
    netns_name: Option<&str>,
    anchor: &ClockPair,
    zone: &TimeZone,
    wide: bool,
) -> String {
    let wall = wall(change.time, anchor, zone);
    let owner = change
        .owner
        .and_then(|owner| Some((engine.table.processes.get(owner.process)?, owner.evidence)));
    let dwell = change.dwell.map_or_else(|| "-".to_owned(), human_age);
    let states = format!("{}→{}", change.old, change.new);
    if !wide {
        let who = owner.map_or_else(
            || "-".to_owned(),
            |(process, evidence)| {
                let guess = if evidence.is_provisional() { "?" } else { "" };
                format!("{}{guess}/{}", process.key.pid, process.name())
            },
        );
        return format!(
            "{} {} {:>5} {:<21} {:>7} {states}\n",
            wall.strftime("%H:%M:%S"),
            Padded(&clip(&who, 11), 11),
            change.endpoints.local_port,
            clip(&end(change.endpoints.remote(), change.endpoints.remote_port), 21),
            dwell,
        );
    }
    let (pid, comm, evidence) = owner.map_or_else(
        || ("-".to_owned(), "-".to_owned(), "-"),
        |(process, evidence)| {
            (
                process.key.pid.to_string(),
                process.name().into_owned(),
                evidence.name(),
            )
        },
    );
    let location = owner.and_then(|(process, _)| process.location.as_deref()?.short());
    let location = clip(location.unwrap_or("-"), 20);
    let netns = clip(netns_name.unwrap_or("-"), 15);
    let (local, remote) = both(&change.endpoints);
    let reason = match change.reason {
        Some(reason) => format!(
            " {}",
            end_reason(reason, engine.reset_reason(change.reset_reason))
        ),
        None if change.by_syn_cookie => " by SYN cookie".to_owned(),
        None if change.by_fast_open => " by Fast Open".to_owned(),
        None => String::new(),
    };
    format!(
        "{} {pid:>7} {} {evidence:<8} {} {} {local:<47} {remote:<47} {dwell:>8} {states}{reason}\n",
        wall.strftime("%H:%M:%S%.6f"),
        Padded(&comm, 15),
        Padded(&location, 20),
        Padded(&netns, 15),
    )
}

/// Why a connection ended, and why the kernel sent the RST if it did: `reset-sent (tcp-abort-on-close)`.
pub(crate) fn end_reason(reason: EndReason, reset_reason: Option<&str>) -> String {
    match reset_reason {
        Some(why) => format!("{reason} ({why})"),
        None => reason.to_string(),
    }
}

pub(crate) fn wall(time: Nanos, anchor: &ClockPair, zone: &TimeZone) -> Zoned {
    Timestamp::from_nanosecond(i128::from(anchor.wall(time)))
        .unwrap_or_default()
        .to_zoned(zone.clone())
}

/// Both ends as `address:port`.
pub(crate) fn both(endpoints: &Endpoints) -> (String, String) {
    (
        end(endpoints.local(), endpoints.local_port),
        end(endpoints.remote(), endpoints.remote_port),
    )
}

/// `address:port`, IPv6 in brackets.
pub(crate) fn end(addr: IpAddr, port: u16) -> String {
    let mut text = String::with_capacity(47);
    push_end(&mut text, addr, port, 0);
    text
}

/// Appends the same, filled up with blanks to `width`.
pub(crate) fn push_end(out: &mut String, addr: IpAddr, port: u16, width: usize) {
    let start = out.len();
    let _ = match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            write!(out, "{a}.{b}.{c}.{d}:{port}")
        }
        IpAddr::V6(v6) => write!(out, "[{v6}]:{port}"),
    };
    for _ in out.len() - start..width {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::{change::fixture::change_of, lifetime::Role, since::Since},
        event::{
            Age, ProcessKey, ResetReason,
            fixture::{comm, endpoints, task},
        },
        kernel::reset_reasons::ResetReasons,
        owner::{
            container::Location,
            policy::{Evidence, Owner},
        },
    };

    fn example(remote: &str) -> (Change, Engine) {
        let mut engine = Engine::new(1);
        let processes = &mut engine.table.processes;
        let process = processes.intern(&task(ProcessKey::new(4_194_304, 1), comm("leaky-server")));
        processes.location(process, Nanos(0), &mut |_| {
            Some(Location::of_path(b"/system.slice/nginx.service").into())
        });
        let local = if remote.contains(':') {
            "[2001:db8::1]:65535"
        } else {
            "192.168.100.100:65535"
        };
        let change = Change {
            time: Nanos(1_000_000_000),
            role: Role::Server,
            began: Since::before(Nanos(0)),
            owner: Some(Owner {
                process,
                evidence: Evidence::Listener,
                since: Nanos(0),
            }),
            ..change_of(endpoints(local, remote), Age::AtLeast(Nanos(59_900_000_000)))
        };
        (change, engine)
    }

    const ANCHOR: ClockPair = ClockPair {
        mono_ns: 0,
        wall_ns: 1_795_300_000_000_000_000,
    };

    #[test]
    fn the_longest_ipv4_line_fits_80_columns() {
        let (longest, engine) = example("255.255.255.255:65535");
        let line = change(&longest, &engine, None, &ANCHOR, &TimeZone::UTC, false);
        assert!(
            line.trim_end().chars().count() <= 80,
            "{} {line}",
            line.chars().count()
        );
        let (longest, engine) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        let line = change(&longest, &engine, None, &ANCHOR, &TimeZone::UTC, false);
        assert!(
            line.trim_end().chars().count() <= 80,
            "{} {line}",
            line.chars().count()
        );
    }

    #[test]
    fn the_reason_of_a_reset_is_beside_the_end() {
        let (mut change, mut engine) = example("10.0.0.1:1");
        engine.reset_reasons = ResetReasons::new([("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11)].into_iter());
        change.reason = Some(EndReason::ResetSent);
        let line = |change: &Change| super::change(change, &engine, None, &ANCHOR, &TimeZone::UTC, true);
        assert!(line(&change).ends_with(" reset-sent\n"));
        change.reset_reason = ResetReason::from_kernel(11);
        assert!(line(&change).ends_with(" reset-sent (tcp-abort-on-close)\n"));
        // A number without a name is no reason that anybody could read.
        change.reset_reason = ResetReason::from_kernel(12);
        assert!(line(&change).ends_with(" reset-sent\n"));
    }

    #[test]
    fn wide_lines_show_all_of_ipv6() {
        let (longest, engine) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        let line = change(&longest, &engine, Some("web"), &ANCHOR, &TimeZone::UTC, true);
        assert!(line.contains(" nginx.service        web             [2001:db8::1]:65535 "));
        assert!(line.contains("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        assert!(line.contains("leaky-server"));
    }
}
