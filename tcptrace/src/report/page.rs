//! Everything that a page of a report shows: of each host its report, the scene that rules evaluate, and what was
//! gathered over time, of all connections and of the processes with the most to see. Plain data, in a fixed order.

use super::{
    Report,
    arrows::Arrow,
    gatherer::{Gatherer, Loss, OwnerKey, Scope},
    held::Timeline,
    over_time::{Axis, Bucket, Series},
    redaction::Redactor,
};
use crate::{
    engine::{Engine, collector::Collector},
    event::{Nanos, ProcessKey, TcpState},
    filter::Filter,
    findings::{self, Finding, scene::Scene},
    owner::processes::comm_text,
    stats::{
        bins::Bins,
        key::{By, Key, NamedKey},
        measure::Measure,
        report::{Report as Durations, Spans, Who},
        top_k::TopK,
    },
    view::endpoints::{self, EndpointView, Handshakes},
};
use hashbrown::{HashMap, HashSet};
use std::{cmp::Reverse, collections::BTreeMap};

/// Processes that have a part of their own on a page, on all hosts together.
const MOST_PARTS: usize = 16;

/// At most so many of them are of one host.
const MOST_PARTS_OF_HOST: usize = 8;

/// Endpoints that are listed, in each list.
pub(crate) const MOST_ENDPOINTS: usize = 20;

/// What a page shows: runs in the order of their hosts' names and their beginnings.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) hosts: Vec<Host>,
    /// Whether addresses and names were replaced.
    pub(crate) is_redacted: bool,
}

/// One recording, or one live run.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) report: Report,
    pub(crate) scene: Scene,
    /// What is wrong, worst first.
    pub(crate) findings: Vec<Finding>,
    pub(crate) axis: Axis,
    /// Records lost and gaps, in the order of time.
    pub(crate) losses: Vec<Loss>,
    /// All connections first, then processes, then what is left of them.
    pub(crate) parts: Vec<Part>,
    /// The names of processes that were kept apart.
    pub(crate) owners: BTreeMap<ProcessKey, String>,
    /// Whether there were more processes than are kept apart.
    pub(crate) is_folded: bool,
    /// Endpoints at the end, those with the most local ports first.
    pub(crate) endpoints: Vec<EndpointView>,
}

/// OwnerKey connections a part is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    Process {
        key: ProcessKey,
        comm: String,
    },
    /// The connections whose owner is not known.
    Unknown,
    /// The connections of all processes that have no part of their own.
    Others,
}

/// What is shown of some connections.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) subject: Selection,
    pub(crate) series: Series,
    pub(crate) arrows: Vec<Arrow>,
    /// Dwell times and lifetimes.
    pub(crate) spans: Vec<Spans>,
    /// Handshakes that ended, by endpoint, those with the most failures first; none of [`Selection::Others`].
    pub(crate) handshakes: Vec<EndpointHandshakes>,
    /// The sum of the endpoints that are not listed.
    pub(crate) other_handshakes: Handshakes,
    pub(crate) longest: Vec<Timeline>,
}

/// The handshakes of an endpoint that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointHandshakes {
    pub(crate) key: Key,
    pub(crate) ended: Handshakes,
    /// Whether some more may be among those of the other endpoints.
    pub(crate) is_lower_bound: bool,
}

impl Page {
    /// Puts hosts together; `redact` replaces their addresses and names.
    pub(crate) fn new(mut hosts: Vec<Host>, redact: bool) -> Self {
        if redact {
            let mut redactor = Redactor::default();
            for host in &mut hosts {
                redactor.redact(host);
            }
        }
        for host in &mut hosts {
            host.findings = findings::evaluate(&host.scene);
        }
        Self {
            hosts,
            is_redacted: redact,
        }
    }
}

impl Host {
    /// Puts together what was gathered until the end of `report`, with a part for each of `most` processes.
    pub(crate) fn new(
        report: Report,
        scene: Scene,
        mut gatherer: Gatherer,
        engine: &Engine,
        filter: &Filter,
        most: usize,
    ) -> Self {
        let end = report.to;
        gatherer.finish(engine, end);
        let durations = gatherer.durations.report(engine, end);
        // Handshakes are those of the parts.
        let no_handshakes = Collector::new(filter, By::Endpoint, end);
        let mut endpoints = endpoints::build(engine, end, filter, &no_handshakes, &HashSet::new());
        endpoints.sort_by_key(|row| (Reverse(row.ports_used), Reverse(row.total()), row.key));
        endpoints.truncate(MOST_ENDPOINTS);
        let Gatherer {
            axis,
            losses,
            all,
            by_process,
            rest,
            is_folded,
            ..
        } = gatherer;
        Self {
            report,
            scene,
            findings: Vec::new(),
            axis,
            losses,
            owners: owners(&by_process),
            is_folded,
            parts: parts(all, by_process, rest, &durations, end, most),
            endpoints,
        }
    }

    /// How many processes have a part of their own, on each of so many hosts.
    pub(crate) fn most_parts(hosts: usize) -> usize {
        (MOST_PARTS / hosts.max(1)).clamp(1, MOST_PARTS_OF_HOST)
    }

