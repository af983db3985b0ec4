//! Families of what an evaluation of the moment finds: findings, leaks, descriptors, ports, listeners, and the kernel's
//! counters.

use super::{
    Family, Label,
    budget::part,
    catalogue::{
        DESCRIPTORS, DESCRIPTORS_LIMIT, EVALUATED, EXHAUSTION, FINDINGS, LEAKED_AGE, LEAKED_SOCKETS, MEMORY,
        MEMORY_THRESHOLD, PORTS_AVAILABLE, PORTS_USED,
    },
    durations::{OTHER, UNKNOWN, name_label},
    listeners::{self, ListenerDrops},
    netns_counters::{COUNTERS, NetnsCounters},
    populations::netns_label,
    seconds,
};
use crate::{
    event::{Nanos, TcpState},
    findings::{
        Finding, Level,
        leak::{self, Leak},
        reading::Queue,
        rules::{self, ephemeral_ports, tcp_memory},
        scene::{Descriptors, Scene, Socket},
        verdict::Verdict,
    },
};
use hashbrown::HashMap;
use serde::Serialize as _;
use std::{cmp::Reverse, collections::BTreeMap, fmt};

/// Counters that go on from one evaluation to the next.
#[derive(Debug)]
pub(crate) struct Totals {
    drops: ListenerDrops,
    counters: NetnsCounters,
}

impl Totals {
    pub(crate) fn new(max_series: usize) -> Self {
        Self {
            drops: ListenerDrops::new(max_series),
            counters: NetnsCounters::default(),
        }
    }
}

/// What was found at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluation {
    /// When it was made.
    pub(super) made: Nanos,
    pub(super) families: Vec<Family>,
    /// Keys that are left out or under `other`, by dimension.
    pub(super) folded: Vec<(&'static str, u64)>,
    /// Listeners whose series of drops went away for want of room.
    pub(super) evicted_listeners: u64,
    /// The names of network namespaces that have one of their own.
    pub(super) netns_names: HashMap<u32, String>,
}

impl Evaluation {
    /// Of a scene at `made`, and its findings. `queues` are those of listeners, by cookie. The families have a bounded number
    /// of series, which depends on `max_series`.
    pub(crate) fn of(
        scene: &Scene,
        findings: &[Finding],
        queues: &HashMap<u64, Queue>,
        totals: &mut Totals,
        page_bytes: u64,
        made: Nanos,
        max_series: usize,
    ) -> Self {
        let mut evaluation = Self {
            made,
            netns_names: netns_names(scene),
            ..Self::default()
        };
        let part = part(max_series);
        evaluation.families = vec![
            Family::single(&EVALUATED, seconds(scene.watched)),
            counted(findings),
        ];
        evaluation.add_leaks(scene, part);
        evaluation.add_descriptors(scene, part);
        evaluation.add_ports(scene, part);
        evaluation.add_listeners(scene, queues, &mut totals.drops, part);
        evaluation.add_counters(scene, &mut totals.counters, part);
        evaluation.families.extend(memory(scene, page_bytes));
        evaluation
    }

