//! Connections that have ended, as log records of OTLP.

use super::{
    Encoder,
    messages::{AnyKind, AnyValue, LogRecord, LogsRequest, ResourceLogs, ScopeLogs},
    number, scope, text,
};
use crate::{connection::lifetime::Lifetime, event::Family};
use prost::Message as _;

/// `SEVERITY_NUMBER_INFO`.
const INFO: i32 = 9;

/// One log record, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record(LogRecord);

impl Record {
    /// Of a connection whose line of `trace --lifetimes --json` this is, which is the body.
    pub(crate) fn of_lifetime(lifetime: &Lifetime, line: &str, ended_wall_ns: u64, now_wall_ns: u64) -> Self {
        let ends = &lifetime.endpoints;
        let family = match ends.family() {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        Self(LogRecord {
            time: ended_wall_ns,
            observed_time: now_wall_ns,
            severity: INFO,
            severity_text: "INFO".to_owned(),
            body: Some(AnyValue {
                value: Some(AnyKind::Text(line.trim_end().to_owned())),
            }),
            attributes: vec![
                text("network.transport", "tcp".to_owned()),
                text("network.type", family.to_owned()),
                text("network.local.address", ends.local().to_string()),
                number("network.local.port", ends.local_port.into()),
                text("network.peer.address", ends.remote().to_string()),
                number("network.peer.port", ends.remote_port.into()),
            ],
            event_name: "tcptrace.connection.end".to_owned(),
        })
    }
}

impl Encoder {
    /// Log records, as an `ExportLogsServiceRequest`.
    pub(crate) fn logs(&self, records: Vec<Record>) -> Vec<u8> {
        let request = LogsRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    records: records.into_iter().map(|Record(record)| record).collect(),
                }],
            }],
        };
        request.encode_to_vec()
    }
}
