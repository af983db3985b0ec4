//! Text lines: one per change, aligned; within 80 columns for IPv4, everything with `-w`.

use super::field::{Padded, clip};
use crate::{
    connection::change::Change,
    duration::human_age,
    event::{EndReason, Endpoints, Nanos},
    kernel::clock::ClockPair,
    owner::processes::Processes,
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
    processes: &Processes,
    netns_name: Option<&str>,
    anchor: &ClockPair,
    zone: &TimeZone,
    wide: bool,
) -> String {
    let wall = wall(change.time, anchor, zone);
    let owner = change
        .owner
        .and_then(|owner| Some((processes.get(owner.process)?, owner.evidence)));
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
    let reason = match (change.reason.map(EndReason::name), change.by_syn_cookie) {
        (Some(reason), _) => format!(" {reason}"),
        (None, true) => " by SYN cookie".to_owned(),
        (None, false) => String::new(),
    };
    format!(
        "{} {pid:>7} {} {evidence:<8} {} {} {local:<47} {remote:<47} {dwell:>8} {states}{reason}\n",
        wall.strftime("%H:%M:%S%.6f"),
        Padded(&comm, 15),
        Padded(&location, 20),
        Padded(&netns, 15),
    )
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
            Age, ProcessKey,
            fixture::{comm, endpoints, task},
        },
        owner::{
            container::Location,
            policy::{Evidence, Owner},
        },
    };

    fn example(remote: &str) -> (Change, Processes) {
        let mut processes = Processes::default();
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
        (change, processes)
    }

    const ANCHOR: ClockPair = ClockPair {
        mono_ns: 0,
        wall_ns: 1_795_300_000_000_000_000,
    };

    #[test]
    fn the_longest_ipv4_line_fits_80_columns() {
        let (longest, processes) = example("255.255.255.255:65535");
        let line = change(&longest, &processes, None, &ANCHOR, &TimeZone::UTC, false);
        assert!(
            line.trim_end().chars().count() <= 80,
            "{} {line}",
            line.chars().count()
        );
        let (longest, processes) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        let line = change(&longest, &processes, None, &ANCHOR, &TimeZone::UTC, false);
        assert!(
            line.trim_end().chars().count() <= 80,
            "{} {line}",
            line.chars().count()
        );
    }

    #[test]
    fn wide_lines_show_all_of_ipv6() {
        let (longest, processes) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        let line = change(&longest, &processes, Some("web"), &ANCHOR, &TimeZone::UTC, true);
        assert!(line.contains(" nginx.service        web             [2001:db8::1]:65535 "));
        assert!(line.contains("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        assert!(line.contains("leaky-server"));
    }
}
