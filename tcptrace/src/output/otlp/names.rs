//! Names of OpenTelemetry: those of its semantic conventions where they have one, and others below `tcptrace.`. A
//! Prometheus that receives OTLP turns the latter into the names that it would have scraped.

use crate::{
    event::TcpState,
    metrics::{Description, Unit, catalogue::SOCKETS},
};

/// Name and unit of a family.
pub(super) fn metric(what: &Description) -> (String, &'static str) {
    if what.name == SOCKETS.name {
        return ("system.network.connection.count".to_owned(), "{connection}");
    }
    let (suffix, unit) = match what.unit {
        None => ("", ""),
        Some(Unit::Seconds) => ("_seconds", "s"),
        Some(Unit::Bytes) => ("_bytes", "By"),
        Some(Unit::Ratio) => ("_ratio", "1"),
    };
    let name = what.name.strip_suffix(suffix).unwrap_or(what.name);
    let name = name.strip_prefix("tcptrace_").unwrap_or(name);
    (format!("tcptrace.{name}"), unit)
}

/// The attribute of a label.
pub(super) fn attribute(label: &str) -> String {
    let known = match label {
        "state" => "network.connection.state",
        "container_id" => "container.id",
        "container" => "k8s.container.name",
        "runtime" => "container.runtime.name",
        "pod" => "k8s.pod.name",
        "namespace" => "k8s.namespace.name",
        "uid" => "k8s.pod.uid",
        "address" => "server.address",
        "port" => "server.port",
        "local" => "network.local.address",
        "remote" => "network.peer.address",
        other => return format!("tcptrace.{other}"),
    };
    known.to_owned()
}

/// Whether a label's values are states.
pub(super) fn is_state(label: &str) -> bool {
    matches!(label, "state" | "from" | "to")
}

/// A state as `network.connection.state` spells it.
pub(super) const fn state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn_sent",
        TcpState::SynRecv => "syn_received",
        TcpState::FinWait1 => "fin_wait_1",
        TcpState::FinWait2 => "fin_wait_2",
        TcpState::TimeWait => "time_wait",
        TcpState::Close => "closed",
        TcpState::CloseWait => "close_wait",
        TcpState::LastAck => "last_ack",
        TcpState::Listen => "listen",
        TcpState::Closing => "closing",
    }
}
