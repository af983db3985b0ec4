//! Derives container, pod and systemd unit from a cgroup's path, which runtimes choose. Pure: knows no file and no
//! process.

use crate::printable::printable;
use serde::Serialize;

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The cgroup's path from the root of its hierarchy, safe to print: that of cgroup v2, or where everybody is in
    /// its root, that of the v1 hierarchy that says most.
    pub path: String,
    /// The innermost container.
    pub container: Option<Container>,
    /// The pod: Kubernetes' uid with dashes, or podman's id.
    pub pod: Option<String>,
    /// The innermost systemd unit that runs processes.
    pub unit: Option<String>,
}

/// The container that a process runs in, by its cgroup's path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The container runtime; `None` if the path does not show it, as with Kubernetes' cgroupfs driver.
    pub runtime: Option<Runtime>,
    /// Its id, for LXC its name.
    pub id: String,
}

/// Who makes containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    Containerd,
    CriO,
    Docker,
    Lxc,
    Podman,
}

impl Runtime {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Lxc => "lxc",
            Self::Podman => "podman",
        }
    }
}

impl Location {
    pub(crate) fn of_path(path: &[u8]) -> Self {
        let path = printable(path.strip_suffix(b" (deleted)").unwrap_or(path)).into_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let container = (0..parts.len())
            .rev()
            .find_map(|index| container(parts[index], &parts[..index]));
        let pod = parts.iter().rev().find_map(|part| pod(part));
        let unit = parts.iter().rev().find(|part| is_unit(part));
        Self {
            container,
            pod,
            unit: unit.map(|part| (*part).to_owned()),
            path,
        }
    }

