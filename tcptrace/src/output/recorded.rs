//! The last line of what `trace` prints of a recording, as JSON.

use super::json;
use crate::{event::TcpState, summary::Dwells};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was printed of a recording.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// From the beginning of the span to its end.
    pub(crate) watched_ns: u64,
    /// Number of lines printed.
    pub(crate) printed: u64,
    /// Records of the span that the kernel could not deliver.
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
