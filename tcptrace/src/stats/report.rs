//! Durations by group at one moment: what every format of `hist` prints, built from a run or read from
//! dumps. Reports merge, in any order.

use super::{
    bins::Bins,
    key::{By, Key, NamedKey},
    measure::{Kind, Measure},
    survival::{self, Curve, Watched},
    top_k::TopK,
    totals::Totals,
};
use crate::{event::Nanos, owner::container::Location};
use hashbrown::HashMap;
use hdrhistogram::Histogram;
use std::sync::Arc;

/// Whom durations are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// All connections.
    All,
    /// One key.
    One(NamedKey),
    /// The keys that were merged because they were less active.
    Rest,
}

/// The durations of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The host, where several may be in one report; `None` for all of them together.
    pub host: Option<String>,
    /// The connections that the group covers.
    pub who: Who,
    /// Their durations.
    pub cells: Bins,
    /// Maximum number of its changes that are counted in the rest.
    pub missed_at_most: u64,
    /// Where the processes of a cgroup run, if its path is known; else `None`.
    pub location: Option<Arc<Location>>,
}

/// Everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What durations are grouped by.
    pub by: By,
    /// Everybody, then each.
    pub groups: Vec<Group>,
    /// How often one was put with the rest.
    pub dropped: u64,
}

impl Report {
    /// A report of ended durations of all connections.
    pub(crate) fn of_totals(totals: &Totals, by: By) -> Self {
        let mut report = Self {
            by,
            ..Self::default()
        };
        report.take_total(&totals.cells());
        report
    }

    /// Adds to the group of all connections.
    pub(crate) fn take_total(&mut self, cells: &Bins) {
        self.merge_groups([Part::of(Who::All, cells)]);
    }

    /// Adds what is known of each.
    pub(crate) fn take_keys(&mut self, keyed: &TopK) {
        let (rest, dropped) = keyed.rest();
        self.dropped += dropped;
        let kept = keyed
            .iter()
            .filter(|kept| !kept.cells.is_empty())
            .map(|kept| Part {
                missed_at_most: kept.missed_at_most,
                ..Part::of(Who::One(kept.named), kept.cells)
            });
        let rest = (!rest.is_empty()).then_some(Part::of(Who::Rest, rest));
        self.merge_groups(kept.chain(rest));
    }

    /// Adds another report.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.merge_groups(other.groups.iter().map(|group| Part {
            host: group.host.as_deref(),
            missed_at_most: group.missed_at_most,
            location: group.location.as_ref(),
            ..Part::of(group.who, &group.cells)
        }));
    }

    /// Fills in the paths of cgroups by `find`, which maps an ID to its path, if known.
    pub(crate) fn find_locations(&mut self, mut find: impl FnMut(u64) -> Option<Arc<Location>>) {
        for group in &mut self.groups {
            if let Who::One(NamedKey {
                key: Key::Cgroup(Some(id)),
                ..
            }) = group.who
                && group.location.is_none()
            {
                group.location = find(id);
            }
        }
    }

    /// Everybody's durations, on all hosts together.
    pub(crate) fn everybody(&self) -> Bins {
        let mut sum = Bins::default();
        let all = self.groups.iter().filter(|group| group.who == Who::All);
        let is_summed = all.clone().any(|group| group.host.is_none());
        for group in all.filter(|group| group.host.is_none() || !is_summed) {
            sum.merge(&group.cells);
        }
        sum
    }

    /// Puts the groups in their order: all connections, host by host; then the most active first; then the rest.
    pub(crate) fn sort(&mut self) {
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
    pub(crate) fn name_host(&mut self, host: &str) {
        for group in &mut self.groups {
            group.host = Some(host.to_owned());
        }
    }

    /// Adds a group of all connections on all hosts, if there are several hosts.
    pub(crate) fn add_up_hosts(&mut self) {
        let hosts = self.groups.iter().filter(|group| group.who == Who::All);
        if hosts.count() > 1 {
            let sum = self.everybody();
            self.take_total(&sum);
        }
    }

    fn merge_groups<'a>(&mut self, parts: impl IntoIterator<Item = Part<'a>>) {
        let mut positions: HashMap<(Option<String>, Who), usize> = HashMap::new();
        for (index, group) in self.groups.iter().enumerate() {
            positions.insert((group.host.clone(), identity(group.who)), index);
        }
        for part in parts {
            let host = part.host.map(str::to_owned);
            let at = *positions
                .entry((host.clone(), identity(part.who)))
                .or_insert_with(|| {
                    self.groups.push(Group {
                        host,
                        who: part.who,
                        cells: Bins::default(),
                        missed_at_most: 0,
                        location: None,
                    });
                    self.groups.len() - 1
                });
            let group = &mut self.groups[at];
            // Of a process that changed its name, or a cgroup that did, one of the names, whichever report came first.
            group.who = group.who.max(part.who);
            let names = [group.location.as_ref(), part.location];
            group.location = names
                .into_iter()
                .flatten()
                .max_by(|a, b| a.path.cmp(&b.path))
                .cloned();
            group.cells.merge(part.cells);
            group.missed_at_most += part.missed_at_most;
        }
    }
}

