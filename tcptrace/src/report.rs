//! What a report says of one run: the picture at its end or at a chosen moment, built alike from a live engine and
//! from a replayed one. Immutable; outputs read it.

use crate::{
    connection::table::Tally,
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    output::header::Dwells,
    record::{
        ledger::{Ending, Ledger},
        origin::Origin,
    },
    view::{self, Context, Share, Sort, View},
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
    /// Whether the span goes to the end of what was recorded.
    pub is_whole: bool,
    /// How the recording ends.
    pub ending: Ending,
    /// Sockets at the end of the span, by process.
    pub view: View,
    /// Finished dwells within the span of which both ends were seen.
    pub dwells: Vec<(TcpState, Dwells)>,
    /// Events within the span.
    pub events: u64,
    /// Counts of the engine within the span.
    pub tally: Tally,
    /// Times that entries are missing from the recording.
    pub gaps: u32,
    /// Entries that are known to be missing.
    pub missing: u64,
    /// What the user was told while it was recorded.
    pub notes: Vec<String>,
    /// What of the files was not read.
    pub remarks: Vec<String>,
}

/// What was counted when the span began.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// When.
    pub time: Nanos,
    /// Events until then.
    pub events: u64,
    /// Counts of the engine until then.
    pub tally: Tally,
}

impl Beginning {
    /// The beginning of the run.
    #[must_use]
    pub fn of_run(ledger: &Ledger) -> Self {
        Self {
            time: ledger.began,
            events: 0,
            tally: Tally::default(),
        }
    }
}

/// Builds the report of the span from `beginning` to `end`. The engine must have been told everything until then, and
/// its statistics must have begun with the span.
#[must_use]
pub fn build(
    origin: &Origin,
    engine: &Engine,
    ledger: &Ledger,
    beginning: Beginning,
    end: Nanos,
    filter: &Filter,
    sort: Sort,
) -> Report {
    let watched = end.since(beginning.time);
    let context = Context {
        watched,
        frame: watched,
        lost: ledger.lost,
        audit: None,
        scans: ledger.scans,
        share: Share::default(),
        shortfalls: origin.shortfalls.clone(),
    };
    Report {
        origin: origin.clone(),
        from_ns: ledger.wall(beginning.time),
        to_ns: ledger.wall(end),
        is_whole: end == ledger.latest,
        ending: ledger.ending,
        view: view::build(engine, end, context, filter, sort),
        dwells: engine
            .stats
            .dwells()
            .map(|(state, histogram)| (state, Dwells::of(&histogram)))
            .collect(),
        events: ledger.events - beginning.events,
        tally: since(&engine.table.tally, &beginning.tally),
        gaps: ledger.gaps,
        missing: ledger.missing,
        notes: ledger.notes.clone(),
        remarks: Vec::new(),
    }
}

fn since(now: &Tally, before: &Tally) -> Tally {
    Tally {
        events: now.events - before.events,
        changes: now.changes - before.changes,
        impossible: now.impossible - before.impossible,
        unknown: now.unknown - before.unknown,
        evicted: now.evicted - before.evicted,
        unseen: now.unseen - before.unseen,
    }
}
