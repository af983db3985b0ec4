//! The first and last line of every stream: program, host and hooks; counts and losses.

use crate::owner::schedule::Cost;
use crate::{
    connection::{audit::Audit, table::Tally},
    duration::human,
    event::{Nanos, TcpState},
    kernel::{clock::ClockPair, counters::Totals, loader::Kernel, programs::Attached},
    stats::Stats,
};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use tcptrace_common::{EventKind, Hit, TimerStep};

/// Version of the names and meanings of the JSON fields, in every header, and in the summaries of outputs without one.
/// Output without it is of version 1.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// What every stream begins with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Header {
    /// [`SCHEMA_VERSION`]
    pub(crate) schema_version: u32,
    /// `tcptrace`
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    /// `uname -r`
    pub(crate) kernel: String,
    /// `uname -m`
    pub(crate) machine: String,
    /// `uname -n`
    pub(crate) host: String,
    /// The mechanism of each feature.
    pub(crate) hooks: BTreeMap<&'static str, &'static str>,
    /// What is missing, and why.
    pub(crate) missing: Vec<Missing>,
    /// Both clocks at the start.
    pub(crate) clock: ClockPair,
}

/// A feature that is not fully available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// Its name, as in `hooks`.
    pub(crate) feature: &'static str,
    /// Why it is not fully available.
    pub(crate) reason: String,
    /// What a user loses.
    pub(crate) lost: &'static str,
}

impl Header {
    /// Describes an attached kernel side.
    pub(crate) fn new(kernel: &Kernel, clock: ClockPair) -> Self {
        let (release, machine, host) = kernel.names.clone();
        Self {
            schema_version: SCHEMA_VERSION,
            program: "tcptrace",
            version: env!("CARGO_PKG_VERSION"),
            kernel: release,
            machine,
            host,
            hooks: kernel
                .attached
                .iter()
                .map(|part| (part.feature.name(), part.mechanism.name()))
                .collect(),
            missing: kernel.attached.iter().filter_map(missing).collect(),
            clock,
        }
    }
}

fn missing(part: &Attached) -> Option<Missing> {
    Some(Missing {
        feature: part.feature.name(),
        reason: part.limitation()?,
        lost: part.feature.lost_without(),
    })
}

/// What every stream ends with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) watched_ns: u64,
    /// Records read from the kernel.
    pub(crate) events: u64,
    /// State transitions found in them.
    pub(crate) changes: u64,
    /// Lines printed, without dropped ones.
    pub(crate) printed: u64,
    /// Lines dropped because the reader was too slow.
    pub(crate) dropped: u64,
    /// Records that the kernel could not deliver.
    pub(crate) lost: u64,
    /// The same by kind, and runs of programs that the kernel skipped.
    pub(crate) lost_by: LostBy,
    /// Records of an unknown layout.
    pub(crate) undecoded: u64,
    /// Events of previously unknown sockets.
    pub(crate) unknown: u64,
    /// Of those, the expected ones.
    #[serde(rename = "expected_unknown")]
    pub(crate) unknown_expected: u64,
    /// Events in an impossible order.
    pub(crate) impossible: u64,
    /// Connections evicted because the table was full.
    pub(crate) evicted: u64,
    /// Connections whose end was found by a snapshot.
    #[serde(rename = "unseen_ends")]
    pub(crate) unseen: u64,
    /// What the kernel counted at the tracepoint, TCP only, self-transitions included.
    pub(crate) kernel_transitions: u64,
    /// The same by pair, `OLD>NEW`.
    pub(crate) kernel_matrix: BTreeMap<String, u64>,
    /// Hits of each kind of record.
    pub(crate) hits: BTreeMap<String, u64>,
    /// Hooks that were replaced because they never fired.
    #[serde(rename = "silent_hooks", skip_serializing_if = "Vec::is_empty")]
    pub(crate) given_up: Vec<GivenUp>,
    /// Dwell times by state: those that have ended and were seen from start to end.
    pub(crate) dwells: BTreeMap<TcpState, Dwells>,
    /// Resources used by this process.
    pub(crate) usage: Usage,
    /// Cost of the scans for holders of sockets.
    pub(crate) scans: Cost,
    /// The comparison with the kernel's table, if requested (`--audit`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<Audit>,
}

