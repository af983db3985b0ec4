//! A recording as a table for other tools: one row per change, and one for each connection that still exists at the
//! end. Every format has the columns listed here; docs/recording.md describes them.

use super::{
    csv, json,
    row::{Value, location},
    sockets::NetworkJson,
};
use crate::{
    connection::{change::Change, row::Connection},
    event::{Age, ConnectionId, EndReason, Endpoints, Nanos, PathStats, TcpState, known_netns},
    filter::FilterInput,
    owner::{container::Location, policy::Owner, processes::Process},
    record::replay::Replay,
    socket::network::Network,
};
use serde::{Serialize, Serializer};

#[derive(Clone, Debug)]
pub(crate) struct ExportRow<'a> {
    host: &'a str,
    wall_ns: u64,
    time: Nanos,
    id: ConnectionId,
    endpoints: &'a Endpoints,
    netns: u32,
    protocol: u16,
    old: TcpState,
    new: Option<TcpState>,
    /// The states that a filter matches: both of a change, or the one of a connection.
    states: [TcpState; 2],
    dwell: Option<Age>,
    reason: Option<EndReason>,
    reset_reason: Option<&'a str>,
    path: PathStats,
    /// What the network did to it by the recording's latest snapshot, and how long ago that was read.
    network: Option<(Nanos, Network)>,
    by_syn_cookie: bool,
    is_kernel_socket: bool,
    process: Option<&'a Process>,
    owner: Option<Owner>,
}

impl<'a> ExportRow<'a> {
    /// A change, as of when it became known.
    pub(crate) fn of_change(host: &'a str, change: &'a Change, replay: &'a Replay) -> Self {
        let row = Self {
            host,
            wall_ns: replay.run_stats.wall(change.time),
            time: change.time,
            id: change.id,
            endpoints: &change.endpoints,
            netns: change.netns,
            protocol: change.protocol,
            old: change.old,
            new: Some(change.new),
            states: change.states(),
            dwell: change.dwell,
            reason: change.reason,
            reset_reason: replay.engine.reset_reason(change.reset_reason),
            path: change.path,
            network: None,
            by_syn_cookie: change.by_syn_cookie,
            is_kernel_socket: change.is_kernel_socket,
            process: None,
            owner: None,
        };
        row.owned_by(change.owner, replay)
    }

    /// A connection that is still there at `end`: `new` is nothing, and the dwell is its age so far.
    pub(crate) fn of_open(host: &'a str, connection: &'a Connection, replay: &'a Replay, end: Nanos) -> Self {
        let row = Self {
            host,
            wall_ns: replay.run_stats.wall(end),
            time: end,
            id: connection.id(),
            endpoints: &connection.endpoints,
            netns: connection.netns,
            protocol: connection.protocol,
            old: connection.state.tcp,
            new: None,
            states: [connection.state.tcp; 2],
            dwell: Some(connection.state.since.age(end)),
            reason: None,
            reset_reason: None,
            path: PathStats::default(),
            network: replay
                .engine
                .network
                .of(connection)
                .map(|(read, network)| (end.since(read), network)),
            by_syn_cookie: false,
            is_kernel_socket: connection.is_kernel_socket,
            process: None,
            owner: None,
        };
        row.owned_by(connection.owner, replay)
    }

    /// Without an owner if its process is no longer known.
    fn owned_by(self, owner: Option<Owner>, replay: &'a Replay) -> Self {
        let processes = &replay.engine.table.processes;
        let process = owner.and_then(|owner| processes.get(owner.process));
        Self {
            process,
            owner: process.and(owner),
            ..self
        }
    }

    pub(crate) fn filter_input(&self) -> FilterInput<'_> {
        FilterInput {
            endpoints: self.endpoints,
            netns: self.netns,
            states: &self.states,
            owner: self.process,
        }
    }

    fn location(&self) -> Option<&Location> {
        self.process?.location.as_deref()
    }
}

/// What a column holds where its type matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    U16,
    U32,
    U64,
    /// Nanoseconds, of a clock or of a span.
    Nanos,
    Time,
}

pub(super) struct ExportColumn {
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) is_nullable: bool,
    pub(super) value: for<'a> fn(&'a ExportRow<'_>) -> Value<'a>,
}

const fn known(
    title: &'static str,
    kind: Kind,
    value: for<'a> fn(&'a ExportRow<'_>) -> Value<'a>,
) -> ExportColumn {
    ExportColumn {
        title,
        kind,
        is_nullable: false,
        value,
    }
}

const fn maybe(
    title: &'static str,
    kind: Kind,
    value: for<'a> fn(&'a ExportRow<'_>) -> Value<'a>,
) -> ExportColumn {
    ExportColumn {
        is_nullable: true,
        ..known(title, kind, value)
    }
}

