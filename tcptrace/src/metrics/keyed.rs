//! Counters by key for a bounded number of keys. Each stays monotonic as a scraper sees it, and no increase is missed: a new
//! series is published as 0 for a while, since a scraper takes a first value for what was there before. What a key that leaves
//! has counted since it was last published goes to the rest, what was published before is forgotten with its series.

use crate::event::Nanos;
use hashbrown::HashMap;
use std::hash::Hash;

/// A key that has counted nothing for this long leaves.
const IDLE: Nanos = Nanos::from_secs(600);

/// How long a new series keeps its first value: whoever scrapes once a minute, a little late, has seen it, however many
/// scrape.
pub(super) const NEW: Nanos = Nanos::from_secs(65);

#[derive(Clone, Copy, Debug)]
struct Entry<const N: usize> {
    counts: [u64; N],
    /// What the latest collection has published of them.
    published: [u64; N],
    /// When zeros end, which are published from the first collection on; `None` before that.
    counts_from: Option<Nanos>,
    /// Increments, less the medians that were taken off when room was made.
    credit: u64,
    /// The latest collection that found it changed.
    changed: Nanos,
}

/// `N` counters for each of at most `capacity` keys, and those of the rest.
#[derive(Debug)]
pub(crate) struct Keyed<K, const N: usize> {
    capacity: usize,
    entries: HashMap<K, Entry<N>>,
    rest: [u64; N],
    evicted: u64,
    now: Nanos,
}

