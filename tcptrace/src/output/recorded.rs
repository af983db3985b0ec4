//! The first and last line of what `trace` prints of a recording, as JSON.

use super::json;
use crate::{
    event::TcpState,
    kernel::clock::ClockPair,
    record::origin::Origin,
    summary::{Dwells, SCHEMA_VERSION},
    unseen::Unseen,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The header of the live run, as far as it was recorded.
pub(crate) fn header(origin: &Origin) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        header: Header<'a>,
    }
    #[derive(Serialize)]
    struct Header<'a> {
        schema_version: u32,
        program: &'static str,
        version: &'a str,
        kernel: &'a str,
        machine: &'a str,
        host: &'a str,
        hooks: &'a BTreeMap<String, String>,
        clock: ClockPair,
        unseen: Vec<Unseen>,
    }
    json::line(&Line {
        header: Header {
            schema_version: SCHEMA_VERSION,
            program: "tcptrace",
            version: &origin.version,
            kernel: &origin.kernel,
            machine: &origin.machine,
            host: &origin.host,
            hooks: &origin.hooks,
            clock: origin.clock,
            unseen: origin.unseen(),
        },
    })
}

/// What was printed of a recording.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// From the beginning of the span to its end.
    pub(crate) watched_ns: u64,
    /// Lines.
    pub(crate) printed: u64,
    /// Records that the kernel could not deliver, until the end of the span.
    pub(crate) lost: u64,
    /// What of the recording was not read.
    pub(crate) remarks: Vec<String>,
    /// Dwell times by state: those that have ended and were seen from start to end.
    pub(crate) dwells: BTreeMap<TcpState, Dwells>,
}

/// The summary of a live run, as far as a recording has it.
pub(crate) fn summary(summary: &Summary) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: &'a Summary,
    }
    json::line(&Line { summary })
}