pub(super) static COLUMNS: [ExportColumn; 36] = [
    known("host", Kind::Text, |row| row.host.into()),
    known("time", Kind::Time, |row| Value::Time(row.wall_ns)),
    known("mono_ns", Kind::Nanos, |row| row.time.0.into()),
    known("cookie", Kind::U64, |row| row.id.cookie.into()),
    known("incarnation", Kind::U32, |row| row.id.incarnation.into()),
    known("family", Kind::Text, |row| row.endpoints.family().name().into()),
    known("local_addr", Kind::Text, |row| row.endpoints.local().into()),
    known("local_port", Kind::U16, |row| row.endpoints.local_port.into()),
    known("remote_addr", Kind::Text, |row| row.endpoints.remote().into()),
    known("remote_port", Kind::U16, |row| row.endpoints.remote_port.into()),
    maybe("netns", Kind::U32, |row| known_netns(row.netns).into()),
    known("protocol", Kind::U16, |row| row.protocol.into()),
    known("old", Kind::Text, |row| row.old.name().into()),
    maybe("new", Kind::Text, |row| row.new.map(TcpState::name).into()),
    maybe("dwell_ns", Kind::Nanos, |row| {
        row.dwell.map(|age| age.span().0).into()
    }),
    known("dwell_exact", Kind::Flag, |row| {
        row.dwell.is_some_and(Age::is_exact).into()
    }),
    maybe("reason", Kind::Text, |row| row.reason.map(EndReason::name).into()),
    maybe("reset_reason", Kind::Text, |row| row.reset_reason.into()),
    maybe("retransmits_total", Kind::U32, |row| {
        row.path.retransmits_total.into()
    }),
    maybe("rtt_ns", Kind::Nanos, |row| row.path.rtt_ns().into()),
    maybe("error", Kind::Text, |row| {
        row.reason.and_then(EndReason::error).into()
    }),
    known("syn_cookie", Kind::Flag, |row| row.by_syn_cookie.into()),
    known("kernel", Kind::Flag, |row| row.is_kernel_socket.into()),
    maybe("pid", Kind::U32, |row| {
        row.process.map(|process| process.key.pid).into()
    }),
    maybe("start_ns", Kind::Nanos, |row| {
        row.process.map(|process| process.key.start_ns).into()
    }),
    maybe("comm", Kind::Text, |row| row.process.map(Process::name).into()),
    maybe("cgroup", Kind::U64, |row| {
        let cgroup = row.process.map(|process| process.cgroup);
        cgroup.filter(|cgroup| *cgroup != 0).into()
    }),
    maybe("cgroup_path", Kind::Text, |row| {
        location::cgroup_path(row.location()).into()
    }),
    maybe("runtime", Kind::Text, |row| {
        location::runtime(row.location()).into()
    }),
    maybe("container", Kind::Text, |row| {
        location::container(row.location()).into()
    }),
    maybe("pod", Kind::Text, |row| location::pod(row.location()).into()),
    maybe("unit", Kind::Text, |row| location::unit(row.location()).into()),
    maybe("evidence", Kind::Text, |row| {
        row.owner.map(|owner| owner.evidence.name()).into()
    }),
    maybe("since_ns", Kind::Nanos, |row| {
        row.owner.map(|owner| owner.since.0).into()
    }),
    maybe("network", Kind::Text, |row| {
        row.network
            .map(|(_, network)| json::text(&NetworkJson(&network)))
            .into()
    }),
    maybe("network_age_ns", Kind::Nanos, |row| {
        row.network.map(|(age, _)| age.0).into()
    }),
];

/// An object with a field for each column.
impl Serialize for ExportRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(COLUMNS.iter().map(|column| (column.title, (column.value)(self))))
    }
}

/// The line of titles of [`csv()`].
pub(crate) fn csv_titles() -> String {
    csv::line(COLUMNS.iter().map(|column| column.title))
}

/// One row as CSV, with its newline; what is unknown is empty.
pub(crate) fn csv(row: &ExportRow<'_>) -> String {
    csv::line(COLUMNS.iter().map(|column| (column.value)(row).text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::since::Since, event::fixture::endpoints, output::json::line};

    #[test]
    fn every_form_has_the_same_columns() {
        let endpoints = endpoints("10.0.0.1:80", "10.0.0.2:4242");
        let row = ExportRow {
            host: "a,b",
            wall_ns: 1_795_300_001_000_000_000,
            time: Nanos(2_000_000_000),
            id: ConnectionId::first(0),
            endpoints: &endpoints,
            netns: 0,
            protocol: 0,
            old: TcpState::CloseWait,
            new: None,
            states: [TcpState::CloseWait; 2],
            dwell: Some(Since::before(Nanos(1_500_000_000)).age(Nanos(2_000_000_000))),
            reason: None,
            reset_reason: None,
            path: PathStats::default(),
            network: Some((
                Nanos(5),
                Network {
                    rtt_us: Some(45),
                    ..Network::default()
                },
            )),
            by_syn_cookie: false,
            is_kernel_socket: false,
            process: None,
            owner: None,
        };
        let titles = csv_titles();
        let titles: Vec<&str> = titles.trim_end().split(',').collect();
        let columns = super::super::parquet::schema();
        let names = columns.fields().iter().map(|field| field.name().as_str());
        assert!(names.eq(titles.iter().copied()));
        assert_eq!(
            csv(&row),
            "\"a,b\",2026-11-21T22:26:41.000000000Z,2000000000,0,0,ipv4,10.0.0.1,80,10.0.0.2,4242,,0,CLOSE_WAIT,,500000000,false,,,,,,false,false,,,,,,,,,,,,\"{\"\"rtt_ns\"\":45000}\",5\n"
        );
        assert_eq!(
            line(&row),
            concat!(
                r#"{"host":"a,b","time":"2026-11-21T22:26:41.000000000Z","mono_ns":2000000000,"cookie":0,"#,
                r#""incarnation":0,"family":"ipv4","local_addr":"10.0.0.1","local_port":80,"#,
                r#""remote_addr":"10.0.0.2","remote_port":4242,"netns":null,"protocol":0,"old":"CLOSE_WAIT","#,
                r#""new":null,"dwell_ns":500000000,"dwell_exact":false,"reason":null,"reset_reason":null,"#,
                r#""retransmits_total":null,"rtt_ns":null,"error":null,"syn_cookie":false,"#,
                r#""kernel":false,"pid":null,"start_ns":null,"comm":null,"cgroup":null,"cgroup_path":null,"#,
                r#""runtime":null,"container":null,"pod":null,"unit":null,"evidence":null,"since_ns":null,"#,
                r#""network":"{\"rtt_ns\":45000}","network_age_ns":5}"#,
                "\n"
            )
        );
    }
}
