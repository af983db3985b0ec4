//! The lines of `trace --lifetimes`: one for each connection that has ended. Text, JSON, CSV.

use super::{
    csv,
    duration::human_age,
    json::{self, EndJson, OwnerJson, rfc3339},
    text,
};
use crate::{
    connection::lifetime::{Lifetime, Role},
    event::{Age, EndReason, Family, Nanos, TcpState},
    kernel::clock::Anchor,
    owner::processes::Processes,
};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// The titles of [`line()`].
#[must_use]
pub fn titles(wide: bool) -> String {
    let local = if wide { 47 } else { 21 };
    format!(
        "{:<8} {:>7} {:<15} {:<6} {:<local$} {:<local$} {:>7} {:>7} {:>7} {}\n",
        "TIME", "PID", "COMMAND", "ROLE", "LOCAL", "REMOTE", "SENT", "RECVD", "LIFE", "STATES"
    )
}

/// One life for people, with its newline: the states in the order in which a connection passes through them, then why
/// it ended. A `?` after the process says that it is a guess.
#[must_use]
pub fn line(life: &Lifetime, processes: &Processes, anchor: &Anchor, zone: &TimeZone, wide: bool) -> String {
    let owner = life
        .owner
        .and_then(|owner| Some((processes.get(owner.process)?, owner.evidence.is_provisional())));
    let (pid, comm) = owner.map_or_else(
        || ("-".to_owned(), "-".to_owned()),
        |(process, is_guess)| {
            let guess = if is_guess { "?" } else { "" };
            (process.key.pid.to_string(), format!("{}{guess}", process.name()))
        },
    );
    let width = if wide { 47 } else { 21 };
    let (local, remote) = text::both(&life.ends);
    let mut out = format!(
        "{} {pid:>7} {comm:<15} {:<6} {local:<width$} {remote:<width$} {:>7} {:>7} {:>7}",
        text::wall(life.ended, anchor, zone).strftime("%H:%M:%S"),
        life.role.name(),
        life.sent.map_or_else(|| "-".to_owned(), human_bytes),
        life.received.map_or_else(|| "-".to_owned(), human_bytes),
        human_age(life.life),
    );
    for state in TcpState::IN_ORDER {
        if let Some(span) = life.spans[state.index()] {
            let _ = write!(out, " {state} {}", human_age(span));
        }
    }
    if let Some(reason) = life.reason {
        let _ = write!(out, " {}", reason.name());
    }
    out.push('\n');
    out
}

#[derive(Serialize)]
struct SpanJson {
    ns: Nanos,
    exact: bool,
}

impl From<Age> for SpanJson {
    fn from(age: Age) -> Self {
        Self {
            ns: age.span(),
            exact: age.is_exact(),
        }
    }
}

#[derive(Serialize)]
struct LifetimeJson<'a> {
    time: String,
    mono_ns: Nanos,
    cookie: u64,
    incarnation: u32,
    family: Family,
    local: EndJson,
    remote: EndJson,
    netns: u32,
    netns_name: Option<&'a str>,
    role: Role,
    life_ns: Nanos,
    life_exact: bool,
    states: BTreeMap<TcpState, SpanJson>,
    bytes_sent: Option<u64>,
    bytes_received: Option<u64>,
    reason: Option<EndReason>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kernel: bool,
    owner: Option<OwnerJson<'a>>,
}

/// One JSON line.
#[must_use]
pub fn json(life: &Lifetime, processes: &Processes, netns_name: Option<&str>, anchor: &Anchor) -> String {
    let (local, remote) = json::ends(&life.ends);
    json::line(&LifetimeJson {
        time: rfc3339(anchor.wall(life.ended)),
        mono_ns: life.ended,
        cookie: life.id.cookie,
        incarnation: life.id.incarnation,
        family: life.ends.family(),
        local,
        remote,
        netns: life.netns,
        netns_name,
        role: life.role,
        life_ns: life.life.span(),
        life_exact: life.life.is_exact(),
        states: TcpState::ALL
            .into_iter()
            .filter_map(|state| Some((state, life.spans[state.index()]?.into())))
            .collect(),
        bytes_sent: life.sent,
        bytes_received: life.received,
        reason: life.reason,
        kernel: life.is_kernel_socket,
        owner: json::owner(life.owner, processes),
    })
}

