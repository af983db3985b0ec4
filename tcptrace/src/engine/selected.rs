//! The statistics of the changes that a filter accepts.

use crate::stats::Stats;
use crate::{
    connection::change::Change,
    engine::Engine,
    event::Nanos,
    filter::{Filter, FilterInput},
};

/// A filter, and the statistics of the changes that it accepts.
#[derive(Debug)]
pub(super) struct Selected {
    filter: Filter,
    pub(super) stats: Stats,
}

impl Selected {
    /// Empty ones, from `begin` on. `watched_from` is when the tracer began: what is older was not seen to begin.
    #[must_use]
    pub(super) fn new(filter: &Filter, begin: Nanos, watched_from: Nanos) -> Self {
        let mut stats = Stats::of_span(begin);
        stats.begin_frames(begin);
        stats.watched_from = Some(watched_from);
        Self {
            filter: filter.clone(),
            stats,
        }
    }

    /// Counts the transitions of the engine's current batch by the owners that the engine knows. Where processes run must have
    /// been found out, if the filter asks for containers.
    pub(super) fn count(&mut self, engine: &Engine, changes: &[Change]) {
        for change in changes {
            if !self.accepts_ends(change) {
                continue;
            }
            let owner = engine.accepted_process(change.owner, change.id.cookie, &self.filter);
            if let Some(process) = owner {
                self.stats.count_for(change, process);
            }
        }
    }

    fn accepts_ends(&self, change: &Change) -> bool {
        // A connection that begins was in no state before: LISTEN is its listener's.
        let states = [change.new, change.old];
        let states = if change.dwell.is_some() {
            &states[..]
        } else {
            &states[..1]
        };
        self.filter.accepts_ends(&FilterInput {
            endpoints: &change.endpoints,
            netns: change.netns,
            states,
            owner: None,
        })
    }

    pub(super) fn begin_span(&mut self, begin: Nanos) {
        self.stats = Stats::of_span(begin);
    }
}

#[cfg(test)]
mod tests;