impl<K: Clone + Eq + Hash + Ord, const N: usize> Keyed<K, N> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(2),
            entries: HashMap::new(),
            rest: [0; N],
            evicted: 0,
            now: Nanos(0),
        }
    }

    /// Adds to one of the counters of a key.
    pub(crate) fn add(&mut self, key: K, counter: usize, more: u64) {
        if more == 0 {
            return;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.make_room();
        }
        let now = self.now;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            counts: [0; N],
            published: [0; N],
            counts_from: None,
            credit: 0,
            changed: now,
        });
        entry.counts[counter] += more;
        entry.credit += 1;
    }

    /// The counters of each key in the order of the keys, and those of the rest, which count as published from now on.
    /// Keys that have been idle leave.
    pub(crate) fn publish(&mut self, now: Nanos) -> (Vec<(K, [u64; N])>, [u64; N]) {
        self.now = now;
        self.entries.retain(|_, entry| {
            let counts_from = *entry.counts_from.get_or_insert_with(|| {
                entry.changed = now;
                now.plus(NEW)
            });
            if now >= counts_from && entry.published != entry.counts {
                entry.changed = now;
                entry.published = entry.counts;
            }
            now.since(entry.changed) < IDLE
        });
        let mut all: Vec<(K, [u64; N])> = self
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), entry.published))
            .collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        (all, self.rest)
    }

    /// How often a key has left for want of room.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// As in [`crate::stats::top_k`]: the median is taken off all, and those that are used up leave.
    fn make_room(&mut self) {
        let mut credits: Vec<u64> = self.entries.values().map(|entry| entry.credit).collect();
        let middle = credits.len() / 2;
        let (_, median, _) = credits.select_nth_unstable(middle);
        let median = *median;
        let Self {
            entries,
            rest,
            evicted,
            ..
        } = self;
        entries.retain(|_, entry| {
            entry.credit = entry.credit.saturating_sub(median);
            if entry.credit > 0 {
                return true;
            }
            for ((rest, count), published) in rest.iter_mut().zip(entry.counts).zip(entry.published) {
                *rest += count - published;
            }
            *evicted += 1;
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What a Prometheus that scrapes every collection adds up, as `increase` does: of a series that it had not seen, the
    /// first value counts for nothing.
    #[derive(Default)]
    struct Scraper {
        latest: BTreeMap<Option<u16>, u64>,
        increase: u64,
    }

    impl Scraper {
        fn scrape(&mut self, keyed: &mut Keyed<u16, 1>, now: Nanos) {
            let (all, [rest]) = keyed.publish(now);
            let series: BTreeMap<Option<u16>, u64> = all
                .into_iter()
                .map(|(key, [count])| (Some(key), count))
                .chain([(None, rest)])
                .collect();
            for (key, count) in &series {
                let Some(before) = self.latest.get(key).copied() else {
                    continue;
                };
                // A lower value is a counter that began again.
                self.increase += if *count >= before { count - before } else { *count };
            }
            self.latest = series;
        }
    }

    proptest! {
        #[test]
        fn a_scraper_sees_every_increment_once(
            keys in prop::collection::vec(0..200_u16, 0..2_000),
            every in 1..50_usize,
            capacity in 2..30_usize,
        ) {
            let mut keyed = Keyed::<u16, 1>::new(capacity);
            let mut scraper = Scraper::default();
            scraper.scrape(&mut keyed, Nanos(0));
            for (at, key) in keys.iter().enumerate() {
                keyed.add(*key, 0, 1);
                prop_assert!(keyed.entries.len() <= capacity);
                if at % every == 0 {
                    scraper.scrape(&mut keyed, Nanos::from_secs(at as u64));
                }
            }
            // A key that is new is published as 0 first.
            let end = Nanos::from_secs(keys.len() as u64);
            for now in [end, end.plus(NEW)] {
                scraper.scrape(&mut keyed, now);
            }
            prop_assert_eq!(scraper.increase, keys.len() as u64);
        }
    }

    #[test]
    fn each_of_several_scrapers_sees_a_new_series_from_its_beginning() {
        let mut keyed = Keyed::<u16, 1>::new(50);
        // A pair that scrapes once a minute, one of them late, and one that scrapes four times as often.
        let mut scrapers = [(60, 0), (60, 59), (15, 7)].map(|phase| (phase, Scraper::default()));
        let mut increments = 0;
        for second in 0..600_u64 {
            if second < 300 {
                keyed.add(u16::try_from(second / 10).expect("few"), 0, 1);
                increments += 1;
            }
            for ((every, at), scraper) in &mut scrapers {
                if second % *every == *at {
                    scraper.scrape(&mut keyed, Nanos::from_secs(second));
                }
            }
        }
        for (phase, scraper) in scrapers {
            assert_eq!(scraper.increase, increments, "{phase:?}");
        }
    }

    #[test]
    fn a_pause_in_the_collections_costs_no_count() {
        for pause in [560, 700] {
            let mut keyed = Keyed::<u16, 1>::new(50);
            let mut scraper = Scraper::default();
            scraper.scrape(&mut keyed, Nanos(0));
            keyed.add(1, 0, 3);
            for second in [pause, pause + 60, pause + 120] {
                scraper.scrape(&mut keyed, Nanos::from_secs(second));
            }
            assert_eq!(scraper.increase, 3, "{pause}");
        }
    }

    #[test]
    fn a_key_that_comes_back_begins_again_at_0() {
        let at = |keyed: &mut Keyed<u16, 1>, second| {
            let (all, [rest]) = keyed.publish(Nanos::from_secs(second));
            (
                all.iter().find(|(key, _)| *key == 7).map(|(_, [count])| *count),
                rest,
            )
        };
        let mut keyed = Keyed::new(2);
        keyed.add(7, 0, 1);
        assert_eq!(at(&mut keyed, 0), (Some(0), 0));
        assert_eq!(at(&mut keyed, 65), (Some(1), 0));
        // Others take its place; it comes back before the next collection, and has counted more than before.
        for key in [1, 2, 2] {
            keyed.add(key, 0, 1);
        }
        for _ in 0..5 {
            keyed.add(7, 0, 1);
        }
        // A push that is due after a scrape sees it, too.
        for second in [66, 126] {
            assert_eq!(at(&mut keyed, second).0, Some(0));
        }
        assert_eq!(at(&mut keyed, 131), (Some(5), 1));
    }

    #[test]
    fn a_key_that_is_idle_leaves() {
        let mut keyed = Keyed::<u16, 2>::new(8);
        keyed.add(7, 1, 3);
        for second in [0, 1, 64] {
            assert_eq!(
                keyed.publish(Nanos::from_secs(second)),
                (vec![(7, [0, 0])], [0, 0])
            );
        }
        assert_eq!(keyed.publish(Nanos::from_secs(65)), (vec![(7, [0, 3])], [0, 0]));
        assert_eq!(keyed.publish(Nanos::from_secs(600)).0.len(), 1);
        assert_eq!(keyed.publish(Nanos::from_secs(700)), (vec![], [0, 0]));
        assert_eq!(keyed.evicted(), 0);
    }
}