    fn add_leaks(&mut self, scene: &Scene, part: usize) {
        let leaks = leak::leaks(scene);
        let mut verdicts: BTreeMap<Label, [u64; Verdict::ALL.len()]> = BTreeMap::new();
        let mut oldest: BTreeMap<Label, Nanos> = BTreeMap::new();
        let mut exhausted: BTreeMap<Label, Nanos> = BTreeMap::new();
        for leak in &leaks {
            let name = name_of(leak);
            let counts = verdicts.entry(name.clone()).or_default();
            for (verdict, count) in leak.verdicts() {
                let at = Verdict::ALL.iter().position(|of| *of == verdict);
                counts[at.unwrap_or_default()] += count as u64;
            }
            let age = oldest.entry(name.clone()).or_default();
            *age = (*age).max(leak.oldest());
            if let Some(time) = leak.exhausted_in {
                let soonest = exhausted.entry(name).or_insert(time);
                *soonest = (*soonest).min(time);
            }
        }
        let mut sorted: Vec<(Label, [u64; Verdict::ALL.len()])> = verdicts.into_iter().collect();
        // First those that run out of descriptors soonest, then those that leak most.
        sorted.sort_by_key(|(name, counts)| {
            let runs_out = exhausted.get(name).copied();
            (runs_out.is_none(), runs_out, Reverse(counts.iter().sum::<u64>()))
        });
        // Few verdicts are given to one process; at worst each has a series.
        let most = (part / (Verdict::ALL.len() + 2)).max(1);
        let others = sorted.split_off(most.min(sorted.len()));
        self.folded.push(("leaks", others.len() as u64));
        if !others.is_empty() {
            let mut sum = [0; Verdict::ALL.len()];
            for (_, counts) in &others {
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            sorted.push((OTHER.into(), sum));
        }
        let [mut leaked, mut ages, mut exhaustion] =
            [&LEAKED_SOCKETS, &LEAKED_AGE, &EXHAUSTION].map(Family::new);
        for (name, counts) in sorted {
            for (verdict, count) in Verdict::ALL.into_iter().zip(counts) {
                if count > 0 {
                    leaked.add([name.clone(), label_of(verdict)], count);
                }
            }
            if let Some(age) = oldest.get(&name) {
                ages.add([name.clone()], seconds(*age));
            }
            if let Some(time) = exhausted.get(&name) {
                exhaustion.add([name], seconds(*time));
            }
        }
        self.families.extend([leaked, ages, exhaustion]);
    }

    /// Of all processes of a name, the one with the fewest descriptors left.
    fn add_descriptors(&mut self, scene: &Scene, part: usize) {
        let mut worst: BTreeMap<&str, Descriptors> = BTreeMap::new();
        for process in &scene.processes {
            if let Some(descriptors) = process.descriptors {
                let known = worst.entry(&process.comm).or_insert(descriptors);
                if left(descriptors) < left(*known) {
                    *known = descriptors;
                }
            }
        }
        let mut sorted: Vec<(&str, Descriptors)> = worst.into_iter().collect();
        sorted.sort_by(|(_, a), (_, b)| b.share().total_cmp(&a.share()));
        let omitted = sorted.split_off((part / 2).min(sorted.len()));
        self.folded.push(("descriptors", omitted.len() as u64));
        let [mut used, mut limit] = [&DESCRIPTORS, &DESCRIPTORS_LIMIT].map(Family::new);
        for (name, descriptors) in sorted {
            let name = name_label(name);
            used.add([name.clone()], descriptors.used);
            limit.add([name], descriptors.limit);
        }
        self.families.extend([used, limit]);
    }

    fn add_ports(&mut self, scene: &Scene, part: usize) {
        // Beyond these nobody looks for the destination that has the fewest.
        const MOST: usize = 10;
        let [mut used, mut available] = [&PORTS_USED, &PORTS_AVAILABLE].map(Family::new);
        for ports in ephemeral_ports::scarcest(scene, MOST.min(part / 2)) {
            let to = ports.destination;
            let labels = [
                self.netns(to.netns),
                to.local.to_string().into(),
                to.remote.to_string().into(),
                to.port.to_string().into(),
            ];
            used.add(labels.clone(), ports.used as u64);
            available.add(labels, ports.available as u64);
        }
        self.families.extend([used, available]);
    }

    fn add_listeners(
        &mut self,
        scene: &Scene,
        queues: &HashMap<u64, Queue>,
        drops: &mut ListenerDrops,
        part: usize,
    ) {
        let listeners: Vec<_> = scene
            .in_state(TcpState::Listen)
            .filter(|socket| socket.is_asked_for)
            .filter_map(|socket| {
                let queue = queues.get(&socket.cookie)?;
                Some((socket.cookie, self.listener_labels(scene, socket), *queue))
            })
            .collect();
        let (families, folded) = listeners::families(&listeners, drops, part, self.made);
        self.families.extend(families);
        self.folded.push(("listener", folded));
        self.evicted_listeners = drops.evicted();
    }

    fn listener_labels(&self, scene: &Scene, listener: &Socket) -> [Label; 4] {
        let process = scene.owner(listener);
        [
            self.netns(listener.netns),
            process.map_or(UNKNOWN.into(), |process| name_label(&process.comm)),
            listener.endpoints.local().to_string().into(),
            listener.endpoints.local_port.to_string().into(),
        ]
    }

    fn add_counters(&mut self, scene: &Scene, counters: &mut NetnsCounters, part: usize) {
        let rows = part / COUNTERS.len();
        let (families, folded) =
            counters.families(&scene.namespaces, rows, self.made, |netns| self.netns(netns));
        self.families.extend(families);
        self.folded.push(("netns_counters", folded));
    }

    /// Counts processes whose descriptors were not looked up.
    pub(crate) fn note_not_counted(&mut self, processes: usize) {
        self.folded.push(("descriptor_counts", processes as u64));
    }

    pub(super) fn netns(&self, netns: u32) -> Label {
        netns_label(netns, &|inode| self.netns_names.get(&inode).cloned())
    }
}

/// The names of network namespaces, but for those that would be mistaken for another's number or for the rest.
fn netns_names(scene: &Scene) -> HashMap<u32, String> {
    let mut owners: HashMap<&str, Vec<u32>> = HashMap::new();
    for namespace in &scene.namespaces {
        if let Some(name) = namespace.name.as_deref() {
            owners.entry(name).or_default().push(namespace.netns);
        }
    }
    let is_usable = |name: &str| name != OTHER && name != UNKNOWN && name.parse::<u32>().is_err();
    owners
        .into_iter()
        .filter_map(|(name, owners)| match owners[..] {
            [netns] if is_usable(name) => Some((netns, name.to_owned())),
            _ => None,
        })
        .collect()
}

/// How many there are by rule and level; of rules without any 0.
fn counted(findings: &[Finding]) -> Family {
    let mut family = Family::new(&FINDINGS);
    for rule in rules::ALL {
        for level in [Level::Note, Level::Warning, Level::Critical] {
            let is_counted = |finding: &&Finding| finding.rule == rule.id && finding.level == level;
            let count = findings.iter().filter(is_counted).count() as u64;
            family.add([rule.id.into(), level.name().into()], count);
        }
    }
    family
}

/// The word that JSON has.
fn label_of(verdict: Verdict) -> Label {
    fmt::from_fn(|f| verdict.serialize(f)).to_string().into()
}

fn name_of(leak: &Leak<'_>) -> Label {
    leak.process
        .map_or(UNKNOWN.into(), |process| name_label(&process.comm))
}

const fn left(descriptors: Descriptors) -> u64 {
    descriptors.limit.saturating_sub(descriptors.used)
}

fn memory(scene: &Scene, page_bytes: u64) -> Vec<Family> {
    let Some((used, limits)) = tcp_memory::pages(&scene.namespaces) else {
        return Vec::new();
    };
    let mut thresholds = Family::new(&MEMORY_THRESHOLD);
    for (name, pages) in ["low", "pressure", "limit"].into_iter().zip(limits) {
        thresholds.add([name.into()], pages.saturating_mul(page_bytes));
    }
    vec![
        Family::single(&MEMORY, used.saturating_mul(page_bytes)),
        thresholds,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            self,
            fixture::{scene, socket},
        },
        metrics::{budget::LEAST, catalogue::ACCEPT_QUEUE, series},
    };

