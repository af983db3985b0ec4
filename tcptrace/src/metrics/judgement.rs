//! Families of what a judgement of the moment finds: findings, leaks, descriptors, ports, listeners, and the kernel's
//! counters.

use super::{
    Family, Label,
    budget::part,
    catalogue::{
        ACCEPT_QUEUE, ACCEPT_QUEUE_LIMIT, DESCRIPTORS, DESCRIPTORS_LIMIT, EXHAUSTION, FINDINGS, JUDGED,
        LEAKED_AGE, LEAKED_SOCKETS, LISTEN_DROPS, LISTEN_OVERFLOWS, LISTENER_DROPS, MEMORY, MEMORY_THRESHOLD,
        PORTS_AVAILABLE, PORTS_USED, RETRANS_SEGS, SYN_COOKIES, TIME_WAIT_OVERFLOWS,
    },
    durations::OTHER,
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
use std::collections::BTreeMap;

/// The counters of the kernel that are families, by their names there.
const COUNTERS: [(&str, &super::Description); 5] = [
    ("ListenOverflows", &LISTEN_OVERFLOWS),
    ("ListenDrops", &LISTEN_DROPS),
    ("TCPTimeWaitOverflow", &TIME_WAIT_OVERFLOWS),
    ("SyncookiesSent", &SYN_COOKIES),
    ("RetransSegs", &RETRANS_SEGS),
];

/// What was found at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// When it was made.
    pub(super) made: Nanos,
    pub(super) families: Vec<Family>,
    /// Keys that are left out or under `other`, by dimension.
    pub(super) folded: Vec<(&'static str, u64)>,
    /// The names of network namespaces that have one.
    pub(super) netns_names: HashMap<u32, String>,
}

impl Judgement {
    /// Of a scene at `made`, and its findings. `queues` are those of listeners, by cookie. The families have a bounded number
    /// of series, which depends on `max_series`.
    pub(crate) fn of(
        scene: &Scene,
        findings: &[Finding],
        queues: &HashMap<u64, Queue>,
        page_bytes: u64,
        made: Nanos,
        max_series: usize,
    ) -> Self {
        let names = scene.spaces.iter();
        let mut judgement = Self {
            made,
            netns_names: names
                .filter_map(|space| Some((space.netns, space.name.clone()?)))
                .collect(),
            ..Self::default()
        };
        let part = part(max_series);
        judgement.families = vec![Family::single(&JUDGED, seconds(scene.watched)), counted(findings)];
        judgement.add_leaks(scene, part);
        judgement.add_descriptors(scene, part);
        judgement.add_ports(scene, part);
        judgement.add_listeners(scene, queues, part);
        judgement.add_counters(scene, part);
        judgement.families.extend(memory(scene, page_bytes));
        judgement
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
        sorted.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u64>()));
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
                    leaked.add([name.clone(), verdict.name().into()], count);
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
            let name = Label::from(name.to_owned());
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

    fn add_listeners(&mut self, scene: &Scene, queues: &HashMap<u64, Queue>, part: usize) {
        // Several sockets may listen on one port, each with a queue of its own.
        let mut by_labels: BTreeMap<[Label; 4], [u64; 3]> = BTreeMap::new();
        for listener in scene
            .in_state(TcpState::Listen)
            .filter(|socket| socket.is_asked_for)
        {
            let Some(queue) = queues.get(&listener.cookie) else {
                continue;
            };
            let sum = by_labels
                .entry(self.listener_labels(scene, listener))
                .or_default();
            let of = [queue.unread, queue.unsent, queue.drops.unwrap_or(0)];
            for (sum, count) in sum.iter_mut().zip(of) {
                *sum += u64::from(count);
            }
        }
        let mut sorted: Vec<([Label; 4], [u64; 3])> = by_labels.into_iter().collect();
        sorted.sort_by_key(|(_, [queue, _, drops])| std::cmp::Reverse((*queue, *drops)));
        let others = sorted.split_off((part / 3).saturating_sub(1).min(sorted.len()));
        self.folded.push(("listener", others.len() as u64));
        if !others.is_empty() {
            // Drops of several listeners, one of which may go away, are no counter.
            let sum = |at: usize| others.iter().map(|(_, counts)| counts[at]).sum::<u64>();
            sorted.push(([OTHER; 4].map(Label::from), [sum(0), sum(1), 0]));
        }
        let [mut waiting, mut limit, mut drops] =
            [&ACCEPT_QUEUE, &ACCEPT_QUEUE_LIMIT, &LISTENER_DROPS].map(Family::new);
        for (labels, [queue, holds, dropped]) in sorted {
            waiting.add(labels.clone(), queue);
            limit.add(labels.clone(), holds);
            if labels[0] != OTHER {
                drops.add(labels, dropped);
            }
        }
        self.families.extend([waiting, limit, drops]);
    }

    fn listener_labels(&self, scene: &Scene, listener: &Socket) -> [Label; 4] {
        let process = scene.owner(listener);
        [
            self.netns(listener.netns),
            process.map_or("(unknown)".into(), |process| process.comm.clone().into()),
            listener.endpoints.local().to_string().into(),
            listener.endpoints.local_port.to_string().into(),
        ]
    }

    fn add_counters(&mut self, scene: &Scene, part: usize) {
        let most = part / COUNTERS.len();
        let omitted = scene.spaces.len().saturating_sub(most);
        self.folded.push(("netns_counters", omitted as u64));
        for (name, what) in COUNTERS {
            let mut family = Family::new(what);
            for space in scene.spaces.iter().take(most) {
                if let Some(count) = space.counters.get(name) {
                    family.add([self.netns(space.netns)], *count);
                }
            }
            self.families.push(family);
        }
    }

    pub(super) fn netns(&self, netns: u32) -> Label {
        netns_label(netns, &|inode| self.netns_names.get(&inode).cloned())
    }
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

fn name_of(leak: &Leak<'_>) -> Label {
    leak.process
        .map_or("(unknown)".into(), |process| process.comm.clone().into())
}

const fn left(descriptors: Descriptors) -> u64 {
    descriptors.limit.saturating_sub(descriptors.used)
}

fn memory(scene: &Scene, page_bytes: u64) -> Vec<Family> {
    let Some((used, limits)) = tcp_memory::pages(&scene.spaces) else {
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
        metrics::{budget::LEAST, series},
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
            let mut space = scene.spaces[0].clone();
            space.netns += number + 1;
            space.counters = COUNTERS.iter().map(|(name, _)| ((*name).to_owned(), 1)).collect();
            scene.spaces.push(space);
        }
        (scene, queues)
    }

    #[test]
    fn a_crowded_host_stays_within_its_parts() {
        let (scene, queues) = crowded();
        let findings = findings::judge(&scene);
        let judgement = Judgement::of(&scene, &findings, &queues, 4096, Nanos(0), LEAST);
        // Leaks, descriptors, ports, listeners and counters have a part each; findings and the rest do not vary.
        let total = series(&judgement.families);
        let fixed = rules::ALL.len() * 3 + 5;
        assert!(
            total <= fixed + 5 * part(LEAST) + Verdict::ALL.len() + 3,
            "{total} series"
        );
        let folded = |name: &str| judgement.folded.iter().find(|(dimension, _)| *dimension == name);
        for name in ["leaks", "descriptors", "listener", "netns_counters"] {
            assert!(
                folded(name).is_some_and(|(_, count)| *count > 100),
                "{name}: {:?}",
                judgement.folded
            );
        }
        // The longest queues are kept, and the sum of the others.
        let queues = judgement
            .families
            .iter()
            .find(|family| *family.what == ACCEPT_QUEUE);
        let sum: u64 = queues
            .expect("there are listeners")
            .samples
            .iter()
            .map(|sample| match sample.value {
                crate::metrics::Value::Integer(count) => count,
                crate::metrics::Value::Real(_) | crate::metrics::Value::Distribution(_) => 0,
            })
            .sum();
        assert_eq!(sum, (0..400).sum::<u64>());
    }
}
