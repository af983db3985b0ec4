//! Text lines: one per change, aligned; within 80 columns for IPv4 or as many as the terminal has, everything with `-w`.

use super::{
    field::{Padded, clip},
    times::Times,
};
use crate::{
    connection::change::Change,
    duration::human_age,
    engine::Engine,
    event::{EndReason, Endpoints},
    kernel::clock::ClockPair,
    owner::{policy::Evidence, processes::Process},
};
use std::{fmt::Write as _, net::IpAddr};

/// What a line of changes has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All columns, at full width.
    All,
    /// Process and remote address in this many columns, and the reason of an end where the line is no longer than `most`.
    Fitted {
        process: usize,
        remote: usize,
        most: usize,
        rest: Rest,
    },
}

/// The columns that narrow terminals have no room for, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    All,
    WithoutPort,
    WithoutPortAndTime,
    /// Nor the dwell time.
    None,
}

impl Rest {
    /// What a terminal with this many columns has room for, and how many columns that saves.
    const fn of(columns: usize) -> (Self, usize) {
        match columns {
            NARROW.. => (Self::All, 0),
            74.. => (Self::WithoutPort, 6),
            65.. => (Self::WithoutPortAndTime, 15),
            _ => (Self::None, 23),
        }
    }

    const fn has_port(self) -> bool {
        matches!(self, Self::All)
    }

    const fn has_time(self) -> bool {
        matches!(self, Self::All | Self::WithoutPort)
    }