    /// Hundreds of leaking processes, each with a listener, and as many namespaces.
    fn crowded() -> (Scene, HashMap<u64, Queue>) {
        let mut scene = scene();
        let mut queues = HashMap::new();
        for number in 0..400_u32 {
            let process = scene.process_at(number + 1, &format!("p{number}"));
            let port = 2_000 + number;
            let local = format!("10.0.0.1:{port}");
            scene.add(
                1,
                &socket(TcpState::Listen, &local, "0.0.0.0:0", 900, Some(process)),
            );
            let queue = Queue {
                unread: number,
                unsent: 128,
                drops: Some(number),
            };
            queues.insert(scene.sockets.len() as u64, queue);
            scene.add(
                12,
                &socket(TcpState::CloseWait, &local, "10.0.0.2:40000", 900, Some(process)),
            );
            let mut namespace = scene.namespaces[0].clone();
            namespace.netns += number + 1;
            namespace.counters = COUNTERS.iter().map(|(name, _)| ((*name).to_owned(), 1)).collect();
            scene.namespaces.push(namespace);
        }
        (scene, queues)
    }

    #[test]
    fn a_crowded_host_stays_within_its_parts() {
        let (scene, queues) = crowded();
        let findings = findings::evaluate(&scene);
        let mut totals = Totals::new(LEAST);
        let mut evaluate = |made| Evaluation::of(&scene, &findings, &queues, &mut totals, 4096, made, LEAST);
        evaluate(Nanos(0));
        let evaluation = evaluate(Nanos(1));
        // Leaks, descriptors, ports, listeners and counters have a part each; findings and the rest do not vary.
        let total = series(&evaluation.families);
        let fixed = rules::ALL.len() * 3 + 5;
        assert!(
            total <= fixed + 5 * part(LEAST) + Verdict::ALL.len() + 3,
            "{total} series"
        );
        let folded = |name: &str| evaluation.folded.iter().find(|(dimension, _)| *dimension == name);
        for name in ["leaks", "descriptors", "listener", "netns_counters"] {
            assert!(
                folded(name).is_some_and(|(_, count)| *count > 100),
                "{name}: {:?}",
                evaluation.folded
            );
        }
        // The fullest queues are kept, and the fullest of the others.
        let queues = evaluation
            .families
            .iter()
            .find(|family| *family.what == ACCEPT_QUEUE)
            .expect("there are listeners");
        let rows = part(LEAST) as u64 / 3;
        let longest = |sample: &crate::metrics::Sample| sample.value.clone();
        let expected = (0..rows).map(|at| crate::metrics::Value::Integer(399 - at));
        assert!(queues.samples.iter().map(longest).eq(expected));
    }

