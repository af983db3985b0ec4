//! The report of one run at its end or at a chosen moment, built from a live engine or
//! from a replayed one. Immutable; outputs read it.

pub(crate) mod arrows;
pub(crate) mod gatherer;
pub(crate) mod held;
pub(crate) mod over_time;
pub(crate) mod page;
mod redaction;

use crate::{
    connection::table::Tally,
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    record::{
        origin::Origin,
        run_stats::{Beginning, Ending, RunStats},
    },
    summary::Dwells,
    view::{
        self, Context, Share, Sort, View,
        unanswered::{self, UnansweredList},
    },
};

/// One run, or a span of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it was recorded.
    pub origin: Origin,
    /// Wall time of the span's beginning, nanoseconds since 1970.
    pub from_ns: u64,
    /// Of its end: the moment of the picture.
    pub to_ns: u64,
    /// The same, `CLOCK_MONOTONIC`.
    pub(crate) to: Nanos,
    /// Whether the span goes to the end of what was recorded.
    pub is_whole: bool,
    /// How the recording ends.
    pub ending: Ending,
    /// Whether its last file was ended in order, be it for another.
    pub is_ended: bool,
    /// Sockets at the end of the span, by process.
    pub view: View,
    /// Connections whose peers did not answer, by the latest snapshot.
    pub(crate) unanswered: UnansweredList,
    /// Finished dwells within the span of which both ends were seen.
    pub dwells: Vec<(TcpState, Dwells)>,
    /// Events within the span, whatever the filter.
    pub events: u64,
    /// Counts of the engine within the span, whatever the filter.
    pub tally: Tally,
    /// Whether there was a filter.
    pub is_filtered: bool,
    /// Changes within the span that the filter lets pass.
    pub changes: u64,
    /// Number of gaps within the span, where entries are missing from the recording.
    pub gaps: u32,
    /// Entries that are known to be missing from the span.
    pub missing: u64,
    /// Messages shown while it was recorded.
    pub notes: Vec<String>,
    /// What of the files was not read.
    pub remarks: Vec<String>,
}

/// Builds the report of the span from `beginning` to `end`. The engine must have applied all input until then, and
/// its statistics, those of `filter` too, must have begun with the span.
#[must_use]
pub fn build(
    origin: &Origin,
    engine: &Engine,
    run_stats: &RunStats,
    beginning: Beginning,
    end: Nanos,
    filter: &Filter,
    sort: Sort,
) -> Report {
    let watched = end.since(beginning.time);
    let context = Context {
        watched,
        lost: run_stats.lost - beginning.lost,
        audit: None,
        scans: run_stats.scans,
        share: Share::default(),
        limitations: origin.limitations.clone(),
    };
    Report {
        origin: origin.clone(),
        from_ns: run_stats.wall(beginning.time),
        to_ns: run_stats.wall(end),
        to: end,
        is_whole: end == run_stats.latest,
        ending: run_stats.ending,
        is_ended: run_stats.ending == Ending::Stopped,
        view: view::build(engine, end, context, filter, sort),
        unanswered: unanswered::gather(engine, end, filter),
        dwells: Dwells::by_state(engine.shown()).into_iter().collect(),
        events: run_stats.events - beginning.events,
        is_filtered: *filter != Filter::default(),
        changes: engine.shown().changes(),
        tally: since(&engine.table.tally, &beginning.tally),
        gaps: run_stats.gaps - beginning.gaps,
        missing: run_stats.missing - beginning.missing,
        notes: run_stats.notes.clone(),
        remarks: Vec::new(),
    }
}

fn since(now: &Tally, before: &Tally) -> Tally {
    Tally {
        events: now.events - before.events,
        changes: now.changes - before.changes,
        impossible: now.impossible - before.impossible,
        unknown: now.unknown - before.unknown,
        unknown_expected: now.unknown_expected - before.unknown_expected,
        shown: now.shown - before.shown,
        evicted: now.evicted - before.evicted,
        unseen: now.unseen - before.unseen,
    }
}
