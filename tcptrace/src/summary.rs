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
pub const SCHEMA_VERSION: u32 = 2;

/// What every stream begins with.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// [`SCHEMA_VERSION`]
    pub schema_version: u32,
    /// `tcptrace`
    pub program: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// `uname -r`
    pub kernel: String,
    /// `uname -m`
    pub machine: String,
    /// `uname -n`
    pub host: String,
    /// The mechanism of each feature.
    pub hooks: BTreeMap<&'static str, &'static str>,
    /// What is missing, and why.
    pub missing: Vec<Missing>,
    /// Both clocks at the start.
    pub clock: ClockPair,
}

/// A feature that is not fully available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its name, as in `hooks`.
    pub feature: &'static str,
    /// Why it is not fully available.
    pub reason: String,
    /// What a user loses.
    pub lost: &'static str,
}

impl Header {
    /// Describes an attached kernel side.
    #[must_use]
    pub fn new(kernel: &Kernel, clock: ClockPair) -> Self {
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
        reason: part.shortfall()?,
        lost: part.feature.lost_without(),
    })
}

/// What every stream ends with.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Time watched, nanoseconds.
    pub watched_ns: u64,
    /// Records read from the kernel.
    pub events: u64,
    /// State transitions found in them.
    pub changes: u64,
    /// Lines printed, without dropped ones.
    pub printed: u64,
    /// Lines dropped because the reader was too slow.
    pub dropped: u64,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// The same by kind, and runs of programs that the kernel skipped.
    pub lost_by: LostBy,
    /// Records of an unknown layout.
    pub undecoded: u64,
    /// Events of previously unknown sockets.
    pub unknown: u64,
    /// Of those, the expected ones.
    #[serde(rename = "expected_unknown")]
    pub unknown_expected: u64,
    /// Events in an impossible order.
    pub impossible: u64,
    /// Connections evicted because the table was full.
    pub evicted: u64,
    /// Connections whose end was found by a snapshot.
    #[serde(rename = "unseen_ends")]
    pub unseen: u64,
    /// What the kernel counted at the tracepoint, TCP only, self-transitions included.
    pub kernel_transitions: u64,
    /// The same by pair, `OLD>NEW`.
    pub kernel_matrix: BTreeMap<String, u64>,
    /// Hits of each kind of record.
    pub hits: BTreeMap<String, u64>,
    /// Hooks that were replaced because they never fired.
    #[serde(rename = "silent_hooks", skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// Dwell times by state: those that have ended and were seen from start to end.
    pub dwells: BTreeMap<TcpState, Dwells>,
    /// Resources used by this process.
    pub usage: Usage,
    /// Cost of the scans for holders of sockets.
    pub scans: Cost,
    /// The comparison with the kernel's table, if requested (`--audit`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// Resources used by a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time of all its threads, nanoseconds.
    pub cpu_ns: u64,
    /// Peak memory, bytes.
    pub peak_memory_bytes: u64,
}

impl Usage {
    /// As the end of a text summary.
    #[must_use]
    pub fn words(self) -> String {
        format!(
            "{} of CPU, {} MiB",
            human(Nanos(self.cpu_ns)),
            self.peak_memory_bytes >> 20
        )
    }
}

/// Hooks that attached but never fired, and what replaced them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// When that was detected, `CLOCK_MONOTONIC` nanoseconds.
    pub mono_ns: u64,
    /// The feature that they provided.
    pub feature: &'static str,
    /// The mechanism that never fired.
    pub from: &'static str,
    /// The mechanism used since then: `missing` if there is no other.
    pub to: &'static str,
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
    #[must_use]
    pub fn by_state(stats: &Stats) -> BTreeMap<TcpState, Self> {
        let of_states = stats.dwells();
        of_states
            .map(|(state, histogram)| (state, Self::of(&histogram)))
            .collect()
    }

    /// Computes them from a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
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
pub struct LostBy {
    /// Transitions that were lost because the buffer was full.
    pub transition: u64,
    /// Records of timewait sockets, likewise.
    pub timewait: u64,
    /// Records of request sockets, likewise.
    pub request: u64,
    /// Resets, accepts and changes of name, likewise.
    pub other: u64,
    /// Runs that the kernel skipped because the program was interrupted by itself.
    pub skipped: u64,
}

impl Summary {
    /// A summary without hooks, dwell times, usage and audit, which the caller adds.
    #[must_use]
    pub fn new(
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
