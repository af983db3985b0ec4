//! A recording as a table for other tools: one row a change, and one for each connection that is still there at the
//! end. The same columns in every form; docs/recording.md describes them.

use super::{csv::quoted, json::rfc3339};
use crate::{
    connection::table::{Change, Connection},
    event::{Age, EndReason, Ends, Family, Nanos, TcpState},
    owner::{
        container::Runtime,
        policy::{Evidence, Owner},
        processes::Process,
    },
    source::replay::Replay,
};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, net::IpAddr};

/// One row.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "docs/recording.md describes every column")]
pub struct ExportRow<'a> {
    pub host: &'a str,
    #[serde(serialize_with = "as_rfc3339")]
    pub time: u64,
    pub mono_ns: u64,
    pub cookie: u64,
    pub incarnation: u32,
    pub family: Family,
    pub local_addr: IpAddr,
    pub local_port: u16,
    pub remote_addr: IpAddr,
    pub remote_port: u16,
    pub netns: u32,
    pub protocol: u16,
    pub old: TcpState,
    pub new: Option<TcpState>,
    pub dwell_ns: Option<u64>,
    pub dwell_exact: bool,
    pub reason: Option<EndReason>,
    pub syn_cookie: bool,
    pub kernel: bool,
    pub pid: Option<u32>,
    pub start_ns: Option<u64>,
    pub comm: Option<Cow<'a, str>>,
    pub cgroup: Option<u64>,
    pub cgroup_path: Option<&'a str>,
    pub runtime: Option<Runtime>,
    pub container: Option<&'a str>,
    pub pod: Option<&'a str>,
    pub unit: Option<&'a str>,
    pub evidence: Option<Evidence>,
    pub since_ns: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_rfc3339<S: Serializer>(wall_ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*wall_ns))
}

/// What a change and an open connection have in common.
struct Subject<'a> {
    host: &'a str,
    replay: &'a Replay,
    ends: &'a Ends,
    owner: Option<Owner>,
    time: Nanos,
}

impl<'a> ExportRow<'a> {
    /// A change, as of when it became known.
    #[must_use]
    pub fn of_change(host: &'a str, change: &'a Change, replay: &'a Replay) -> Self {
        let subject = Subject {
            host,
            replay,
            ends: &change.ends,
            owner: change.owner,
            time: change.time,
        };
        Self {
            cookie: change.id.cookie,
            incarnation: change.id.incarnation,
            netns: change.netns,
            protocol: change.protocol,
            new: Some(change.new),
            reason: change.reason,
            syn_cookie: change.by_syn_cookie,
            kernel: change.is_kernel_socket,
            ..subject.row(change.old, change.dwell)
        }
    }

    /// A connection that is still there at `end`: `new` is nothing, and the dwell is its age so far.
    #[must_use]
    pub fn of_open(host: &'a str, connection: &'a Connection, replay: &'a Replay, end: Nanos) -> Self {
        let subject = Subject {
            host,
            replay,
            ends: &connection.ends,
            owner: connection.owner,
            time: end,
        };
        Self {
            cookie: connection.id().cookie,
            incarnation: connection.id().incarnation,
            netns: connection.netns,
            protocol: connection.protocol,
            kernel: connection.is_kernel_socket,
            ..subject.row(connection.life.state, Some(connection.life.since.age(end)))
        }
    }
}

impl<'a> Subject<'a> {
    fn row(&self, old: TcpState, dwell: Option<Age>) -> ExportRow<'a> {
        let process: Option<&Process> = self
            .owner
            .and_then(|owner| self.replay.engine.table.processes.get(owner.process));
        let owner = process.and(self.owner);
        let place = process.and_then(|process| process.place.as_deref());
        let container = place.and_then(|place| place.container.as_ref());
        ExportRow {
            host: self.host,
            time: self.replay.ledger.wall(self.time),
            mono_ns: self.time.0,
            cookie: 0,
            incarnation: 0,
            family: self.ends.family(),
            local_addr: self.ends.local(),
            local_port: self.ends.local_port,
            remote_addr: self.ends.remote(),
            remote_port: self.ends.remote_port,
            netns: 0,
            protocol: 0,
            old,
            new: None,
            dwell_ns: dwell.map(|age| age.span().0),
            dwell_exact: dwell.is_some_and(Age::is_exact),
            reason: None,
            syn_cookie: false,
            kernel: false,
            pid: process.map(|process| process.key.pid),
            start_ns: process.map(|process| process.key.start_ns),
            comm: process.map(Process::name),
            cgroup: process
                .map(|process| process.cgroup)
                .filter(|cgroup| *cgroup != 0),
            cgroup_path: place.map(|place| place.path.as_str()),
            runtime: container.and_then(|container| container.runtime),
            container: container.map(|container| container.id.as_str()),
            pod: place.and_then(|place| place.pod.as_deref()),
            unit: place.and_then(|place| place.unit.as_deref()),
            evidence: owner.map(|owner| owner.evidence),
            since_ns: owner.map(|owner| owner.since.0),
        }
    }
}

