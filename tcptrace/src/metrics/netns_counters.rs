//! Families of the kernel's counters by network namespace: of those whose counters grow, and the sum of the others' growth.

use super::{
    Description, Family, Label,
    catalogue::{LISTEN_DROPS, LISTEN_OVERFLOWS, RETRANS_SEGS, SYN_COOKIES, TIME_WAIT_OVERFLOWS},
    durations::OTHER,
    keyed::NEW,
};
use crate::{event::Nanos, findings::scene::Netns};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// The counters of the kernel that are families, by their names there.
pub(super) const COUNTERS: [(&str, &Description); 5] = [
    ("ListenOverflows", &LISTEN_OVERFLOWS),
    ("ListenDrops", &LISTEN_DROPS),
    ("TCPTimeWaitOverflow", &TIME_WAIT_OVERFLOWS),
    ("SyncookiesSent", &SYN_COOKIES),
    ("RetransSegs", &RETRANS_SEGS),
];

type Counts = [u64; COUNTERS.len()];

/// A namespace that was not read for this long is forgotten.
const ABSENT: Nanos = Nanos::from_secs(600);

/// What was shown of a namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    /// When it was read last.
    read: Nanos,
    /// What its own series and that of the others have of its counters.
    counts: Counts,
    /// What that of the others has of them: no part of its own series, now or later.
    folded: Counts,
    /// When its own series begins to follow the counters; `None` without one.
    follows_from: Option<Nanos>,
}

/// What was shown of each namespace, so that no increase is missed or counted twice when one gets series of its own or loses
/// them.
#[derive(Debug, Default)]
pub(crate) struct NetnsCounters {
    /// By inode number; `None` before the first reading.
    shown: Option<HashMap<u32, Shown>>,
    rest: Counts,
}

impl NetnsCounters {
    /// The families of these namespaces at `now`, in at most `rows` rows, and how many namespaces are under `other`.
    pub(super) fn families(
        &mut self,
        namespaces: &[Netns],
        rows: usize,
        now: Nanos,
        label: impl Fn(u32) -> Label,
    ) -> ([Family; COUNTERS.len()], u64) {
        let mut sorted: Vec<(&Netns, Counts, Shown)> = namespaces
            .iter()
            .map(|namespace| {
                let (counts, shown) = self.read(namespace);
                (namespace, counts, shown)
            })
            .collect();
        sorted.sort_by_key(|(namespace, counts, shown)| {
            let growth: u64 = minus(counts, &shown.counts).iter().sum();
            (Reverse(growth), shown.follows_from.is_none(), namespace.netns)
        });
        let mut families = COUNTERS.map(|(_, what)| Family::new(what));
        let mut all = self.shown.take().unwrap_or_default();
        all.retain(|_, shown| now.since(shown.read) < ABSENT);
        let kept = rows.saturating_sub(1);
        for (at, (namespace, counts, mut shown)) in sorted.into_iter().enumerate() {
            if at < kept {
                // A new series keeps its first value for as long as one of `Keyed` does.
                if now >= *shown.follows_from.get_or_insert(now.plus(NEW)) {
                    shown.counts = counts;
                }
                let own = minus(&shown.counts, &shown.folded);
                for ((family, (name, _)), count) in families.iter_mut().zip(COUNTERS).zip(own) {
                    if namespace.counters.contains_key(name) {
                        family.add([label(namespace.netns)], count);
                    }
                }
            } else {
                let more = minus(&counts, &shown.counts);
                for sum in [&mut self.rest, &mut shown.folded] {
                    for (sum, more) in sum.iter_mut().zip(more) {
                        *sum += more;
                    }
                }
                shown.counts = counts;
                shown.follows_from = None;
            }
            shown.read = now;
            all.insert(namespace.netns, shown);
        }
        for (family, count) in families.iter_mut().zip(self.rest) {
            if !family.samples.is_empty() {
                family.add([OTHER.into()], count);
            }
        }
        self.shown = Some(all);
        (families, namespaces.len().saturating_sub(kept) as u64)
    }

