//! What of a line the filters match: the one place for lines of a machine and of recordings.

use crate::{
    connection::{change::Change, lifetime::Lifetime},
    engine::Engine,
    event::TcpState,
    filter::{Filter, FilterInput},
    owner::policy::Owner,
};

/// The properties of a line that filters match.
pub(super) struct Subject<'a> {
    /// All but the process.
    pub(super) ends: FilterInput<'a>,
    pub(super) owner: Option<Owner>,
    pub(super) cookie: u64,
}

impl<'a> Subject<'a> {
    /// Those of a change; `states` are [`Change::states`].
    pub(super) const fn of_change(change: &'a Change, states: &'a [TcpState]) -> Self {
        Self {
            ends: FilterInput {
                endpoints: &change.endpoints,
                netns: change.netns,
                states,
                owner: None,
            },
            owner: change.owner,
            cookie: change.id.cookie,
        }
    }

    /// Those of a connection that has ended; `states` are [`Lifetime::states`].
    pub(super) const fn of_lifetime(lifetime: &'a Lifetime, states: &'a [TcpState]) -> Self {
        Self {
            ends: FilterInput {
                endpoints: &lifetime.endpoints,
                netns: lifetime.netns,
                states,
                owner: None,
            },
            owner: lifetime.owner,
            cookie: lifetime.id.cookie,
        }
    }

    /// Whether `filter` accepts its ends, and its owner or another process that has the socket open. If the filter asks for
    /// locations, those must have been looked up.
    pub(super) fn is_accepted(&self, engine: &Engine, filter: &Filter) -> bool {
        filter.accepts_ends(&self.ends) && engine.accepted_process(self.owner, self.cookie, filter).is_some()
    }
}
