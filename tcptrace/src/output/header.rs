//! The first and the last line of every stream: what traced, by which hooks, and what went missing.

use crate::owner::schedule::Cost;
use crate::{
    connection::{audit::Audit, table::Tally},
    event::{Nanos, TcpState},
    kernel::{clock::Anchor, counters::Totals, loader::Kernel, programs::Attached},
    output::duration::human,
};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// What every stream begins with.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
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
    /// How each purpose is served.
    pub hooks: BTreeMap<&'static str, &'static str>,
    /// What is missing, and why.
    pub missing: Vec<Missing>,
    /// Both clocks at the start.
    pub clock: Anchor,
}

/// One purpose that is not served in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Which.
    pub purpose: &'static str,
    /// Why.
    pub reason: String,
    /// What a user loses.
    pub lost: &'static str,
}

impl Header {
    /// Describes an attached kernel side.
    #[must_use]
    pub fn new(kernel: &Kernel, clock: Anchor) -> Self {
        let (release, machine, host) = kernel.names.clone();
        Self {
            program: "tcptrace",
            version: env!("CARGO_PKG_VERSION"),
            kernel: release,
            machine,
            host,
            hooks: kernel
                .attached
                .iter()
                .map(|part| (part.purpose.name(), part.way.name()))
                .collect(),
            missing: kernel.attached.iter().filter_map(missing).collect(),
            clock,
        }
    }
}

fn missing(part: &Attached) -> Option<Missing> {
    Some(Missing {
        purpose: part.purpose.name(),
        reason: part.shortfall()?,
        lost: part.purpose.lost_without(),
    })
}

/// What every stream ends with.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Time watched, nanoseconds.
    pub watched_ns: u64,
    /// Records read from the kernel.
    pub events: u64,
    /// Changes of state found in them.
    pub changes: u64,
    /// Lines printed.
    pub printed: u64,
    /// Lines dropped because their reader did not take them.
    pub dropped: u64,
    /// Records that could not be delivered.
    pub lost: u64,
    /// The same by what they were about, and by programs that the kernel skipped.
    pub lost_by: LostBy,
    /// Records of an unknown layout.
    pub undecoded: u64,
    /// Events of sockets that nothing had shown before.
    pub unknown: u64,
    /// Orders of events that cannot happen.
    pub impossible: u64,
    /// Connections given up because the table was full.
    pub evicted: u64,
    /// Connections whose end was found by a snapshot.
    pub unseen: u64,
    /// What the kernel counted at the tracepoint, TCP only, self-transitions included.
    pub kernel_transitions: u64,
    /// The same by pair, `OLD>NEW`.
    pub kernel_matrix: BTreeMap<String, u64>,
    /// Hits of each kind of record.
    pub hits: BTreeMap<&'static str, u64>,
    /// Hooks that were given up because they did not fire.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// How long states lasted, by state: finished dwells of which both ends were seen.
    pub dwells: BTreeMap<TcpState, Dwells>,
    /// What this process has used.
    pub usage: Usage,
    /// What it took to find out who holds which socket.
    pub scans: Cost,
    /// The comparison with the kernel's own table, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time of all its threads, nanoseconds.
    pub cpu_ns: u64,
    /// The most memory that it had at a time, bytes.
    pub peak_memory_bytes: u64,
}

impl Usage {
    /// As the end of a summary for people.
    #[must_use]
    pub fn words(self) -> String {
        format!(
            "{} of CPU, {} MiB",
            human(Nanos(self.cpu_ns)),
            self.peak_memory_bytes >> 20
        )
    }
}

/// Hooks that attached and did not fire, and what came in their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// When that was found out, `CLOCK_MONOTONIC` nanoseconds.
    pub mono_ns: u64,
    /// What they were to serve.
    pub purpose: &'static str,
    /// How it was served.
    pub from: &'static str,
    /// How it is served since: `missing` where there was no other way.
    pub to: &'static str,
}

/// The finished dwells in one state, nanoseconds, to two significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dwells {
    /// How many.
    pub count: u64,
    /// Half of them were at most this long.
    pub p50_ns: u64,
    /// 99 of 100 were at most this long.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Dwells {
    /// Reads them off a histogram.
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

/// Lost records by what they were about.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LostBy {
    /// Transitions that found the buffer full.
    pub transition: u64,
    /// Timewait records that did.
    pub timewait: u64,
    /// Request records that did.
    pub request: u64,
    /// Resets, accepts and new names that did.
    pub other: u64,
    /// Runs that the kernel skipped because the program was interrupted by itself.
    pub skipped: u64,
}

/// The record kinds by name, for [`Summary::hits`].
const KINDS: [(&str, u8); 17] = {
    use tcptrace_common::kind;
    [
        ("state", kind::STATE),
        ("reset-received", kind::RESET_RECEIVED),
        ("reset-sent", kind::RESET_SENT),
        ("timewait-start", kind::TIMEWAIT_START),
        ("timewait-full", kind::TIMEWAIT_FULL),
        ("timewait-segment", kind::TIMEWAIT_SEGMENT),
        ("timewait-end", kind::TIMEWAIT_END),
        ("timewait-timer-start", kind::TIMEWAIT_TIMER_START),
        ("timewait-timer-cancel", kind::TIMEWAIT_TIMER_CANCEL),
        ("timewait-timer-expire", kind::TIMEWAIT_TIMER_EXPIRE),
        ("request-start", kind::REQUEST_START),
        ("request-end", kind::REQUEST_END),
        ("request-timer-start", kind::REQUEST_TIMER_START),
        ("request-timer-cancel", kind::REQUEST_TIMER_CANCEL),
        ("request-timer-expire", kind::REQUEST_TIMER_EXPIRE),
        ("accept", kind::ACCEPT),
        ("task-rename", kind::TASK_RENAME),
    ]
};

impl Summary {
    /// Adds up.
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
            impossible: tally.impossible,
            evicted: tally.evicted,
            unseen: tally.unseen,
            kernel_transitions: totals.all_transitions(),
            kernel_matrix: matrix(totals),
            hits: KINDS
                .iter()
                .map(|(name, kind)| (*name, totals.hits[usize::from(*kind)]))
                .filter(|(_, hits)| *hits > 0)
                .collect(),
            given_up: Vec::new(),
            dwells: BTreeMap::new(),
            usage: Usage::default(),
            scans: Cost::default(),
            audit: None,
        }
    }
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
