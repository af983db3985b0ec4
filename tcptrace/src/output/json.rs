//! JSON lines. Fields keep their meaning once released; docs/json.md describes them.

use crate::{
    connection::change::Change,
    engine::Engine,
    event::{EndReason, Endpoints, Family, Nanos, TcpState},
    kernel::clock::ClockPair,
    owner::{
        container::{Container, Location},
        policy::{Evidence, Owner},
        processes::{ProcessId, Processes, comm_text},
    },
    record::origin::Origin,
    socket::Holder,
    summary::{Header, Missing, SCHEMA_VERSION, Summary},
    unseen::Unseen,
};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct EndJson {
    addr: IpAddr,
    port: u16,
}

/// The local and the remote end.
pub(crate) fn endpoints(endpoints: &Endpoints) -> (EndJson, EndJson) {
    (
        EndJson {
            addr: endpoints.local(),
            port: endpoints.local_port,
        },
        EndJson {
            addr: endpoints.remote(),
            port: endpoints.remote_port,
        },
    )
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct OwnerJson<'a> {
    pid: u32,
    start_ns: u64,
    comm: std::borrow::Cow<'a, str>,
    cgroup: Option<u64>,
    #[serde(flatten)]
    location: LocationJson<'a>,
    evidence: Evidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ns: Option<Nanos>,
}

impl<'a> OwnerJson<'a> {
    /// An owner that a snapshot found.
    pub(crate) fn of_holder(holder: &'a Holder, runs_in: Option<&'a Location>, evidence: Evidence) -> Self {
        Self {
            pid: holder.process.pid,
            start_ns: holder.process.start_ns,
            comm: comm_text(&holder.comm),
            cgroup: (holder.cgroup != 0).then_some(holder.cgroup),
            location: location(runs_in),
            evidence,
            since_ns: None,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LocationJson<'a> {
    cgroup_path: Option<&'a str>,
    container: Option<&'a Container>,
    pod: Option<&'a str>,
    unit: Option<&'a str>,
}

pub(crate) fn location(location: Option<&Location>) -> LocationJson<'_> {
    location.map_or_else(LocationJson::default, |location| LocationJson {
        cgroup_path: Some(&location.path),
        container: location.container.as_ref(),
        pod: location.pod.as_deref(),
        unit: location.unit.as_deref(),
    })
}

pub(crate) fn owner(owner: Option<Owner>, processes: &Processes) -> Option<OwnerJson<'_>> {
    let owner = owner?;
    let process = processes.get(owner.process)?;
    Some(OwnerJson {
        pid: process.key.pid,
        start_ns: process.key.start_ns,
        comm: process.name(),
        cgroup: (process.cgroup != 0).then_some(process.cgroup),
        location: location(process.location.as_deref()),
        evidence: owner.evidence,
        since_ns: Some(owner.since),
    })
}

#[derive(Serialize)]
struct ChangeJson<'a> {
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
    #[serde(skip_serializing_if = "is_tcp")]
    protocol: u16,
    old: TcpState,
    new: TcpState,
    dwell_ns: Option<Nanos>,
    dwell_exact: bool,
    reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits_total: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    syn_cookie: bool,
    #[serde(skip_serializing_if = "is_false")]
    fast_open: bool,
    #[serde(skip_serializing_if = "is_false")]
    kernel: bool,
    owner: Option<OwnerJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<HolderJson<'a>>,
}

/// A process that has a socket open.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HolderJson<'a> {
    pid: u32,
    start_ns: u64,
    comm: std::borrow::Cow<'a, str>,
    fd: u32,
    cgroup: Option<u64>,
    #[serde(flatten)]
    location: LocationJson<'a>,
}

impl<'a> HolderJson<'a> {
    /// One open file of a snapshot.
    pub(crate) fn new(holder: &'a Holder, runs_in: Option<&'a Location>) -> Self {
        Self {
            pid: holder.process.pid,
            start_ns: holder.process.start_ns,
            comm: comm_text(&holder.comm),
            fd: holder.fd,
            cgroup: (holder.cgroup != 0).then_some(holder.cgroup),
            location: location(runs_in),
        }
    }
}

