//! Families of listeners: the fullest accept queue of each set of labels, and what the kernel has dropped.

use super::{
    Family, Label,
    catalogue::{ACCEPT_QUEUE, ACCEPT_QUEUE_LIMIT, LISTENER_DROPS},
    durations::OTHER,
    keyed::Keyed,
};
use crate::{event::Nanos, findings::reading::Queue};
use hashbrown::HashMap;
use std::{cmp::Ordering, collections::BTreeMap};

/// Network namespace, process, address and port.
pub(super) type Labels = [Label; 4];

/// Drops by listener since tracing began. A socket's own count goes away with it, and several sockets may listen on one port;
/// so what each has dropped since it was last read is added up.
#[derive(Debug)]
pub(crate) struct ListenerDrops {
    /// The latest count of each socket, by cookie; `None` before the first reading, whose counts are of earlier times.
    latest: Option<HashMap<u64, u32>>,
    by_labels: Keyed<Labels, 1>,
}

impl ListenerDrops {
    pub(crate) fn new(max_series: usize) -> Self {
        Self {
            latest: None,
            by_labels: Keyed::new(rows(super::budget::part(max_series))),
        }
    }

    /// How many listeners have left their series for want of room.
    pub(super) const fn evicted(&self) -> u64 {
        self.by_labels.evicted()
    }

    fn note(&mut self, listeners: &[(u64, Labels, Queue)]) {
        if listeners.is_empty() && self.latest.is_none() {
            return;
        }
        let counts: HashMap<u64, u32> = listeners
            .iter()
            .filter_map(|(cookie, _, queue)| Some((*cookie, queue.drops?)))
            .collect();
        if let Some(latest) = &self.latest {
            for (cookie, labels, _) in listeners {
                let Some(count) = counts.get(cookie) else { continue };
                let before = latest.get(cookie).copied().unwrap_or(0);
                self.by_labels
                    .add(labels.clone(), 0, count.wrapping_sub(before).into());
            }
        }
        self.latest = Some(counts);
    }
}

/// How many listeners have series of their own, beside one for the others.
fn rows(part: usize) -> usize {
    (part / 3).saturating_sub(1)
}

/// Which of two queues is nearer to its limit.
fn by_fullness(a: &Queue, b: &Queue) -> Ordering {
    let share = |of: &Queue, other: &Queue| u64::from(of.unread) * u64::from(other.unsent.max(1));
    share(a, b).cmp(&share(b, a)).then(a.unread.cmp(&b.unread))
}

/// The families of the sockets that listen, in at most `part` series, and how many sets of labels are under `other`.
pub(super) fn families(
    listeners: &[(u64, Labels, Queue)],
    drops: &mut ListenerDrops,
    part: usize,
    now: Nanos,
) -> ([Family; 3], u64) {
    drops.note(listeners);
    let mut fullest: BTreeMap<&Labels, Queue> = BTreeMap::new();
    for (_, labels, queue) in listeners {
        let known = fullest.entry(labels).or_insert(*queue);
        if by_fullness(queue, known).is_gt() {
            *known = *queue;
        }
    }
    let mut sorted: Vec<(Labels, Queue)> = fullest
        .into_iter()
        .map(|(labels, queue)| (labels.clone(), queue))
        .collect();
    sorted.sort_by(|(_, a), (_, b)| by_fullness(b, a));
    let others = sorted.split_off(rows(part).min(sorted.len()));
    let folded = others.len() as u64;
    // The first of them is the fullest.
    let other = others.into_iter().next();
    sorted.extend(other.map(|(_, queue)| (rest(), queue)));
    let [mut waiting, mut limit, mut dropped] =
        [&ACCEPT_QUEUE, &ACCEPT_QUEUE_LIMIT, &LISTENER_DROPS].map(Family::new);
    for (labels, queue) in sorted {
        waiting.add(labels.clone(), u64::from(queue.unread));
        limit.add(labels, u64::from(queue.unsent));
    }
    let (counts, [other]) = drops.by_labels.publish(now);
    for (labels, [count]) in counts {
        dropped.add(labels, count);
    }
    dropped.add(rest(), other);
    ([waiting, limit, dropped], folded)
}

fn rest() -> Labels {
    [OTHER; 4].map(Label::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Value, budget::LEAST};

    fn labels(port: &'static str) -> Labels {
        ["1", "app", "0.0.0.0", port].map(Label::from)
    }

    fn queue(unread: u32, unsent: u32, drops: u32) -> Queue {
        Queue {
            unread,
            unsent,
            drops: Some(drops),
        }
    }

    fn value(family: &Family, labels: &Labels) -> Option<u64> {
        let sample = family.samples.iter().find(|sample| sample.labels == labels)?;
        match sample.value {
            Value::Integer(count) => Some(count),
            Value::Real(_) | Value::Distribution(_) => None,
        }
    }

    #[test]
    fn one_worker_that_is_stuck_is_not_hidden_by_the_others() {
        let mut drops = ListenerDrops::new(LEAST);
        let workers: Vec<_> = (0..8)
            .map(|number| {
                (
                    number,
                    labels("80"),
                    queue(if number == 3 { 129 } else { 0 }, 128, 0),
                )
            })
            .collect();
        let ([waiting, limit, _], folded) = families(&workers, &mut drops, 80, Nanos(0));
        assert_eq!(value(&waiting, &labels("80")), Some(129));
        assert_eq!((value(&limit, &labels("80")), folded), (Some(128), 0));
        // A long queue with room is not the fullest.
        let two = [
            (1, labels("80"), queue(200, 4_096, 0)),
            (2, labels("80"), queue(11, 10, 0)),
        ];
        let ([waiting, limit, _], _) = families(&two, &mut drops, 80, Nanos(0));
        assert_eq!(value(&waiting, &labels("80")), Some(11));
        assert_eq!(value(&limit, &labels("80")), Some(10));
    }

    #[test]
    fn drops_only_grow_while_sockets_come_and_go() {
        type Step = (&'static [(u64, u32)], Option<u64>);
        let mut drops = ListenerDrops::new(LEAST);
        let steps: [Step; 7] = [
            // What was dropped before the first reading is not known to be new.
            (&[(1, 100), (2, 50)], None),
            // A new series begins at 0, for a minute.
            (&[(1, 103), (2, 50)], Some(0)),
            (&[(1, 103), (2, 50)], Some(3)),
            // One of the sockets is closed.
            (&[(1, 104)], Some(4)),
            // A new one has dropped seven, and both are read.
            (&[(1, 104), (3, 7)], Some(11)),
            (&[], Some(11)),
            (&[(4, 1)], Some(12)),
        ];
        for (at, (sockets, expected)) in steps.into_iter().enumerate() {
            let listeners: Vec<_> = sockets
                .iter()
                .map(|(cookie, count)| (*cookie, labels("80"), queue(0, 128, *count)))
                .collect();
            let ([_, _, dropped], _) = families(&listeners, &mut drops, 80, Nanos::from_secs(65 * at as u64));
            assert_eq!(value(&dropped, &labels("80")), expected, "step {at}");
            assert_eq!(value(&dropped, &rest()), Some(0));
        }
    }
}