    const fn has_dwell(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// The longest line of [`Layout::All`] without the reason of an end.
const ALL_COLUMNS: usize = 213;
/// The longest line for IPv4 of the narrowest layout.
const NARROW: usize = 80;

impl Layout {
    const NARROWEST: Self = Self::Fitted {
        process: 11,
        remote: 21,
        most: usize::MAX,
        rest: Rest::All,
    };

    /// That of a terminal with this many columns; without one nothing limits a line.
    pub(crate) fn new(wide: bool, columns: Option<u16>) -> Self {
        let Some(columns) = columns.map(usize::from) else {
            return if wide { Self::All } else { Self::NARROWEST };
        };
        if wide || columns >= ALL_COLUMNS {
            return Self::All;
        }
        let (rest, saved) = Rest::of(columns);
        let spare = columns.saturating_sub(NARROW);
        let lacking = NARROW.saturating_sub(columns + saved);
        // `4194304?/` and the longest name.
        let for_process = spare.min(13);
        Self::Fitted {
            process: (11 + for_process).saturating_sub(lacking / 3).max(5),
            // `[`, `]:` and a port beside the longest address.
            remote: (21 + (spare - for_process).min(26))
                .saturating_sub(lacking - lacking / 3)
                .max(9),
            most: columns,
            rest,
        }
    }

    pub(crate) fn titles(self, times: &Times) -> String {
        let width = times.width();
        let micros = width + 7;
        match self {
            Self::All => format!(
                "{:<micros$} {:>7} {:<15} {:<8} {:<20} {:<15} {:<47} {:<47} {:>8} {}\n",
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
            ),
            Self::Fitted {
                process,
                remote,
                rest,
                ..
            } => {
                let mut line = String::new();
                if rest.has_time() {
                    let _ = write!(line, "{:<width$} ", "TIME");
                }
                let _ = write!(line, "{:<process$} ", clip("PID/COMMAND", process));
                if rest.has_port() {
                    let _ = write!(line, "{:>5} ", "LPORT");
                }
                let _ = write!(line, "{:<remote$} ", "REMOTE");
                if rest.has_dwell() {
                    let _ = write!(line, "{:>7} ", "DWELL");
                }
                line + "CHANGE\n"
            }
        }
    }

    /// One change, with its newline. Fitted lines leave out the local address, and shorten a remote end of IPv6.
    pub(crate) fn line(
        self,
        change: &Change,
        engine: &Engine,
        netns_name: Option<&str>,
        anchor: &ClockPair,
        times: &Times,
    ) -> String {
        let owner = change
            .owner
            .and_then(|owner| Some((engine.table.processes.get(owner.process)?, owner.evidence)));
        let reason = reason(change, engine);
        match self {
            Self::All => all(change, owner, netns_name, anchor, times) + &reason + "\n",
            Self::Fitted {
                process,
                remote,
                most,
                rest,
            } => {
                let mut line = fitted(change, owner, anchor, times, (process, remote, rest));
                if line.chars().count() + reason.len() <= most {
                    line.push_str(&reason);
                }
                line + "\n"
            }
        }
    }
}

type Owner<'a> = Option<(&'a Process, Evidence)>;

fn fitted(
    change: &Change,
    owner: Owner<'_>,
    anchor: &ClockPair,
    times: &Times,
    (process, remote, rest): (usize, usize, Rest),
) -> String {
    let who = owner.map_or_else(
        || "-".to_owned(),
        |(process, evidence)| {
            let guess = if evidence.is_provisional() { "?" } else { "" };
            format!("{}{guess}/{}", process.key.pid, process.name())
        },
    );
    let mut line = String::new();
    if rest.has_time() {
        line = times.seconds(change.time, anchor) + " ";
    }
    let _ = write!(line, "{} ", Padded(&clip(&who, process), process));
    let Endpoints {
        local_port,
        remote_port,
        ..
    } = change.endpoints;
    if rest.has_port() {
        let _ = write!(line, "{local_port:>5} ");
    }
    let end = clip(&end(change.endpoints.remote(), remote_port), remote);
    let _ = write!(line, "{end:<remote$} ");
    if rest.has_dwell() {
        let _ = write!(line, "{:>7} ", dwell(change));
    }
    let _ = write!(line, "{}→{}", change.old, change.new);
    line
}

fn all(
    change: &Change,
    owner: Owner<'_>,
    netns_name: Option<&str>,
    anchor: &ClockPair,
    times: &Times,
) -> String {
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
    format!(
        "{} {pid:>7} {} {evidence:<8} {} {} {local:<47} {remote:<47} {:>8} {}→{}",
        times.micros(change.time, anchor),
        Padded(&comm, 15),
        Padded(&location, 20),
        Padded(&netns, 15),
        dwell(change),
        change.old,
        change.new,
    )
}

fn dwell(change: &Change) -> String {
    change.dwell.map_or_else(|| "-".to_owned(), human_age)
}

/// What follows the states, after a blank; empty where nothing does.
fn reason(change: &Change, engine: &Engine) -> String {
    if let Some(reason) = change.reason {
        return format!(
            " {}",
            end_reason(reason, engine.reset_reason(change.reset_reason))
        );
    }
    match (change.by_syn_cookie, change.by_fast_open) {
        (true, _) => " by SYN cookie".to_owned(),
        (_, true) => " by Fast Open".to_owned(),
        (false, false) => String::new(),
    }
}

/// Why a connection ended, and why the kernel sent the RST if it did: `reset-sent (tcp-abort-on-close)`.
pub(crate) fn end_reason(reason: EndReason, reset_reason: Option<&str>) -> String {
    match reset_reason {
        Some(why) => format!("{reason} ({why})"),
        None => reason.to_string(),
    }
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
            Age, Nanos, ProcessKey, ResetReason,
            fixture::{comm, endpoints, task},
        },
        kernel::reset_reasons::ResetReasons,
        owner::{
            container::Location,
            policy::{Evidence, Owner},
        },
    };
    use jiff::tz::TimeZone;

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

    fn line_of(layout: Layout, change: &Change, engine: &Engine, netns: Option<&str>) -> String {
        layout.line(change, engine, netns, &ANCHOR, &Times::Zone(TimeZone::UTC))
    }

    #[test]
    fn a_terminal_s_columns_are_used_and_not_exceeded() {
        let (mut longest, engine) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        longest.reason = Some(EndReason::TimewaitOverflow);
        for columns in [40, 60, 65, 74, 79, 80, 81, 100, 132, 160, 212, 213] {
            let layout = Layout::new(false, Some(columns));
            let line = line_of(layout, &longest, &engine, None);
            let length = line.trim_end().chars().count();
            let is_all = layout == Layout::All;
            assert_eq!(is_all, columns == 213);
            // The reason that follows all columns may wrap.
            let appended = if is_all { " timewait-overflow".len() } else { 0 };
            assert!(
                length <= usize::from(columns) + appended,
                "{columns}: {length} {line}"
            );
            assert_eq!(
                line.contains("timewait-overflow"),
                columns >= 160,
                "{columns}: {line}"
            );
            assert!(columns < 100 || line.contains("leaky-server"), "{line}");
            let titles = layout.titles(&Times::Zone(TimeZone::UTC));
            let at = |text: &str, part: &str| text.find(part).map(|end| text[..end].chars().count());
            assert_eq!(at(&line, "ESTABLISHED→"), at(&titles, "CHANGE"), "{titles}{line}");
        }
    }

    #[test]
    fn the_longest_ipv4_line_fits_80_columns() {
        let (longest, engine) = example("255.255.255.255:65535");
        let line = line_of(Layout::NARROWEST, &longest, &engine, None);
        assert!(
            line.trim_end().chars().count() <= 80,
            "{} {line}",
            line.chars().count()
        );
        let (longest, engine) = example("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        let line = line_of(Layout::NARROWEST, &longest, &engine, None);
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
        let line = |change: &Change| line_of(Layout::All, change, &engine, None);
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
        let line = line_of(Layout::All, &longest, &engine, Some("web"));
        assert!(line.contains(" nginx.service        web             [2001:db8::1]:65535 "));
        assert!(line.contains("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        assert!(line.contains("leaky-server"));
    }
}
