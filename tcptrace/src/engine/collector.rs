//! Collects the durations of the connections that a filter accepts, for one run or one interval of it.

use crate::{
    connection::{change::Change, lifetime::Role, row::Connection},
    engine::Engine,
    event::{Endpoints, Nanos},
    filter::{Filter, FilterInput},
    owner::policy::Owner,
    stats::{
        bins::Bins,
        key::{By, Facts, Key},
        measure,
        report::Report,
        top_k::{KEYS, TopK},
        totals::Totals,
    },
};

/// What has ended since the start, or since `begin_interval`.
#[derive(Debug)]
pub struct Collector {
    filter: Filter,
    watched_from: Nanos,
    totals: Totals,
    keyed: TopK,
}

impl Collector {
    /// An empty one. The states of `filter` are ignored here: a report shows the requested ones.
    #[must_use]
    pub fn new(filter: &Filter, by: By, watched_from: Nanos) -> Self {
        Self {
            filter: Filter {
                states: Vec::new(),
                ..filter.clone()
            },
            watched_from,
            totals: Totals::default(),
            keyed: TopK::new(by, KEYS),
        }
    }

    /// Counts the durations of the engine's current batch by the owners that the engine knows. Where processes run must
    /// have been found out, if `asks_for_locations`.
    pub fn count(&mut self, engine: &Engine) {
        let Self {
            filter,
            watched_from,
            totals,
            keyed,
        } = self;
        for change in engine.batch().iter().filter(|change| change.dwell.is_some()) {
            let Change {
                endpoints,
                netns,
                role,
                owner,
                id,
                ..
            } = change;
            let Some(facts) = facts(engine, filter, endpoints, *netns, *role, *owner, id.cookie) else {
                continue;
            };
            totals.count(change, *watched_from);
            keyed.count(change, &facts, *watched_from);
        }
    }

    pub(crate) fn ended(&self, engine: &Engine) -> Report {
        self.named(self.counted(), engine)
    }

    /// What has ended, and what the table still has at `now`.
    pub(crate) fn report(&self, engine: &Engine, now: Nanos) -> Report {
        let mut report = self.counted();
        report.take_open(engine, now, self.watched_from, &self.filter);
        self.named(report, engine)
    }

    fn counted(&self) -> Report {
        let mut report = Report::of_totals(&self.totals, self.keyed.by());
        report.take_keys(&self.keyed);
        report
    }

    /// The report with the paths of its cgroups.
    fn named(&self, mut report: Report, engine: &Engine) -> Report {
        if self.keyed.by() == By::Cgroup {
            let locations = engine.table.processes.locations_by_cgroup();
            report.find_locations(|id| locations.get(&id).copied().cloned());
        }
        report
    }

    /// Requires the locations of processes if groups or filters are by location.
    pub(crate) fn asks_for_locations(&self) -> bool {
        self.filter.asks_for_locations() || self.keyed.by() == By::Cgroup
    }

    /// The ended durations of one key; `None` if there is no such key, or it was merged into the rest.
    pub(crate) fn cells_of(&self, key: &Key) -> Option<&Bins> {
        self.keyed.get(key)
    }

    /// The keys, with their ended durations, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Key, &Bins)> {
        self.keyed.iter().map(|kept| (kept.named.key, kept.cells))
    }

    /// Forgets what has ended.
    pub(crate) fn begin_interval(&mut self) {
        self.totals.clear();
        self.keyed.clear();
    }
}

/// Whom a connection counts for; `None` where the filter does not want it.
fn facts<'a>(
    engine: &'a Engine,
    filter: &Filter,
    endpoints: &'a Endpoints,
    netns: u32,
    role: Role,
    owner: Option<Owner>,
    cookie: u64,
) -> Option<Facts<'a>> {
    let subject = FilterInput {
        endpoints,
        netns,
        states: &[],
        owner: None,
    };
    if !filter.accepts_ends(&subject) {
        return None;
    }
    let process = engine.accepted_process(owner, cookie, filter)?;
    Some(Facts {
        endpoints,
        netns,
        role,
        owner: process.and_then(|id| engine.table.processes.get(id)),
    })
}

impl Report {
    /// Adds the ages, at `now`, of the connections in the table that `filter` lets pass, which selects no states.
    pub(crate) fn take_open(&mut self, engine: &Engine, now: Nanos, watched_from: Nanos, filter: &Filter) {
        let mut all = Bins::default();
        let mut keyed = TopK::new(self.by, KEYS);
        for connection in engine.table.iter() {
            let Connection {
                endpoints,
                netns,
                owner,
                ..
            } = connection;
            let role = engine.table.role(connection);
            let cookie = connection.id().cookie;
            let Some(facts) = facts(engine, filter, endpoints, *netns, role, *owner, cookie) else {
                continue;
            };
            let mut its = keyed.cells_of(&facts);
            let state = &connection.state;
            let (since, began) = (state.since, connection.began);
            measure::open_at(
                now,
                state.tcp,
                since,
                began,
                watched_from,
                |measure, kind, span| {
                    all.record(measure, kind, span);
                    if let Some(cells) = &mut its {
                        cells.record(measure, kind, span);
                    }
                },
            );
        }
        self.take_total(&all);
        self.take_keys(&keyed);
    }
}