/// The titles of [`csv`].
pub const TITLES: &str = "host,time,mono_ns,cookie,incarnation,family,local_addr,local_port,remote_addr,remote_port,netns,protocol,old,new,dwell_ns,dwell_exact,reason,syn_cookie,kernel,pid,start_ns,comm,cgroup,cgroup_path,runtime,container,pod,unit,evidence,since_ns\n";

/// One row as RFC 4180, with its newline; what is not known is empty.
#[must_use]
pub fn csv(row: &ExportRow<'_>) -> String {
    let fields: [Cow<'_, str>; 30] = [
        quoted(row.host),
        rfc3339(row.time).into(),
        row.mono_ns.to_string().into(),
        row.cookie.to_string().into(),
        row.incarnation.to_string().into(),
        row.family.name().into(),
        row.local_addr.to_string().into(),
        row.local_port.to_string().into(),
        row.remote_addr.to_string().into(),
        row.remote_port.to_string().into(),
        row.netns.to_string().into(),
        row.protocol.to_string().into(),
        row.old.name().into(),
        row.new.map_or("", TcpState::name).into(),
        known(row.dwell_ns),
        row.dwell_exact.to_string().into(),
        row.reason.map_or("", EndReason::name).into(),
        row.syn_cookie.to_string().into(),
        row.kernel.to_string().into(),
        known(row.pid),
        known(row.start_ns),
        quoted(row.comm.as_deref().unwrap_or("")),
        known(row.cgroup),
        quoted(row.cgroup_path.unwrap_or("")),
        row.runtime.map_or("", Runtime::name).into(),
        quoted(row.container.unwrap_or("")),
        quoted(row.pod.unwrap_or("")),
        quoted(row.unit.unwrap_or("")),
        row.evidence.map_or("", Evidence::name).into(),
        known(row.since_ns),
    ];
    fields.join(",") + "\n"
}

fn known(value: Option<impl ToString>) -> Cow<'static, str> {
    value.map_or_else(String::new, |value| value.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::since::Since, output::json::line, record::origin::tests::example};

    #[test]
    fn every_form_has_the_same_columns() {
        let replay = Replay::new(&example());
        let ends = Ends::new(
            ("10.0.0.1".parse().unwrap(), 80),
            ("10.0.0.2".parse().unwrap(), 4_242),
        );
        let subject = Subject {
            host: "a,b",
            replay: &replay,
            ends: &ends,
            owner: None,
            time: Nanos(2_000_000_000),
        };
        let age = Since::before(Nanos(1_500_000_000)).age(Nanos(2_000_000_000));
        let row = subject.row(TcpState::CloseWait, Some(age));
        let titles: Vec<&str> = TITLES.trim_end().split(',').collect();
        let parsed: serde_json::Value = serde_json::from_str(&line(&row)).unwrap();
        let mut keys: Vec<&String> = parsed.as_object().unwrap().keys().collect();
        let mut sorted = titles.clone();
        keys.sort();
        sorted.sort_unstable();
        assert_eq!(keys, sorted);
        let columns = super::super::parquet::schema();
        let names: Vec<&str> = columns
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(names, titles);
        assert_eq!(
            csv(&row),
            "\"a,b\",2026-11-21T22:26:41.000000000Z,2000000000,0,0,ipv4,10.0.0.1,80,10.0.0.2,4242,0,0,CLOSE_WAIT,,500000000,false,,false,false,,,,,,,,,,,\n"
        );
    }
}