    /// What `/proc/PID/cgroup` says, with a line for each hierarchy: `ID:CONTROLLERS:PATH`, `0::PATH` for v2. The path
    /// is that of v2 unless everybody is in its root; the rest is of the line that says most.
    pub(crate) fn of_process(lines: &[u8]) -> Option<Self> {
        let mut locations: Vec<(bool, Self)> = lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let mut fields = line.splitn(3, |byte| *byte == b':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                Some((controllers.is_empty(), Self::of_path(path)))
            })
            .collect();
        // A stable sort from the most telling; of equal ones v2 comes first.
        locations.sort_by_key(|(is_v2, location)| std::cmp::Reverse((location.rank(), *is_v2)));
        let v2_path = locations
            .iter()
            .find(|(is_v2, location)| *is_v2 && location.path != "/")
            .map(|(_, location)| location.path.clone());
        let (_, mut best) = locations.into_iter().next()?;
        if let Some(path) = v2_path {
            best.path = path;
        }
        Some(best)
    }

    /// Container before unit before any path but the root's.
    fn rank(&self) -> u8 {
        match self {
            Self {
                container: Some(_), ..
            } => 4,
            Self { pod: Some(_), .. } => 3,
            Self { unit: Some(_), .. } => 2,
            Self { path, .. } if path != "/" => 1,
            Self { .. } => 0,
        }
    }

    /// Whether the cgroup is `tree` or below it.
    pub(crate) fn is_in(&self, tree: &str) -> bool {
        let rest = self.path.strip_prefix(tree.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether `word` names its container (the id's first four characters or more, or all of it), its pod, or its unit
    /// (with or without `.service`).
    pub(crate) fn is_called(&self, word: &str) -> bool {
        let is_container = self
            .container
            .as_ref()
            .is_some_and(|container| container.is_called(word));
        let is_unit = self
            .unit
            .as_ref()
            .is_some_and(|unit| unit == word || unit.strip_suffix(".service") == Some(word));
        is_container || is_unit || self.pod.as_deref() == Some(word)
    }

    /// The shortest word for people: the container's first twelve characters, else the unit, else nothing.
    pub(crate) fn short(&self) -> Option<&str> {
        match &self.container {
            Some(container) => Some(container.short()),
            None => self.unit.as_deref(),
        }
    }
}

/// As many digits of a container's id as people and tools show.
const SHORT_ID: usize = 12;
/// The fewest that may stand for it.
const SHORTEST_ID: usize = 4;

impl Container {
    fn is_called(&self, word: &str) -> bool {
        self.id == word || is_id(&self.id) && word.len() >= SHORTEST_ID && self.id.starts_with(word)
    }

    fn short(&self) -> &str {
        match self.id.get(..SHORT_ID) {
            Some(short) if is_id(&self.id) => short,
            Some(_) | None => &self.id,
        }
    }
}

/// The container of a directory with these `parents`.
fn container(name: &str, parents: &[&str]) -> Option<Container> {
    let parent = parents.last().copied().unwrap_or_default();
    let made = |runtime: Option<Runtime>, id: &str| {
        Some(Container {
            runtime,
            id: id.to_owned(),
        })
    };
    // What runc's systemd driver takes as `slice:prefix:id`, used as a path by one that has no systemd.
    if let Some((rest, id)) = name.rsplit_once(':') {
        let (_, prefix) = rest.rsplit_once(':')?;
        return if is_id(id) {
            made(runtime(prefix), id)
        } else {
            None
        };
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if is_id(name) {
        let by_parent = match parent {
            // containerd's namespaces, below which nerdctl and the shim's cgroupfs driver make them.
            "default" | "k8s.io" => Some(Runtime::Containerd),
            other => runtime(other),
        };
        return made(by_parent, name);
    }
    if let Some((prefix, id)) = name.rsplit_once('-')
        && is_id(id)
    {
        // The monitor of a container is outside of it.
        let is_monitor = prefix.ends_with("conmon");
        return if is_monitor {
            None
        } else {
            made(runtime(prefix), id)
        };
    }
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return made(Some(Runtime::Lxc), name);
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return made(Some(Runtime::Lxc), name);
    }
    if parents.contains(&"ecs") && is_ecs_id(name) {
        return made(None, name);
    }
    None
}

fn runtime(prefix: &str) -> Option<Runtime> {
    match prefix {
        "docker" => Some(Runtime::Docker),
        "containerd" | "cri-containerd" | "nerdctl" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::CriO),
        "libpod" | "libpod-payload" | "libpod_parent" => Some(Runtime::Podman),
        _ => None,
    }
}

/// The id that all runtimes give: 256 random bits.
fn is_id(word: &str) -> bool {
    word.len() == 64 && is_hex(word)
}

/// Amazon's agent: the task's 32 digits, and a number.
fn is_ecs_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32 && is_hex(task) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `pod<uid>` of the cgroupfs driver, `kubepods-burstable-pod<uid>.slice` of the systemd one, which writes the dashes
/// of the uid as underscores; `machine-libpod_pod_<id>.slice` of podman.
fn pod(part: &str) -> Option<String> {
    let name = part.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    if let Some((_, id)) = name.rsplit_once("libpod_pod_") {
        return is_id(id).then(|| id.to_owned());
    }
    let (before, uid) = name.rsplit_once("pod")?;
    let is_a_word = before.is_empty() || before.ends_with('-');
    let uid = uid.replace('_', "-");
    (is_a_word && is_pod_uid(&uid)).then_some(uid)
}

/// A UUID; for a pod of a file on the node, 32 digits.
fn is_pod_uid(uid: &str) -> bool {
    if uid.len() == 32 {
        return is_hex(uid);
    }
    let groups: Vec<&str> = uid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| is_hex(group))
}

/// The kinds of units that have processes of their own (systemd.unit(5)); slices only hold others.
fn is_unit(part: &str) -> bool {
    part.rsplit_once('.').is_some_and(|(name, kind)| {
        !name.is_empty() && matches!(kind, "service" | "scope" | "socket" | "mount" | "swap")
    })
}

/// A cgroup and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The v2 id of its root; `None` where only v1 has it.
    pub id: Option<u64>,
    /// Its path from the root of the hierarchy.
    pub path: String,
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
