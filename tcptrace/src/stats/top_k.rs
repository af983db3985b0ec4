//! Durations by key, for a bounded number of keys: the most active ones are kept, the rest is one sum.
//!
//! Which are kept is decided as in "A High-Performance Algorithm for Identifying Frequent Items in Data Streams"
//! (Anderson, Bevan, Lang, Liberty, Rhodes, Thaler; IMC 2017): a map of counters, and when it is full the median
//! is taken off all of them and those that are used up leave. Unlike Space-Saving (Metwally and others, 2005) this
//! needs no order of keys by count, and one pass over the map makes room for half of it.

use super::{
    bins::Bins,
    key::{By, Facts, Key, NamedKey},
    measure,
};
use crate::{connection::change::Change, event::Nanos};
use hashbrown::HashMap;

/// Maximum number of keys. Any key that has more than one in half as many of all the changes counted
/// is among them.
pub(crate) const KEYS: usize = 2_048;

/// The durations of one key since it was last inserted.
#[derive(Debug)]
struct Entry {
    comm: [u8; 16],
    /// Changes counted, less the medians taken off.
    credit: u64,
    /// The sum of all medians when it was inserted: the maximum number of its changes that are in the rest.
    missed_at_most: u64,
    cells: Bins,
}

/// The keys and the rest.
#[derive(Debug)]
pub(crate) struct TopK {
    by: By,
    capacity: usize,
    entries: HashMap<Key, Entry>,
    rest: Bins,
    /// How often a key was put with the rest.
    dropped: u64,
    taken_off: u64,
    spare: Vec<Bins>,
    credits: Vec<u64>,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    pub(crate) named: NamedKey,
    pub(crate) cells: &'a Bins,
    /// Maximum number of its changes that are in the rest.
    pub(crate) missed_at_most: u64,
}

impl TopK {
    /// An empty one for at most `capacity` keys.
    pub(crate) fn new(by: By, capacity: usize) -> Self {
        Self {
            by,
            capacity: capacity.max(2),
            entries: HashMap::new(),
            rest: Bins::default(),
            dropped: 0,
            taken_off: 0,
            spare: Vec::new(),
            credits: Vec::new(),
        }
    }

    /// What durations are grouped by.
    pub(crate) const fn by(&self) -> By {
        self.by
    }

    /// Takes in what a change has ended. `watched_from` is when the tracer began.
    pub(crate) fn count(&mut self, change: &Change, facts: &Facts<'_>, watched_from: Nanos) {
        if change.dwell.is_none() {
            return;
        }
        if let Some(cells) = self.cells_of(facts) {
            measure::ended_by(change, watched_from, |measure, kind, span| {
                cells.record(measure, kind, span);
            });
        }
    }

    /// The durations of the key of these facts, which is inserted if it is new; `None` if
    /// durations are grouped by state only.
    pub(crate) fn cells_of(&mut self, facts: &Facts<'_>) -> Option<&mut Bins> {
        let key = Key::of(self.by, facts)?;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.make_room();
        }
        let Self {
            entries,
            spare,
            taken_off,
            ..
        } = self;
        let entry = entries.entry(key).or_insert_with(|| Entry {
            comm: [0; 16],
            credit: 0,
            missed_at_most: *taken_off,
            cells: spare.pop().unwrap_or_default(),
        });
        entry.credit += 1;
        if let (Key::Process(_), Some(owner)) = (key, facts.owner) {
            entry.comm = owner.comm;
        }
        Some(&mut entry.cells)
    }

    /// The durations of one key, where it is kept.
    pub(crate) fn get(&self, key: &Key) -> Option<&Bins> {
        self.entries.get(key).map(|entry| &entry.cells)
    }

    /// The keys, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Kept<'_>> {
        self.entries.iter().map(|(key, entry)| Kept {
            named: NamedKey {
                key: *key,
                comm: entry.comm,
            },
            cells: &entry.cells,
            missed_at_most: entry.missed_at_most,
        })
    }

    /// The sum of those not kept, and how often one was put there.
    pub(crate) const fn rest(&self) -> (&Bins, u64) {
        (&self.rest, self.dropped)
    }

    /// Forgets the durations, as at the beginning of an interval; which keys are the active ones is remembered.
    pub(crate) fn clear(&mut self) {
        for entry in self.entries.values_mut() {
            entry.cells.clear();
        }
        self.rest.clear();
    }

    fn make_room(&mut self) {
        let Self {
            entries,
            rest,
            dropped,
            taken_off,
            spare,
            credits,
            ..
        } = self;
        credits.clear();
        credits.extend(entries.values().map(|entry| entry.credit));
        let middle = credits.len() / 2;
        let (_, median, _) = credits.select_nth_unstable(middle);
        let median = *median;
        *taken_off += median;
        entries.retain(|_, entry| {
            entry.credit = entry.credit.saturating_sub(median);
            if entry.credit > 0 {
                return true;
            }
            rest.merge(&entry.cells);
            *dropped += 1;
            let mut cells = std::mem::take(&mut entry.cells);
            cells.clear();
            spare.push(cells);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::change::fixture::change_of,
        event::{Age, TcpState, fixture::endpoints},
        stats::measure::{Kind, Measure},
    };
    use proptest::prelude::*;

    const DWELL: Measure = Measure::Dwell(TcpState::Established);

    fn change(port: u16) -> Change {
        let endpoints = endpoints(&format!("10.0.0.1:{port}"), "10.0.0.2:443");
        change_of(endpoints, Age::Exact(Nanos(1_000)))
    }

    fn count(keyed: &mut TopK, port: u16) {
        let change = change(port);
        let facts = Facts {
            endpoints: &change.endpoints,
            netns: change.netns,
            role: change.role,
            owner: None,
        };
        keyed.count(&change, &facts, Nanos(0));
    }

    proptest! {
        #[test]
        fn whoever_is_active_enough_is_kept_and_nothing_is_lost(
            ports in prop::collection::vec(0..60_u16, 0..600),
            capacity in 2..20_usize,
        ) {
            let mut keyed = TopK::new(By::Tuple, capacity);
            for port in &ports {
                count(&mut keyed, *port);
            }
            prop_assert!(keyed.entries.len() <= capacity);
            let mut sum = keyed.rest().0.clone();
            for kept in keyed.iter() {
                sum.merge(kept.cells);
            }
            prop_assert_eq!(sum.count(DWELL, Kind::Finished), ports.len() as u64);
            for port in 0..60 {
                let its = ports.iter().filter(|other| **other == port).count() as u64;
                let kept = keyed.iter().find(|kept| match kept.named.key {
                    Key::Tuple { endpoints, .. } => endpoints.local_port == port,
                    _ => false,
                });
                if its > ports.len() as u64 / (capacity as u64 / 2) {
                    prop_assert!(kept.is_some(), "{port} has {its} of {}", ports.len());
                }
                if let Some(kept) = kept {
                    let told = kept.cells.count(DWELL, Kind::Finished);
                    prop_assert!(told <= its && its <= told + kept.missed_at_most);
                }
            }
        }
    }

    #[test]
    fn the_parts_of_those_dropped_are_used_again() {
        let mut keyed = TopK::new(By::Tuple, 64);
        for round in 0..10_u16 {
            for port in 0..1_000 {
                count(&mut keyed, round * 1_000 + port);
            }
        }
        assert!(keyed.spare.len() + keyed.entries.len() <= 64);
    }
}
