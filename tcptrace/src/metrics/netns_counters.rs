//! Families of the kernel's counters by network namespace: of those whose counters grow, and the sum of the others' growth.

use super::{
    Description, Family, Label,
    catalogue::{LISTEN_DROPS, LISTEN_OVERFLOWS, RETRANS_SEGS, SYN_COOKIES, TIME_WAIT_OVERFLOWS},
    durations::OTHER,
};
use crate::findings::scene::Netns;
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

/// What was shown of a namespace.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// What its own series, or that of the others, has of its counters.
    counts: Counts,
    has_series: bool,
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
    /// The families of these namespaces, in at most `rows` rows, and how many namespaces are under `other`.
    pub(super) fn families(
        &mut self,
        namespaces: &[Netns],
        rows: usize,
        label: impl Fn(u32) -> Label,
    ) -> ([Family; COUNTERS.len()], u64) {
        let mut sorted: Vec<(&Netns, Counts, Shown)> = namespaces
            .iter()
            .map(|namespace| {
                let counts = COUNTERS.map(|(name, _)| namespace.counters.get(name).copied().unwrap_or(0));
                (namespace, counts, self.shown_of(namespace.netns, counts))
            })
            .collect();
        sorted.sort_by_key(|(namespace, counts, shown)| {
            let growth: u64 = growth(counts, shown).iter().sum();
            (Reverse(growth), !shown.has_series, namespace.netns)
        });
        let mut families = COUNTERS.map(|(_, what)| Family::new(what));
        let mut all = HashMap::new();
        let kept = rows.saturating_sub(1);
        for (at, (namespace, counts, mut shown)) in sorted.into_iter().enumerate() {
            if at < kept {
                // A new series begins with what the others' has of it.
                if std::mem::replace(&mut shown.has_series, true) {
                    shown.counts = counts;
                }
                for ((family, (name, _)), count) in families.iter_mut().zip(COUNTERS).zip(shown.counts) {
                    if namespace.counters.contains_key(name) {
                        family.add([label(namespace.netns)], count);
                    }
                }
            } else {
                for (rest, more) in self.rest.iter_mut().zip(growth(&counts, &shown)) {
                    *rest += more;
                }
                shown = Shown {
                    counts,
                    has_series: false,
                };
            }
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

    /// What was shown of a namespace that has these counts now. Those of the first reading are from earlier times; a namespace
    /// that appears later has begun at 0.
    fn shown_of(&self, netns: u32, counts: Counts) -> Shown {
        match &self.shown {
            None => Shown {
                counts,
                has_series: true,
            },
            Some(shown) => shown.get(&netns).copied().unwrap_or(Shown {
                counts: [0; COUNTERS.len()],
                has_series: false,
            }),
        }
    }
}

fn growth(counts: &Counts, shown: &Shown) -> Counts {
    let mut growth = *counts;
    for (growth, shown) in growth.iter_mut().zip(shown.counts) {
        *growth = growth.saturating_sub(shown);
    }
    growth
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
        let mut read = |counts: &[u64]| {
            let (families, folded) = counters.families(&of(counts), 3, |netns| netns.to_string().into());
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
        assert_eq!(read(&[5, 6, 7]), expected(&[("1", 5), ("2", 6), ("other", 0)]));
        // The third grows most, and takes the place of one that does not.
        assert_eq!(read(&[6, 6, 17]), expected(&[("1", 6), ("3", 7), ("other", 0)]));
        assert_eq!(read(&[6, 6, 17]), expected(&[("3", 17), ("1", 6), ("other", 0)]));
        // The second grows less than the others, and a fourth appears.
        assert_eq!(
            read(&[16, 7, 27, 2]),
            expected(&[("1", 16), ("3", 27), ("other", 3)])
        );
        // What has gone away is no decrease.
        assert_eq!(read(&[16, 7]), expected(&[("1", 16), ("2", 7), ("other", 3)]));
    }
}