    #[test]
    fn leaks_that_exhaust_descriptors_soonest_are_kept() {
        const GROWING: u32 = 10;
        let mut scene = scene();
        // The most sockets, and none more in the last minutes.
        let steady = scene.process_at(1, "steady");
        scene.add(
            200,
            &socket(
                TcpState::CloseWait,
                "10.0.0.1:80",
                "10.0.0.2:40000",
                900,
                Some(steady),
            ),
        );
        // Each leaks one every six seconds, and has more descriptors left than the one after it.
        for number in 0..GROWING {
            let process = scene.process_at(number + 2, &format!("p{number}"));
            scene.processes[process].descriptors = Some(Descriptors {
                used: 100,
                limit: 1_024 * u64::from(GROWING - number),
            });
            let local = format!("10.0.0.1:{}", 8_000 + number);
            for index in 0..30_u16 {
                let remote = format!("10.0.0.2:{}", 30_000 + index);
                let age = 180 - 6 * u64::from(index);
                scene.add(
                    1,
                    &socket(TcpState::CloseWait, &local, &remote, age, Some(process)),
                );
            }
        }
        let mut totals = Totals::new(LEAST);
        let evaluation = Evaluation::of(&scene, &[], &HashMap::new(), &mut totals, 4096, Nanos(0), LEAST);
        let names = |what: &crate::metrics::Description| -> Vec<Label> {
            let families = evaluation.families.iter();
            let family = families.filter(|family| family.what == what);
            family
                .flat_map(|family| &family.samples)
                .map(|sample| sample.labels[0].clone())
                .collect()
        };
        let soonest = ["p9", "p8", "p7", "p6", "p5"];
        assert_eq!(names(&EXHAUSTION), soonest);
        assert_eq!(names(&LEAKED_AGE), soonest);
        assert_eq!(names(&LEAKED_SOCKETS), [&soonest[..], &[OTHER]].concat());
        // Five that grow, and the steady one.
        assert!(
            evaluation.folded.contains(&("leaks", 6)),
            "{:?}",
            evaluation.folded
        );
    }

    #[test]
    fn a_verdict_is_called_as_in_json() {
        for verdict in Verdict::ALL {
            let json = serde_json::to_value(verdict).unwrap();
            assert_eq!(json, *label_of(verdict));
        }
        assert_eq!(label_of(Verdict::EofUnread), "eof-unread");
        assert_eq!(label_of(Verdict::Unknown), "unknown");
    }

    #[test]
    fn a_name_of_a_network_namespace_is_its_own() {
        let mut scene = scene();
        let first = scene.namespaces[0].clone();
        scene.namespaces.clear();
        for (netns, name) in [
            (11, "blue"),
            (12, "other"),
            (13, "11"),
            (14, "twice"),
            (15, "twice"),
        ] {
            let mut namespace = first.clone();
            (namespace.netns, namespace.name) = (netns, Some(name.to_owned()));
            scene.namespaces.push(namespace);
        }
        assert_eq!(netns_names(&scene), [(11, "blue".to_owned())].into());
    }
}