/// What is added to a group.
struct Part<'a> {
    host: Option<&'a str>,
    who: Who,
    cells: &'a Bins,
    missed_at_most: u64,
    location: Option<&'a Arc<Location>>,
}

impl<'a> Part<'a> {
    const fn of(who: Who, cells: &'a Bins) -> Self {
        Self {
            host: None,
            who,
            cells,
            missed_at_most: 0,
            location: None,
        }
    }
}

/// A process is itself whatever its name.
fn identity(who: Who) -> Who {
    match who {
        Who::One(named) => Who::One(NamedKey {
            comm: [0; 16],
            ..named
        }),
        Who::All | Who::Rest => who,
    }
}

impl Group {
    /// Whose it is, for people: `4242/leaky-server`, `cgroup 77 /system.slice/nginx.service`; nothing for those that are
    /// not grouped.
    pub(crate) fn title(&self) -> String {
        match (self.who, &self.location) {
            (Who::One(named), Some(location)) => format!("{named} {}", location.path),
            (Who::One(named), None) => named.to_string(),
            (Who::All | Who::Rest, _) => String::new(),
        }
    }

    /// What is known of one measure; `None` where nothing is.
    pub(crate) fn spans(&self, measure: Measure) -> Option<Spans> {
        let spans = Spans::of(&self.cells, measure);
        (!spans.is_empty()).then_some(spans)
    }

    /// Durations that ended or go on.
    pub(crate) fn activity(&self) -> u64 {
        Measure::all()
            .filter(|measure| !matches!(measure, Measure::Handshake(_)))
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
pub(crate) struct Spans {
    pub(crate) measure: Measure,
    /// Over, and seen from end to end.
    pub(crate) finished: Histogram<u64>,
    /// Ended, lower bounds.
    pub(crate) lower_bounds: Histogram<u64>,
    /// Ages so far.
    pub(crate) open: Histogram<u64>,
    /// Ages so far, at least.
    pub(crate) open_lower_bounds: Histogram<u64>,
    /// What the curve is drawn from.
    pub(crate) watched: Watched,
    /// The share that is still there after a time.
    pub(crate) curve: Curve,
}

/// The greatest of a histogram of lower bounds, not more than what was seen: the lowest value of its bucket.
pub(crate) fn greatest_bound(bounds: &Histogram<u64>) -> Nanos {
    Nanos(bounds.lowest_equivalent(bounds.max()))
}

impl Spans {
    /// Reads them off.
    pub(crate) fn of(cells: &Bins, measure: Measure) -> Self {
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
    pub(crate) fn is_empty(&self) -> bool {
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
