//! Gathers the durations of those connections that a filter lets pass, for one run or one interval of it. Is handed
//! changes, the table and the time.

use super::{
    key::{By, Facts, Key},
    keyed::{KEYS, Keyed},
    measure,
    report::Report,
    totals::Totals,
};
use crate::{
    connection::{
        lifetime::Role,
        table::{Change, Connection},
    },
    engine::Engine,
    event::{Ends, Nanos},
    filter::{Filter, Subject},
    owner::policy::Owner,
    stats::cells::Cells,
    view,
};

/// What has ended since the start, or since [`Collector::begin_interval`].
#[derive(Debug)]
pub struct Collector {
    filter: Filter,
    watched_from: Nanos,
    totals: Totals,
    keyed: Keyed,
    batch: Vec<Change>,
}

impl Collector {
    /// An empty one. The states of `filter` select nothing here: a report shows those asked for.
    #[must_use]
    pub fn new(filter: &Filter, by: By, watched_from: Nanos) -> Self {
        Self {
            filter: Filter {
                states: Vec::new(),
                ..filter.clone()
            },
            watched_from,
            totals: Totals::default(),
            keyed: Keyed::new(by, KEYS),
            batch: Vec::new(),
        }
    }

    /// Takes a change, to be counted by [`Self::sort`]: while it is reported, the table is not at hand.
    pub fn take(&mut self, change: &Change) {
        if change.dwell.is_some() {
            self.batch.push(*change);
        }
    }

    /// Counts the changes taken, by whom the engine says that they are of. Where processes run must have been found
    /// out, if the filter asks for places.
    pub fn sort(&mut self, engine: &Engine) {
        let Self {
            filter,
            watched_from,
            totals,
            keyed,
            batch,
        } = self;
        for change in batch.drain(..) {
            let Change {
                ends,
                netns,
                role,
                owner,
                id,
                ..
            } = &change;
            let Some(facts) = facts(engine, filter, ends, *netns, *role, *owner, id.cookie) else {
                continue;
            };
            totals.count(&change, *watched_from);
            keyed.count(&change, &facts, *watched_from);
        }
    }

    /// What has ended.
    #[must_use]
    pub fn ended(&self, engine: &Engine) -> Report {
        self.named(self.counted(), engine)
    }

    /// What has ended, and what the table still has at `now`.
    #[must_use]
    pub fn report(&self, engine: &Engine, now: Nanos) -> Report {
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
            let places = engine.table.processes.places_by_cgroup();
            report.find_places(|id| places.get(&id).copied().cloned());
        }
        report
    }

    /// Where processes run must have been found out, of those that are told apart by it or by a filter of it.
    #[must_use]
    pub fn asks_for_places(&self) -> bool {
        self.filter.asks_for_places() || self.keyed.by() == By::Cgroup
    }

    /// What has ended of one of those told apart; nothing where there was none, or it is among the rest.
    #[must_use]
    pub fn cells_of(&self, key: &Key) -> Option<&Cells> {
        self.keyed.get(key)
    }

    /// Forgets what has ended.
    pub fn begin_interval(&mut self) {
        self.totals.clear();
        self.keyed.clear();
    }
}

/// Whom a connection counts for; `None` where the filter does not want it.
fn facts<'a>(
    engine: &'a Engine,
    filter: &Filter,
    ends: &'a Ends,
    netns: u32,
    role: Role,
    owner: Option<Owner>,
    cookie: u64,
) -> Option<Facts<'a>> {
    let subject = Subject {
        ends,
        netns,
        states: &[],
        owner: None,
    };
    if !filter.accepts_ends(&subject) {
        return None;
    }
    let process = view::wanted_process(engine, owner, cookie, filter)?;
    Some(Facts {
        ends,
        netns,
        role,
        owner: process.and_then(|id| engine.table.processes.get(id)),
    })
}

impl Report {
    /// Adds the ages, at `now`, of the connections in the table that `filter` lets pass, which selects no states.
    pub fn take_open(&mut self, engine: &Engine, now: Nanos, watched_from: Nanos, filter: &Filter) {
        let mut all = Cells::default();
        let mut keyed = Keyed::new(self.by, KEYS);
        for connection in engine.table.iter() {
            let Connection {
                ends, netns, owner, ..
            } = connection;
            let role = engine.table.role(connection);
            let cookie = connection.id().cookie;
            let Some(facts) = facts(engine, filter, ends, *netns, role, *owner, cookie) else {
                continue;
            };
            let mut its = keyed.cells_of(&facts);
            let life = &connection.life;
            let (since, began) = (life.since, connection.began);
            measure::open_at(
                now,
                life.state,
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
