//! Durations by whom they are of, at one moment: what every form of `hist` prints, built from a run or read from
//! dumps. Reports merge, in any order.

use super::{
    cells::Cells,
    key::{By, Named},
    keyed::Keyed,
    measure::{Kind, Measure},
    survival::{self, Curve, Watched},
    totals::Totals,
};
use crate::event::Nanos;
use hashbrown::HashMap;
use hdrhistogram::Histogram;

/// Whom durations are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Everybody.
    All,
    /// One of those told apart.
    One(Named),
    /// Those that were not active enough to be told apart.
    Rest,
}

/// The durations of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The host, where several may be in one report; `None` for all of them together.
    pub host: Option<String>,
    /// Who.
    pub who: Who,
    /// Its durations.
    pub cells: Cells,
    /// At most so many of its changes are counted in the rest.
    pub missed_at_most: u64,
}

/// Everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is told apart.
    pub by: By,
    /// Everybody, then each.
    pub groups: Vec<Group>,
    /// How often one was put with the rest.
    pub dropped: u64,
}

impl Report {
    /// A report of what has ended, whoever it was.
    #[must_use]
    pub fn of_totals(totals: &Totals, by: By) -> Self {
        let mut report = Self {
            by,
            ..Self::default()
        };
        report.take_total(&totals.cells());
        report
    }

    /// Adds to everybody's.
    pub fn take_total(&mut self, cells: &Cells) {
        self.merge_groups([(None, Who::All, cells, 0)]);
    }

    /// Adds what is known of each.
    pub fn take_keys(&mut self, keyed: &Keyed) {
        let (rest, dropped) = keyed.rest();
        self.dropped += dropped;
        let kept = keyed
            .iter()
            .filter(|kept| !kept.cells.is_empty())
            .map(|kept| (None, Who::One(kept.named), kept.cells, kept.missed_at_most));
        let rest = (!rest.is_empty()).then_some((None, Who::Rest, rest, 0));
        self.merge_groups(kept.chain(rest));
    }

    /// Adds another report.
    pub fn merge(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.merge_groups(other.groups.iter().map(|group| {
            (
                group.host.as_deref(),
                group.who,
                &group.cells,
                group.missed_at_most,
            )
        }));
    }

    /// Everybody's durations, on all hosts together.
    #[must_use]
    pub fn everybody(&self) -> Cells {
        let mut sum = Cells::default();
        let all = self.groups.iter().filter(|group| group.who == Who::All);
        let is_summed = all.clone().any(|group| group.host.is_none());
        for group in all.filter(|group| group.host.is_none() || !is_summed) {
            sum.merge(&group.cells);
        }
        sum
    }

    /// Puts the groups in their order: everybody, host by host; then the most active first; then the rest.
    pub fn sort(&mut self) {
        self.groups.sort_by_cached_key(|group| {
            let rank = match group.who {
                Who::All => 0,
                Who::One(_) => 1,
                Who::Rest => 2,
            };
            let activity = if rank == 0 { 0 } else { group.activity() };
            (rank, std::cmp::Reverse(activity), group.host.clone(), group.who)
        });
    }

    /// Says of every group that it is this host's.
    pub fn name_host(&mut self, host: &str) {
        for group in &mut self.groups {
            group.host = Some(host.to_owned());
        }
    }

    /// Adds a group of everybody on every host, where there are several.
    pub fn add_up_hosts(&mut self) {
        let hosts = self.groups.iter().filter(|group| group.who == Who::All);
        if hosts.count() > 1 {
            let sum = self.everybody();
            self.take_total(&sum);
        }
    }

    fn merge_groups<'a>(&mut self, others: impl IntoIterator<Item = (Option<&'a str>, Who, &'a Cells, u64)>) {
        let mut places: HashMap<(Option<String>, Who), usize> = HashMap::new();
        for (place, group) in self.groups.iter().enumerate() {
            places.insert((group.host.clone(), identity(group.who)), place);
        }
        for (host, who, cells, missed_at_most) in others {
            let host = host.map(str::to_owned);
            let place = *places.entry((host.clone(), identity(who))).or_insert_with(|| {
                self.groups.push(Group {
                    host,
                    who,
                    cells: Cells::default(),
                    missed_at_most: 0,
                });
                self.groups.len() - 1
            });
            let group = &mut self.groups[place];
            // Of a process that changed its name, one of the names, whichever report came first.
            group.who = group.who.max(who);
            group.cells.merge(cells);
            group.missed_at_most += missed_at_most;
        }
    }
}

/// A process is itself whatever its name.
fn identity(who: Who) -> Who {
    match who {
        Who::One(named) => Who::One(Named {
            comm: [0; 16],
            ..named
        }),
        Who::All | Who::Rest => who,
    }
}

impl Group {
    /// What is known of one measure; `None` where nothing is.
    #[must_use]
    pub fn spans(&self, measure: Measure) -> Option<Spans> {
        let spans = Spans::of(&self.cells, measure);
        (!spans.is_empty()).then_some(spans)
    }

    /// Durations that ended or go on.
    #[must_use]
    pub fn activity(&self) -> u64 {
        Measure::all()
            .flat_map(|measure| {
                [Kind::Finished, Kind::LowerBound, Kind::Open, Kind::OpenLowerBound]
                    .map(|kind| self.cells.count(measure, kind))
            })
            .sum()
    }
}

/// All that is known of one measure: the four kinds side by side and never mixed, and the curve that puts together
/// what may be.
#[derive(Clone, Debug)]
pub struct Spans {
    /// What.
    pub measure: Measure,
    /// Over, and seen from end to end.
    pub finished: Histogram<u64>,
    /// Over, at least so long.
    pub lower_bounds: Histogram<u64>,
    /// Ages so far.
    pub open: Histogram<u64>,
    /// Ages so far, at least.
    pub open_lower_bounds: Histogram<u64>,
    /// What the curve is drawn from.
    pub watched: Watched,
    /// The share that is still there after a time.
    pub curve: Curve,
}

/// The greatest of a histogram of lower bounds, not more than what was seen: the lowest value of its bucket.
#[must_use]
pub fn greatest_bound(bounds: &Histogram<u64>) -> Nanos {
    Nanos(bounds.lowest_equivalent(bounds.max()))
}

impl Spans {
    /// Reads them off.
    #[must_use]
    pub fn of(cells: &Cells, measure: Measure) -> Self {
        let ages = |kind| {
            cells
                .buckets(measure, kind)
                .map(|bucket| (bucket.highest, bucket.count))
                .collect()
        };
        let watched = Watched {
            left: ages(Kind::Finished),
            still: ages(Kind::Open),
            // Whoever came and left within one bucket was watched in between.
            late: cells
                .buckets(measure, Kind::LateEntry)
                .map(|bucket| (Nanos(bucket.lowest.0.saturating_sub(1)), bucket.count))
                .collect(),
        };
        Self {
            measure,
            finished: cells.histogram(measure, Kind::Finished),
            lower_bounds: cells.histogram(measure, Kind::LowerBound),
            open: cells.histogram(measure, Kind::Open),
            open_lower_bounds: cells.histogram(measure, Kind::OpenLowerBound),
            curve: survival::curve(&watched),
            watched,
        }
    }

    /// Whether nothing of the kind has been.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [
            &self.finished,
            &self.lower_bounds,
            &self.open,
            &self.open_lower_bounds,
        ]
        .iter()
        .all(|histogram| histogram.is_empty())
    }
}
