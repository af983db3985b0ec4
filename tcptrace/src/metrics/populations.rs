//! Families of sockets by state: of all, and by process, unit, container, pod and network namespace, within a budget.

use super::{
    Description, Family, Label,
    budget::divide,
    catalogue::{
        AGED_SOCKETS, CONTAINER_SOCKETS, NETNS_SOCKETS, OLDEST_AGE, POD_SOCKETS, PROCESS_SOCKETS, SOCKETS,
        UNIT_SOCKETS,
    },
    durations::{OTHER, UNKNOWN, process_label},
    seconds,
};
use crate::{
    engine::Engine,
    event::{TcpState, known_netns},
    owner::{
        container::Container,
        kubernetes::{Name, Names},
    },
    view::{
        Counts,
        population::{AGES, Population},
    },
};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// The labels of one key but for the state.
type Key = Vec<Label>;

/// The sockets by one dimension.
#[derive(Debug)]
pub(super) struct Dimension {
    pub(super) name: &'static str,
    what: &'static Description,
    keys: HashMap<Key, Counts>,
}

/// Sockets and ages of all together.
pub(super) fn of_all(population: &Population) -> Vec<Family> {
    let mut sockets = Family::new(&SOCKETS);
    let mut oldest = Family::new(&OLDEST_AGE);
    let mut aged = Family::new(&AGED_SOCKETS);
    for state in TcpState::ALL {
        let index = state.index();
        sockets.add([state.name().into()], population.counts[index]);
        if let Some(age) = population.oldest[index] {
            oldest.add([state.name().into()], seconds(age));
        }
        if state == TcpState::Close {
            continue;
        }
        for (least, count) in AGES.iter().zip(population.aged[index]) {
            let least = (least.0 / 1_000_000_000).to_string();
            aged.add([state.name().into(), least.into()], count);
        }
    }
    vec![sockets, oldest, aged]
}

/// The dimensions of a population. `netns_name` names a network namespace, where it has a name.
pub(super) fn dimensions(
    population: &Population,
    engine: &Engine,
    names: &Names,
    netns_name: impl Fn(u32) -> Option<String>,
) -> [Dimension; 5] {
    let [mut processes, mut units, mut containers, mut pods, mut namespaces] = [
        ("process", &PROCESS_SOCKETS),
        ("unit", &UNIT_SOCKETS),
        ("container", &CONTAINER_SOCKETS),
        ("pod", &POD_SOCKETS),
        ("netns", &NETNS_SOCKETS),
    ]
    .map(|(name, what)| Dimension {
        name,
        what,
        keys: HashMap::new(),
    });
    for (owner, counts) in &population.by_owner {
        let process = owner.and_then(|id| engine.table.processes.get(id));
        let name = process.map_or([0; 16], |process| process.comm);
        processes.add(vec![process_label(&name)], counts);
        let Some(location) = process.and_then(|process| process.location.as_ref()) else {
            continue;
        };
        if let Some(unit) = &location.unit {
            units.add(vec![unit.clone().into()], counts);
        }
        if let Some(container) = &location.container {
            containers.add(container_key(container, location.pod.as_deref(), names), counts);
        }
        if let Some(uid) = &location.pod {
            let [namespace, pod] = pod_labels(names.pods.get(uid), uid);
            pods.add(vec![namespace, pod, uid.clone().into()], counts);
        }
    }
    for (netns, counts) in &population.by_netns {
        namespaces.add(vec![netns_label(*netns, &netns_name)], counts);
    }
    [processes, units, containers, pods, namespaces]
}

/// Namespace and name of a pod; its uid and no namespace where they are not known.
fn pod_labels(name: Option<&Name>, uid: &str) -> [Label; 2] {
    match name {
        Some(name) => [name.namespace.clone().into(), name.pod.clone().into()],
        None => ["".into(), uid.to_owned().into()],
    }
}

/// Namespace, pod, name, id and runtime of a container; the id stands for a name that is not known.
fn container_key(container: &Container, pod: Option<&str>, names: &Names) -> Key {
    let name = names.containers.get(&container.id);
    let of_pod = name.or_else(|| names.pods.get(pod?));
    let [namespace, pod] = pod_labels(of_pod, pod.unwrap_or_default());
    let word = name
        .and_then(|name| name.container.as_ref())
        .unwrap_or(&container.id);
    let runtime = container.runtime.map_or("", |runtime| runtime.name());
    vec![
        namespace,
        pod,
        word.clone().into(),
        container.id.clone().into(),
        runtime.into(),
    ]
}

/// The label of a network namespace: its name, else its inode number.
pub(super) fn netns_label(netns: u32, name: &impl Fn(u32) -> Option<String>) -> Label {
    match known_netns(netns) {
        Some(inode) => name(inode).unwrap_or_else(|| inode.to_string()).into(),
        None => UNKNOWN.into(),
    }
}

/// The families of the dimensions in at most `available` series, and how many keys of each are under `other`.
pub(super) fn families(
    dimensions: [Dimension; 5],
    available: usize,
) -> (Vec<Family>, Vec<(&'static str, u64)>) {
    let wanted: Vec<usize> = dimensions
        .iter()
        .map(|dimension| dimension.keys.len() * TcpState::COUNT)
        .collect();
    let shares = divide(available, &wanted);
    let mut families = Vec::new();
    let mut folded = Vec::new();
    for (dimension, share) in dimensions.into_iter().zip(shares) {
        folded.push((dimension.name, dimension.folded(share / TcpState::COUNT)));
        families.push(dimension.family(share / TcpState::COUNT));
    }
    (families, folded)
}

impl Dimension {
    fn add(&mut self, key: Key, counts: &Counts) {
        let sum = self.keys.entry(key).or_default();
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
    }

    /// How many keys do not fit into so many rows, one of which is that of the others.
    fn folded(&self, rows: usize) -> u64 {
        let kept = if self.keys.len() <= rows {
            self.keys.len()
        } else {
            rows.saturating_sub(1)
        };
        (self.keys.len() - kept) as u64
    }

    /// The keys with the most sockets, and the sum of the others.
    fn family(self, rows: usize) -> Family {
        let mut family = Family::new(self.what);
        let folded = self.folded(rows);
        let mut keys: Vec<(Key, Counts)> = self.keys.into_iter().collect();
        keys.sort_by(|(a, of_a), (b, of_b)| {
            let total = |counts: &Counts| Reverse(counts.iter().sum::<u64>());
            total(of_a).cmp(&total(of_b)).then_with(|| a.cmp(b))
        });
        let kept = keys.len() - usize::try_from(folded).unwrap_or(keys.len());
        let others = keys.split_off(kept);
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        if folded > 0 && rows > 0 {
            let mut sum = Counts::default();
            for (_, counts) in &others {
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            // Without the label of the state.
            let labels = self.what.labels.len() - 1;
            keys.push((vec![OTHER.into(); labels], sum));
        }
        for (key, counts) in keys {
            for (state, count) in TcpState::ALL.into_iter().zip(counts) {
                let labels = key.iter().cloned().chain([state.name().into()]);
                family.add(labels, count);
            }
        }
        family
    }
}