/// The titles of [`csv_line`].
pub const CSV_TITLES: &str = "time,mono_ns,cookie,incarnation,family,local_addr,local_port,remote_addr,remote_port,netns,role,life_ns,life_exact,bytes_sent,bytes_received,reason,pid,comm,evidence,syn_sent_ns,syn_recv_ns,established_ns,fin_wait1_ns,fin_wait2_ns,closing_ns,close_wait_ns,last_ack_ns,time_wait_ns,close_ns,spans_exact,netns_name,runtime,container,pod,unit,cgroup_path\n";

/// One CSV line, with its newline. `spans_exact` is `false` where any of the spans is a lower bound.
#[must_use]
pub fn csv_line(life: &Lifetime, processes: &Processes, netns_name: Option<&str>, anchor: &Anchor) -> String {
    let owner = life
        .owner
        .and_then(|owner| Some((processes.get(owner.process)?, owner.evidence)));
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let mut out = format!(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        rfc3339(anchor.wall(life.ended)),
        life.ended.0,
        life.id.cookie,
        life.id.incarnation,
        life.ends.family().name(),
        life.ends.local(),
        life.ends.local_port,
        life.ends.remote(),
        life.ends.remote_port,
        life.netns,
        life.role.name(),
        life.life.span().0,
        life.life.is_exact(),
        number(life.sent),
        number(life.received),
        life.reason.map_or("", EndReason::name),
        number(owner.map(|(process, _)| process.key.pid.into())),
        csv::quoted(&owner.map_or_else(Default::default, |(process, _)| process.name())),
        owner.map_or("", |(_, evidence)| evidence.name()),
    );
    for state in TcpState::IN_ORDER {
        out.push(',');
        out.push_str(&number(life.spans[state.index()].map(|span| span.span().0)));
    }
    let is_exact = life.spans.iter().flatten().all(|span| span.is_exact());
    let _ = writeln!(
        out,
        ",{is_exact},{},{}",
        csv::quoted(netns_name.unwrap_or_default()),
        csv::place(owner.and_then(|(process, _)| process.place.as_deref())),
    );
    out
}

/// Bytes in the unit that reads best, 1,024 to the next: `512`, `1.2K`, `33M`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = name;
    }
    if tenths < 100 {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    } else {
        format!("{}{unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{ConnectionId, Ends, ProcessKey, Task},
        owner::policy::{Evidence, Owner},
    };

    const ANCHOR: Anchor = Anchor {
        mono_ns: 0,
        wall_ns: 1_795_300_000_000_000_000,
    };

    fn example() -> (Lifetime, Processes) {
        let mut processes = Processes::default();
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"nginx");
        let process = processes.intern(&Task {
            process: ProcessKey {
                pid: 4242,
                start_ns: 7,
            },
            comm,
            cgroup: 0,
            is_kernel_thread: false,
        });
        let mut spans = [None; TcpState::COUNT];
        spans[TcpState::SynRecv.index()] = Some(Age::Exact(Nanos(35_000)));
        spans[TcpState::Established.index()] = Some(Age::Exact(Nanos(1_200_000_000)));
        spans[TcpState::CloseWait.index()] = Some(Age::AtLeast(Nanos(40_000_000_000)));
        spans[TcpState::LastAck.index()] = Some(Age::Exact(Nanos(20_000)));
        let life = Lifetime {
            id: ConnectionId {
                cookie: 9,
                incarnation: 0,
            },
            ends: Ends::new(
                ("10.0.0.1".parse().unwrap(), 80),
                ("10.0.0.2".parse().unwrap(), 50_000),
            ),
            netns: 1,
            role: Role::Server,
            ended: Nanos(41_200_055_000),
            life: Age::AtLeast(Nanos(41_200_055_000)),
            spans,
            sent: Some(1_250_000),
            received: Some(312),
            reason: None,
            owner: Some(Owner {
                process,
                evidence: Evidence::Close,
                since: Nanos(41_200_000_000),
            }),
            is_kernel_socket: false,
        };
        (life, processes)
    }

    #[test]
    fn a_life_is_one_line_in_every_form() {
        let (life, processes) = example();
        let text = [
            titles(false),
            line(&life, &processes, &ANCHOR, &TimeZone::UTC, false),
            json(&life, &processes, Some("blue"), &ANCHOR),
            CSV_TITLES.to_owned(),
            csv_line(&life, &processes, Some("blue"), &ANCHOR),
        ]
        .concat();
        assert_eq!(
            CSV_TITLES.matches(',').count(),
            csv_line(&life, &processes, None, &ANCHOR).matches(',').count()
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn bytes_read_in_their_own_unit() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1_250_000, "1.1M"),
            (35_000_000, "33M"),
            (u64::MAX, "16383P"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
