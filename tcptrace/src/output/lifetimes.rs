//! The lines of `trace --lifetimes`: one for each connection that has ended. Text, JSON, CSV.

use super::{
    bytes::human_bytes,
    field::Padded,
    json::{self, EndJson, OwnerJson, rfc3339},
    row::{Column, Line, TableRow, line_columns},
    text,
    times::Times,
};
use crate::{
    connection::lifetime::{Lifetime, Role},
    duration::{human, human_age},
    engine::Engine,
    event::{Age, EndReason, Family, Nanos, TcpState},
    kernel::clock::ClockPair,
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

pub(crate) fn titles(wide: bool, times: &Times) -> String {
    let local = if wide { 47 } else { 21 };
    let width = times.width();
    format!(
        "{:<width$} {:>7} {:<15} {:<6} {:<local$} {:<local$} {:>7} {:>7} {:>5} {:>7} {:>7} {}\n",
        "TIME", "PID", "COMMAND", "ROLE", "LOCAL", "REMOTE", "SENT", "RECVD", "RETR", "RTT", "LIFE", "STATES"
    )
}

/// One lifetime as text, with a newline: the states in the order in which a connection passes through them, then why
/// it ended. A `?` after the process marks a guess.
pub(crate) fn line(
    lifetime: &Lifetime,
    engine: &Engine,
    anchor: &ClockPair,
    times: &Times,
    wide: bool,
) -> String {
    let owner = lifetime.owner.and_then(|owner| {
        Some((
            engine.table.processes.get(owner.process)?,
            owner.evidence.is_provisional(),
        ))
    });
    let (pid, comm) = owner.map_or_else(
        || ("-".to_owned(), "-".to_owned()),
        |(process, is_guess)| {
            let guess = if is_guess { "?" } else { "" };
            (process.key.pid.to_string(), format!("{}{guess}", process.name()))
        },
    );
    let width = if wide { 47 } else { 21 };
    let (local, remote) = text::both(&lifetime.endpoints);
    let mut out = format!(
        "{} {pid:>7} {} {:<6} {local:<width$} {remote:<width$} {:>7} {:>7} {:>5} {:>7} {:>7}",
        times.seconds(lifetime.ended, anchor),
        Padded(&comm, 15),
        lifetime.role.name(),
        lifetime.sent.map_or_else(|| "-".to_owned(), human_bytes),
        lifetime.received.map_or_else(|| "-".to_owned(), human_bytes),
        lifetime
            .path
            .retransmits_total
            .map_or_else(|| "-".to_owned(), |count| count.to_string()),
        lifetime
            .path
            .rtt_ns()
            .map_or_else(|| "-".to_owned(), |rtt| human(Nanos(rtt))),
        human_age(lifetime.total),
    );
    for state in TcpState::IN_ORDER {
        if let Some(span) = lifetime.spans[state.index()] {
            let _ = write!(out, " {state} {}", human_age(span));
        }
    }
    if let Some(reason) = lifetime.reason {
        let reset_reason = engine.reset_reason(lifetime.reset_reason);
        let _ = write!(out, " {}", text::end_reason(reason, reset_reason));
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
    #[serde(serialize_with = "crate::event::serialize_netns")]
    netns: u32,
    netns_name: Option<&'a str>,
    role: Role,
    lifetime_ns: Nanos,
    lifetime_exact: bool,
    states: BTreeMap<TcpState, SpanJson>,
    bytes_sent: Option<u64>,
    bytes_received: Option<u64>,
    retransmits_total: Option<u32>,
    rtt_ns: Option<u64>,
    reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kernel: bool,
    owner: Option<OwnerJson<'a>>,
}

pub(crate) fn json(
    lifetime: &Lifetime,
    engine: &Engine,
    netns_name: Option<&str>,
    anchor: &ClockPair,
) -> String {
    let (local, remote) = json::endpoints(&lifetime.endpoints);
    json::line(&LifetimeJson {
        time: rfc3339(anchor.wall(lifetime.ended)),
        mono_ns: lifetime.ended,
        cookie: lifetime.id.cookie,
        incarnation: lifetime.id.incarnation,
        family: lifetime.endpoints.family(),
        local,
        remote,
        netns: lifetime.netns,
        netns_name,
        role: lifetime.role,
        lifetime_ns: lifetime.total.span(),
        lifetime_exact: lifetime.total.is_exact(),
        states: TcpState::ALL
            .into_iter()
            .filter_map(|state| Some((state, lifetime.spans[state.index()]?.into())))
            .collect(),
        bytes_sent: lifetime.sent,
        bytes_received: lifetime.received,
        retransmits_total: lifetime.path.retransmits_total,
        rtt_ns: lifetime.path.rtt_ns(),
        reason: lifetime.reason,
        reset_reason: engine.reset_reason(lifetime.reset_reason),
        error: lifetime.reason.and_then(EndReason::error),
        kernel: lifetime.is_kernel_socket,
        owner: json::owner(lifetime.owner, &engine.table.processes),
    })
}

/// The column of the time in one state.
macro_rules! span_ns {
    ($title:literal, $state:ident) => {
        ($title, |line| {
            let span = line.of.spans[TcpState::$state.index()];
            span.map(|span| span.span().0).into()
        })
    };
}

/// `states_exact` is `false` if the time in any state is a lower bound.
impl TableRow for Line<'_, Lifetime> {
    fn columns<'r>() -> &'r [Column<Self>]
    where
        Self: 'r,
    {
        line_columns!(
            ended,
            [
                ("role", |line| line.of.role.name().into()),
                ("lifetime_ns", |line| line.of.total.span().0.into()),
                ("lifetime_exact", |line| line.of.total.is_exact().into()),
                ("bytes_sent", |line| line.of.sent.into()),
                ("bytes_received", |line| line.of.received.into()),
                ("retransmits_total", |line| line.of.path.retransmits_total.into()),
                ("rtt_ns", |line| line.of.path.rtt_ns().into()),
            ],
            [
                span_ns!("syn_sent_ns", SynSent),
                span_ns!("syn_recv_ns", SynRecv),
                span_ns!("established_ns", Established),
                span_ns!("fin_wait1_ns", FinWait1),
                span_ns!("fin_wait2_ns", FinWait2),
                span_ns!("closing_ns", Closing),
                span_ns!("close_wait_ns", CloseWait),
                span_ns!("last_ack_ns", LastAck),
                span_ns!("time_wait_ns", TimeWait),
                span_ns!("close_ns", Close),
                ("states_exact", |line| {
                    line.of.spans.iter().flatten().all(|span| span.is_exact()).into()
                }),
            ]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            ConnectionId, PathStats, ProcessKey, ResetReason,
            fixture::{comm, endpoints, task},
        },
        kernel::reset_reasons::ResetReasons,
        options::Format,
        output::printer::{ColumnChoice, Rows, Source, printer},
        owner::{
            policy::{Evidence, Owner},
            processes::Processes,
        },
    };
    use jiff::tz::TimeZone;
    use std::num::NonZeroU32;

    const ANCHOR: ClockPair = ClockPair {
        mono_ns: 0,
        wall_ns: 1_795_300_000_000_000_000,
    };

    fn example() -> (Lifetime, Processes) {
        let mut processes = Processes::default();
        let process = processes.intern(&task(ProcessKey::new(4242, 7), comm("nginx")));
        let mut spans = [None; TcpState::COUNT];
        spans[TcpState::SynRecv.index()] = Some(Age::Exact(Nanos(35_000)));
        spans[TcpState::Established.index()] = Some(Age::Exact(Nanos(1_200_000_000)));
        spans[TcpState::CloseWait.index()] = Some(Age::AtLeast(Nanos(40_000_000_000)));
        spans[TcpState::LastAck.index()] = Some(Age::Exact(Nanos(20_000)));
        let lifetime = Lifetime {
            id: ConnectionId::first(9),
            endpoints: endpoints("10.0.0.1:80", "10.0.0.2:50000"),
            netns: 1,
            role: Role::Server,
            ended: Nanos(41_200_055_000),
            total: Age::AtLeast(Nanos(41_200_055_000)),
            spans,
            sent: Some(1_250_000),
            received: Some(312),
            reason: Some(EndReason::ResetSent),
            reset_reason: ResetReason::from_kernel(11),
            path: PathStats {
                retransmits_total: Some(3),
                srtt: NonZeroU32::new(361),
            },
            owner: Some(Owner {
                process,
                evidence: Evidence::Close,
                since: Nanos(41_200_000_000),
            }),
            is_kernel_socket: false,
        };
        (lifetime, processes)
    }

    #[test]
    fn columns_are_those_of_what_is_printed() {
        let names = |name: &str| [name.to_owned()];
        assert!(ColumnChoice::of(Rows::Lifetimes, Source::Machine, &names("lifetime_ns")).is_ok());
        assert_eq!(
            ColumnChoice::of(Rows::Changes, Source::Machine, &names("lifetime_ns")).unwrap_err(),
            "lifetime_ns"
        );
    }

    #[test]
    fn a_life_is_one_line_in_every_form() {
        let (lifetime, processes) = example();
        let mut engine = Engine::new(1);
        engine.table.processes = processes;
        engine.reset_reasons = ResetReasons::new([("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11)].into_iter());
        let row = Line {
            of: &lifetime,
            owner: lifetime.owner,
            engine: &engine,
            host: None,
            netns_name: Some("blue"),
            anchor: &ANCHOR,
        };
        let utc = || Times::Zone(TimeZone::UTC);
        let in_columns = |format, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let chosen = ColumnChoice::of(Rows::Lifetimes, Source::Machine, &names).unwrap();
            let printer = printer(
                format,
                None,
                utc(),
                (Rows::Lifetimes, Source::Machine),
                Some(chosen),
            );
            printer.titles(Rows::Lifetimes) + &printer.lifetime(&row)
        };
        let names = ["time", "comm", "rtt_ns", "pod", "lifetime_ns"];
        let text = [
            titles(false, &Times::Zone(TimeZone::UTC)),
            line(&lifetime, &engine, &ANCHOR, &Times::Zone(TimeZone::UTC), false),
            json(&lifetime, &engine, Some("blue"), &ANCHOR),
            in_columns(
                Format::Csv,
                ColumnChoice::all(Rows::Lifetimes, Source::Machine).names(),
            ),
            in_columns(Format::Csv, &names),
            in_columns(Format::Text { wide: false }, &names),
        ]
        .concat();
        insta::assert_snapshot!(text);
    }
}
