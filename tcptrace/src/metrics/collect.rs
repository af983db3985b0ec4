//! Puts the families of one moment together, within the budget of series.

use super::{
    Evaluation, Family, Own,
    catalogue::{self, BUDGET, EVALUATION_AGE, EVICTED_KEYS, FOLDED, SERIES},
    counts::Counts,
    durations, own, populations, seconds, series,
};
use crate::{
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    owner::kubernetes::Names,
    view::population::Population,
};
use std::collections::HashSet;

/// What metrics are made of.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The engine, which counts the changes that `filter` accepts.
    pub(crate) engine: &'a Engine,
    pub(crate) filter: &'a Filter,
    pub(crate) counts: &'a mut Counts,
    /// The latest, if there was one.
    pub(crate) evaluation: Option<&'a Evaluation>,
    pub(crate) own: &'a Own,
    /// Of Kubernetes' pods and containers.
    pub(crate) names: &'a Names,
    /// [`super::budget::LEAST`] or more.
    pub(crate) max_series: usize,
}

/// Dimensions of sockets: each has at least a row for the others.
const DIMENSIONS: usize = 5;

/// Families that are added last: the series, its limit, and one for each dimension.
const LAST: usize = 16;

/// The families at `now`, in the order of the catalogue, with at most `max_series` series. What counters have until then
/// counts as published.
pub(crate) fn collect(source: Source<'_>, now: Nanos) -> Vec<Family> {
    let Source {
        engine,
        filter,
        counts,
        evaluation,
        own,
        names,
        max_series,
    } = source;
    let population = Population::of(engine, now, filter);
    let mut families = populations::of_all(&population);
    families.extend(durations::of_stats(engine.shown()));
    families.extend(durations::of_counts(counts, now));
    families.extend(own::families(own, now));
    let mut folded = Vec::new();
    if let Some(evaluation) = evaluation {
        let age = seconds(now.since(evaluation.made));
        families.push(Family::single(&EVALUATION_AGE, age));
        families.extend(evaluation.families.iter().cloned());
        folded.extend(&evaluation.folded);
    }
    let left = max_series.saturating_sub(series(&families) + LAST);
    let left = left.max(DIMENSIONS * TcpState::COUNT);
    let name = |netns| evaluation.and_then(|evaluation| evaluation.netns_names.get(&netns).cloned());
    let dimensions = populations::dimensions(&population, engine, names, name);
    let (sockets, of_sockets) = populations::families(dimensions, left);
    families.extend(sockets);
    folded.extend(&of_sockets);
    let evicted_listeners = evaluation.map(|evaluation| evaluation.evicted_listeners);
    families.extend(budget(&folded, counts, evicted_listeners));
    debug_assert!(
        families.iter().all(has_unique_labels),
        "a set of labels is there twice"
    );
    let total = series(&families) as u64 + 2;
    families.push(Family::single(&BUDGET, max_series as u64));
    families.push(Family::single(&SERIES, total));
    families.retain(|family| !family.samples.is_empty());
    families.sort_by_key(|family| catalogue::ALL.iter().position(|what| *what == family.what));
    families
}

fn budget(folded: &[(&'static str, u64)], counts: &Counts, evicted_listeners: Option<u64>) -> [Family; 2] {
    let [mut keys, mut evicted] = [&FOLDED, &EVICTED_KEYS].map(Family::new);
    for (dimension, count) in folded {
        keys.add([(*dimension).into()], *count);
    }
    let of_listeners = evicted_listeners.map(|count| ("listener_drops", count));
    for (dimension, count) in counts.evicted().into_iter().chain(of_listeners) {
        evicted.add([dimension.into()], count);
    }
    [keys, evicted]
}

/// Whether no set of labels is there twice, for which Prometheus refuses a scrape as a whole.
fn has_unique_labels(family: &Family) -> bool {
    let mut seen = HashSet::with_capacity(family.samples.len());
    family.samples.iter().all(|sample| seen.insert(&sample.labels))
}
