//! Transitions by the pair of states: how many, and how long the state before had lasted.

use crate::{
    connection::change::Change,
    event::{Age, Nanos, TcpState},
    stats::{
        bins::Bins,
        measure::{Kind, Measure},
    },
};
use std::collections::BTreeMap;

/// The transitions of some connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrows {
    /// Connections that began, by the state before, CLOSE or LISTEN, and the first state.
    begun: BTreeMap<(TcpState, TcpState), u64>,
    /// The dwell times of the states before, by the state after.
    ended: [Bins; TcpState::COUNT],
}

/// The transitions between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    pub(crate) from: TcpState,
    pub(crate) to: TcpState,
    pub(crate) count: u64,
    /// The median of the dwell times before it that were seen from end to end; `None` without one.
    pub(crate) median: Option<Nanos>,
}

impl Arrows {
    pub(crate) fn count(&mut self, change: &Change) {
        let Some(dwell) = change.dwell else {
            *self.begun.entry((change.old, change.new)).or_default() += 1;
            return;
        };
        let kind = match dwell {
            Age::Exact(_) => Kind::Finished,
            Age::AtLeast(_) => Kind::LowerBound,
        };
        self.ended[change.new.index()].record(Measure::Dwell(change.old), kind, dwell.span());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (pair, count) in &other.begun {
            *self.begun.entry(*pair).or_default() += count;
        }
        for (sum, more) in self.ended.iter_mut().zip(&other.ended) {
            sum.merge(more);
        }
    }

    /// All that occurred, in the kernel's order of states.
    pub(crate) fn all(&self) -> Vec<Arrow> {
        let states = TcpState::ALL.into_iter();
        let pairs = states.flat_map(|from| TcpState::ALL.map(|to| (from, to)));
        pairs
            .filter_map(|(from, to)| {
                let measure = Measure::Dwell(from);
                let bins = &self.ended[to.index()];
                let ended = bins.count(measure, Kind::Finished) + bins.count(measure, Kind::LowerBound);
                let count = ended + self.begun.get(&(from, to)).copied().unwrap_or(0);
                (count > 0).then(|| Arrow {
                    from,
                    to,
                    count,
                    median: bins.median(&[measure]),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::change::fixture::change_of, event::fixture::endpoints};
    use TcpState::{Close, CloseWait, Established, SynSent};

    #[test]
    fn an_arrow_has_its_count_and_the_median_of_what_was_seen_whole() {
        let ends = endpoints("10.0.0.1:1", "10.0.0.2:2");
        let mut arrows = Arrows::default();
        for dwell in [
            Age::Exact(Nanos(5)),
            Age::AtLeast(Nanos(90)),
            Age::Exact(Nanos(7)),
        ] {
            arrows.count(&change_of(ends, dwell));
        }
        let begins = Change {
            old: Close,
            new: SynSent,
            dwell: None,
            ..change_of(ends, Age::Exact(Nanos(0)))
        };
        arrows.count(&begins);
        let mut twice = arrows.clone();
        twice.add(&arrows);
        let arrow = |from, to, count, median| Arrow {
            from,
            to,
            count,
            median,
        };
        let expected = [
            arrow(Established, CloseWait, 6, Some(Nanos(5))),
            arrow(Close, SynSent, 2, None),
        ];
        assert_eq!(twice.all(), expected);
    }
}