    /// The counts of a namespace, and what was shown of it. Those of the first reading are shown as they are; of a namespace
    /// that appears later, which may be an old one that could not be read, what it counts from then on. One whose counters
    /// decrease is another with the same inode number, and has begun at 0.
    fn read(&self, namespace: &Netns) -> (Counts, Shown) {
        let before = self.shown.as_ref().and_then(|shown| shown.get(&namespace.netns));
        let Some(before) = before.copied() else {
            let counts = COUNTERS.map(|(name, _)| namespace.counters.get(name).copied().unwrap_or(0));
            let is_first = self.shown.is_none();
            let shown = Shown {
                counts,
                folded: if is_first { Counts::default() } else { counts },
                follows_from: is_first.then_some(Nanos(0)),
                ..Shown::default()
            };
            return (counts, shown);
        };
        // What cannot be read is as it was.
        let mut counts = before.counts;
        for (count, (name, _)) in counts.iter_mut().zip(COUNTERS) {
            *count = namespace.counters.get(name).copied().unwrap_or(*count);
        }
        let is_another = counts
            .iter()
            .zip(before.counts)
            .any(|(now, before)| *now < before);
        (counts, if is_another { Shown::default() } else { before })
    }
}

fn minus(counts: &Counts, others: &Counts) -> Counts {
    let mut difference = *counts;
    for (difference, other) in difference.iter_mut().zip(others) {
        *difference = difference.saturating_sub(*other);
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{findings::fixture::scene, metrics::Value};
    use std::collections::BTreeMap;

    #[test]
    fn what_grows_is_shown_and_no_increase_is_missed() {
        let of = |counts: &[u64]| -> Vec<Netns> {
            let namespaces = (1..).zip(counts).map(|(netns, count)| {
                let mut namespace = scene().namespaces[0].clone();
                namespace.netns = netns;
                namespace.counters = [("ListenDrops".to_owned(), *count)].into();
                namespace
            });
            namespaces.collect()
        };
        let mut counters = NetnsCounters::default();
        let mut read = |second, counts: &[u64]| {
            let now = Nanos::from_secs(second);
            let (families, folded) = counters.families(&of(counts), 3, now, |netns| netns.to_string().into());
            assert_eq!(folded, counts.len().saturating_sub(2) as u64);
            let values = families[1].samples.iter().map(|sample| match sample.value {
                Value::Integer(count) => (sample.labels[0].to_string(), count),
                _ => unreachable!("it counts"),
            });
            values.collect::<BTreeMap<String, u64>>()
        };
        let expected = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
            pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        assert_eq!(read(0, &[5, 6, 7]), expected(&[("1", 5), ("2", 6), ("other", 0)]));
        // The third grows most, and takes the place of one that does not. Its series keeps its first value for a minute.
        for second in [60, 90] {
            let with_third = expected(&[("1", 6), ("3", 7), ("other", 0)]);
            assert_eq!(read(second, &[6, 6, 17]), with_third);
        }
        let with_third = expected(&[("1", 6), ("3", 17), ("other", 0)]);
        assert_eq!(read(125, &[6, 6, 17]), with_third);
        // The second grows less than the others, and a fourth appears.
        assert_eq!(
            read(140, &[16, 7, 27, 2]),
            expected(&[("1", 16), ("3", 27), ("other", 1)])
        );
        // The second has its series again, without what is in that of the others.
        assert_eq!(
            read(200, &[16, 9, 27, 2]),
            expected(&[("1", 16), ("2", 6), ("other", 1)])
        );
        assert_eq!(
            read(265, &[16, 9, 27, 2]),
            expected(&[("1", 16), ("2", 8), ("other", 1)])
        );
        // What has gone away is no decrease.
        let remaining = expected(&[("1", 16), ("2", 8), ("other", 1)]);
        assert_eq!(read(280, &[16, 9]), remaining);
        // Another has the inode number, and begins at 0.
        let begun = |count| expected(&[("1", 16), ("2", count), ("other", 1)]);
        assert_eq!(read(300, &[16, 4]), begun(0));
        assert_eq!(read(365, &[16, 4]), begun(4));
        // One that was not read for a moment goes on.
        assert_eq!(read(380, &[20]), expected(&[("1", 20), ("other", 1)]));
        let both = expected(&[("1", 20), ("2", 9), ("other", 1)]);
        assert_eq!(read(400, &[20, 9]), both);
        // What one has counted before it was read for the first time may be from before the watch.
        assert_eq!(read(420, &[20, 9, 27, 2, 1_000]), both);
        let with_fifth = |count| expected(&[("1", 20), ("5", count), ("other", 1)]);
        assert_eq!(read(440, &[20, 9, 27, 2, 1_003]), with_fifth(0));
        assert_eq!(read(505, &[20, 9, 27, 2, 1_003]), with_fifth(3));
    }
}