fn holders<'a>(list: &[(ProcessId, u32)], processes: &'a Processes) -> Vec<HolderJson<'a>> {
    list.iter()
        .filter_map(|(id, fd)| {
            let process = processes.get(*id)?;
            Some(HolderJson {
                pid: process.key.pid,
                start_ns: process.key.start_ns,
                comm: process.name(),
                fd: *fd,
                cgroup: (process.cgroup != 0).then_some(process.cgroup),
                location: location(process.location.as_deref()),
            })
        })
        .collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_tcp(protocol: &u16) -> bool {
    *protocol == 6
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Wall time as RFC 3339 in UTC with nanoseconds.
pub(crate) fn rfc3339(wall_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(wall_ns))
        .map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}

/// One change, with its newline.
pub(crate) fn change(
    change: &Change,
    engine: &Engine,
    netns_name: Option<&str>,
    anchor: &ClockPair,
) -> String {
    let processes = &engine.table.processes;
    let (local, remote) = endpoints(&change.endpoints);
    line(&ChangeJson {
        time: rfc3339(anchor.wall(change.time)),
        mono_ns: change.time,
        cookie: change.id.cookie,
        incarnation: change.id.incarnation,
        family: change.endpoints.family(),
        local,
        remote,
        netns: change.netns,
        netns_name,
        protocol: change.protocol,
        old: change.old,
        new: change.new,
        dwell_ns: change.dwell.map(crate::event::Age::span),
        dwell_exact: change.dwell.is_some_and(crate::event::Age::is_exact),
        reason: change.reason,
        reset_reason: engine.reset_reason(change.reset_reason),
        retransmits_total: change.path.retransmits_total,
        rtt_ns: change.path.rtt_ns(),
        error: change.reason.and_then(EndReason::error),
        syn_cookie: change.by_syn_cookie,
        fast_open: change.by_fast_open,
        kernel: change.is_kernel_socket,
        owner: owner(change.owner, processes),
        holders: holders(engine.holders.of(change.id.cookie), processes),
    })
}

/// The first line of a stream.
#[derive(Serialize)]
struct HeaderLine<'a> {
    header: HeaderJson<'a>,
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    schema_version: u32,
    program: &'static str,
    version: &'a str,
    kernel: &'a str,
    machine: &'a str,
    host: &'a str,
    hooks: BTreeMap<&'a str, &'a str>,
    /// Recordings have it among what was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a [Missing]>,
    clock: ClockPair,
    unseen: &'a [Unseen],
}

/// The header's line, with what of this machine could not be seen.
pub(crate) fn header(header: &Header, unseen: &[Unseen]) -> String {
    line(&HeaderLine {
        header: HeaderJson {
            schema_version: header.schema_version,
            program: header.program,
            version: header.version,
            kernel: &header.kernel,
            machine: &header.machine,
            host: &header.host,
            hooks: header.hooks.clone(),
            missing: Some(&header.missing),
            clock: header.clock,
            unseen,
        },
    })
}

/// The header of the run that a recording is of, as far as it was recorded.
pub(crate) fn recorded_header(origin: &Origin) -> String {
    let hooks = origin.hooks.iter();
    line(&HeaderLine {
        header: HeaderJson {
            schema_version: SCHEMA_VERSION,
            program: "tcptrace",
            version: &origin.version,
            kernel: &origin.kernel,
            machine: &origin.machine,
            host: &origin.host,
            hooks: hooks
                .map(|(feature, mechanism)| (&**feature, &**mechanism))
                .collect(),
            missing: None,
            clock: origin.clock,
            unseen: &origin.unseen(),
        },
    })
}

pub(crate) fn summary(summary: &Summary) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: &'a Summary,
    }
    line(&Line { summary })
}

pub(crate) fn line(value: &impl Serialize) -> String {
    let mut line = text(value);
    line.push('\n');
    line
}

/// A value as JSON text.
pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps have text keys, and no value fails to serialise")
}
