//! Gathers the durations of those connections that a filter lets pass, for one run or one interval of it. Is handed
//! changes, the table and the time.

use super::{
    key::{By, Facts},
    keyed::{KEYS, Keyed},
    measure,
    report::Report,
    totals::Totals,
};
use crate::{
    connection::table::{Change, Connection, Table},
    event::Nanos,
    filter::{Filter, Subject},
    stats::cells::Cells,
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

    /// Counts the changes taken, by whom the table says that they are of.
    pub fn sort(&mut self, table: &Table) {
        let Self {
            filter,
            watched_from,
            totals,
            keyed,
            batch,
        } = self;
        for change in batch.drain(..) {
            let owner = change.owner.and_then(|owner| table.processes.get(owner.process));
            let subject = Subject {
                ends: &change.ends,
                netns: change.netns,
                states: &[],
                owner,
            };
            if !filter.accepts(&subject) {
                continue;
            }
            totals.count(&change, *watched_from);
            let facts = Facts {
                ends: &change.ends,
                netns: change.netns,
                side: change.side,
                owner,
            };
            keyed.count(&change, &facts, *watched_from);
        }
    }

    /// What has ended.
    #[must_use]
    pub fn ended(&self) -> Report {
        let mut report = Report::of_totals(&self.totals, self.keyed.by());
        report.take_keys(&self.keyed);
        report
    }

    /// What has ended, and what the table still has at `now`.
    #[must_use]
    pub fn report(&self, table: &Table, now: Nanos) -> Report {
        let mut report = self.ended();
        report.take_open(table, now, self.watched_from, |connection| {
            let owner = connection
                .owner
                .and_then(|owner| table.processes.get(owner.process));
            self.filter.accepts(&Subject {
                ends: &connection.ends,
                netns: connection.netns,
                states: &[],
                owner,
            })
        });
        report
    }

    /// Forgets what has ended.
    pub fn begin_interval(&mut self) {
        self.totals.clear();
        self.keyed.clear();
    }
}

impl Report {
    /// Adds the ages, at `now`, of the connections in the table that are `wanted`.
    pub fn take_open(
        &mut self,
        table: &Table,
        now: Nanos,
        watched_from: Nanos,
        wanted: impl Fn(&Connection) -> bool,
    ) {
        let mut all = Cells::default();
        let mut keyed = Keyed::new(self.by, KEYS);
        for connection in table.iter().filter(|connection| wanted(connection)) {
            let owner = connection
                .owner
                .and_then(|owner| table.processes.get(owner.process));
            let facts = Facts {
                ends: &connection.ends,
                netns: connection.netns,
                side: table.side(connection),
                owner,
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
