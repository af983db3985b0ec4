//! The statistics of the changes that a filter accepts.

use crate::stats::Stats;
use crate::{connection::change::Change, engine::Engine, event::Nanos, filter::Filter};

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
            if let Some(process) = engine.accepted_change(change, &self.filter) {
                self.stats.count_for(change, process);
            }
        }
    }

    pub(super) fn begin_span(&mut self, begin: Nanos) {
        self.stats = Stats::of_span(begin);
    }
}

#[cfg(test)]
mod tests;