/// Resources used by a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// CPU time of all its threads, nanoseconds.
    pub(crate) cpu_ns: u64,
    pub(crate) peak_memory_bytes: u64,
}

impl Usage {
    /// As the end of a text summary.
    pub(crate) fn words(self) -> String {
        format!(
            "{} of CPU, {} MiB",
            human(Nanos(self.cpu_ns)),
            self.peak_memory_bytes >> 20
        )
    }
}

/// Hooks that attached but never fired, and what replaced them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GivenUp {
    /// When that was detected, `CLOCK_MONOTONIC` nanoseconds.
    pub(crate) mono_ns: u64,
    pub(crate) feature: &'static str,
    /// The mechanism that never fired.
    pub(crate) from: &'static str,
    /// The mechanism used since then: `missing` if there is no other.
    pub(crate) to: &'static str,
}

/// The finished dwells in one state, nanoseconds, to two significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dwells {
    /// Number of ended dwell times.
    pub count: u64,
    /// The median.
    pub p50_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The longest dwell time.
    pub max_ns: u64,
}

impl Dwells {
    /// Those of each state with at least one.
    pub(crate) fn by_state(stats: &Stats) -> BTreeMap<TcpState, Self> {
        let of_states = stats.dwells();
        of_states
            .map(|(state, histogram)| (state, Self::of(&histogram)))
            .collect()
    }

    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            max_ns: histogram.max(),
        }
    }
}

/// Lost records by kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct LostBy {
    /// Transitions that were lost because the buffer was full.
    pub(crate) transition: u64,
    /// Records of timewait sockets, likewise.
    pub(crate) timewait: u64,
    /// Records of request sockets, likewise.
    pub(crate) request: u64,
    /// Resets, accepts and changes of name, likewise.
    pub(crate) other: u64,
    /// Runs that the kernel skipped because the program was interrupted by itself.
    pub(crate) skipped: u64,
}

impl Summary {
    /// A summary without hooks, dwell times, usage and audit, which the caller adds.
    pub(crate) fn new(
        watched_ns: u64,
        records: u64,
        undecoded: u64,
        printed: u64,
        tally: &Tally,
        totals: &Totals,
    ) -> Self {
        let [transition, timewait, request, other] = totals.lost;
        Self {
            watched_ns,
            events: records,
            changes: tally.changes,
            printed,
            dropped: 0,
            lost: totals.all_lost(),
            lost_by: LostBy {
                transition,
                timewait,
                request,
                other,
                skipped: totals.skipped,
            },
            undecoded,
            unknown: tally.unknown,
            unknown_expected: tally.unknown_expected,
            impossible: tally.impossible,
            evicted: tally.evicted,
            unseen: tally.unseen,
            kernel_transitions: totals.all_transitions(),
            kernel_matrix: matrix(totals),
            hits: hits(totals),
            given_up: Vec::new(),
            dwells: BTreeMap::new(),
            usage: Usage::default(),
            scans: Cost::default(),
            audit: None,
        }
    }
}

fn hits(totals: &Totals) -> BTreeMap<String, u64> {
    let mut by_name = BTreeMap::new();
    for kind in EventKind::ALL {
        by_name.insert(kind.name().to_owned(), Hit::of(*kind).count(&totals.hits));
        for step in TimerStep::ALL {
            let name = format!("{}-{}", kind.name(), step.name());
            by_name.insert(name, Hit::timer(*kind, *step).count(&totals.hits));
        }
    }
    by_name.retain(|_, hits| *hits > 0);
    by_name
}

fn matrix(totals: &Totals) -> BTreeMap<String, u64> {
    let mut pairs = BTreeMap::new();
    for old in TcpState::ALL {
        for new in TcpState::ALL {
            let count = totals.transitions[tcptrace_common::transition_index(old as u8, new as u8)];
            if count > 0 {
                pairs.insert(format!("{old}>{new}"), count);
            }
        }
    }
    pairs
}