    /// The part of a process.
    pub(crate) fn part_of(&self, pid: u32, start_ns: u64) -> Option<usize> {
        let wanted = ProcessKey::new(pid, start_ns);
        self.parts
            .iter()
            .position(|part| matches!(&part.subject, Selection::Process { key, .. } if *key == wanted))
    }

    /// The part of connections whose owner is not known.
    pub(crate) fn part_of_unknown(&self) -> Option<usize> {
        self.parts
            .iter()
            .position(|part| part.subject == Selection::Unknown)
    }
}

/// The names of all processes that were kept apart.
fn owners(by_process: &HashMap<OwnerKey, Scope>) -> BTreeMap<ProcessKey, String> {
    let named = by_process
        .iter()
        .filter_map(|(owner_key, scope)| Some(((*owner_key)?, comm_text(&scope.comm).into_owned())));
    named.collect()
}

/// The parts of a page: all, the processes with the most CLOSE_WAITs and the most transitions, and the others.
fn parts(
    all: Scope,
    by_process: HashMap<OwnerKey, Scope>,
    mut rest: Scope,
    durations: &Durations,
    end: Nanos,
    most: usize,
) -> Vec<Part> {
    let mut bins: HashMap<OwnerKey, &Bins> = HashMap::new();
    let mut of_all = Bins::default();
    let mut of_rest = Bins::default();
    for group in &durations.groups {
        match group.who {
            Who::All => of_all.merge(&group.cells),
            Who::One(NamedKey {
                key: Key::Process(owner_key),
                ..
            }) => {
                bins.insert(owner_key, &group.cells);
            }
            Who::One(_) | Who::Rest => of_rest.merge(&group.cells),
        }
    }
    let mut scopes: Vec<(OwnerKey, Scope)> = by_process.into_iter().collect();
    let close_waits = |scope: &Scope| Reverse(scope.series.most(TcpState::CloseWait));
    scopes
        .sort_by_key(|(owner_key, scope)| (close_waits(scope), Reverse(scope.series.changes()), *owner_key));
    // Half of them are those with the most CLOSE_WAITs, where they have any.
    let leaking = scopes
        .iter()
        .take(most.div_ceil(2))
        .filter(|(_, scope)| scope.series.most(TcpState::CloseWait) > 0)
        .count();
    scopes[leaking..].sort_by_key(|(owner_key, scope)| (Reverse(scope.series.changes()), *owner_key));
    let whole = all.series.clone();
    let mut parts = vec![Part::new(Selection::All, all, &of_all)];
    for (at, (owner_key, scope)) in scopes.into_iter().enumerate() {
        let its = bins.remove(&owner_key);
        if at < most {
            let subject = match owner_key {
                Some(key) => Selection::Process {
                    key,
                    comm: comm_text(&scope.comm).into_owned(),
                },
                None => Selection::Unknown,
            };
            parts.push(Part::new(subject, scope, its.unwrap_or(&Bins::default())));
        } else {
            rest.add(&scope, end);
            if let Some(its) = its {
                of_rest.merge(its);
            }
        }
    }
    // Of processes that were added up on the way.
    for its in bins.into_values() {
        of_rest.merge(its);
    }
    rest.series.limit_to(&whole);
    let rest = Part::new(Selection::Others, rest, &of_rest);
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// The endpoints with the most failures, and the sum of the others.
fn handshakes(by_endpoint: &TopK) -> (Vec<EndpointHandshakes>, Handshakes) {
    let mut all: Vec<(EndpointHandshakes, &Bins)> = by_endpoint
        .iter()
        .map(|kept| {
            let row = EndpointHandshakes {
                key: kept.named.key,
                ended: Handshakes::of(kept.cells),
                is_lower_bound: kept.missed_at_most > 0,
            };
            (row, kept.cells)
        })
        .collect();
    let failed = |of: &Handshakes| of.failures().map(|(_, count)| count).sum::<u64>();
    all.sort_by_key(|(row, _)| (Reverse(failed(&row.ended)), Reverse(row.ended.total()), row.key));
    let listed = all.len().min(MOST_ENDPOINTS);
    let mut others = by_endpoint.rest().0.clone();
    for (_, cells) in &all[listed..] {
        others.merge(cells);
    }
    let rows = all[..listed].iter().map(|(row, _)| *row).collect();
    (rows, Handshakes::of(&others))
}

impl Part {
    fn new(subject: Selection, scope: Scope, bins: &Bins) -> Self {
        let (handshakes, other_handshakes) = handshakes(&scope.handshakes);
        Self {
            subject,
            series: scope.series,
            arrows: scope.arrows.all(),
            spans: Measure::all()
                .filter(|measure| !matches!(measure, Measure::Handshake(_)))
                .map(|measure| Spans::of(bins, measure))
                .filter(|spans| !spans.is_empty())
                .collect(),
            handshakes,
            other_handshakes,
            longest: scope.longest.timelines().to_vec(),
        }
    }

    /// Whether there is nothing to see of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrows.is_empty() && self.spans.is_empty()
    }

    pub(crate) fn buckets(&self) -> &[Bucket] {
        self.series.buckets()
    }
}
