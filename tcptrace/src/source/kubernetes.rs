//! Finds the names of pods and containers in what the kubelet, containerd and CRI-O have on the disk of this node. Asked
//! when metrics are collected; what it reads at a time and remembers is bounded.

use crate::{
    event::Nanos,
    owner::{
        container::Location,
        kubernetes::{Name, Names},
    },
};
use hashbrown::HashMap;
use nix::libc;
use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Where the kubelet links the log of each container.
const CONTAINER_LOGS: &str = "var/log/containers";

/// Where the kubelet has a folder for the logs of each pod.
const POD_LOGS: &str = "var/log/pods";

/// Where a container has a folder by its id, and its configuration below.
const CONFIGS: [(&str, &str); 3] = [
    (
        "run/containerd/io.containerd.runtime.v2.task/k8s.io",
        "config.json",
    ),
    (
        "run/containers/storage/overlay-containers",
        "userdata/config.json",
    ),
    (
        "var/lib/containers/storage/overlay-containers",
        "userdata/config.json",
    ),
];

/// The largest configuration that is read; they have some 20 KiB.
const MOST_BYTES: u64 = 1 << 20;

/// The most entries of a folder that are read.
const MOST_ENTRIES: usize = 65_536;

/// The most configurations that are read at a time: each takes a tenth of a millisecond.
const MOST_AT_A_TIME: usize = 32;

/// The most names that are remembered; beyond it, all are forgotten.
const MOST_REMEMBERED: usize = 16_384;

/// How long to wait before the folders of logs are listed again, and before a container is looked for again.
const LIST_EVERY: Nanos = Nanos::from_secs(10);
const AGAIN_AFTER: Nanos = Nanos::from_secs(60);

/// Folders and what was found in them.
#[derive(Debug)]
pub(crate) struct Finder {
    root: PathBuf,
    names: Names,
    /// When to look again for a container that was not found.
    missing: HashMap<String, Nanos>,
    next_listing: Nanos,
}

/// Folders that are gone on to be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Of these, the names of what is in them.
    pub(crate) listed: Vec<PathBuf>,
    /// Of these, files too.
    pub(crate) read: Vec<PathBuf>,
}

/// The folders below `root`, where the host's files are. Where the kubelet links logs, which have the names of all
/// containers, nothing of the runtimes' is read: the environment of each container is there.
pub(crate) fn folders(root: &Path) -> Folders {
    let configs: &[_] = if root.join(CONTAINER_LOGS).is_dir() {
        &[]
    } else {
        &CONFIGS
    };
    Folders {
        listed: [CONTAINER_LOGS, POD_LOGS].map(|folder| root.join(folder)).into(),
        read: configs.iter().map(|(folder, _)| root.join(folder)).collect(),
    }
}

impl Finder {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            names: Names::default(),
            missing: HashMap::new(),
            next_listing: Nanos(0),
        }
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Looks for the names of those that run in a pod and have none yet.
    pub(crate) fn find<'a>(&mut self, locations: impl Iterator<Item = &'a Location>, now: Nanos) {
        let in_pods = locations.filter_map(|location| {
            let container = location.container.as_ref().map(|container| container.id.as_str());
            Some((location.pod.as_deref()?, container))
        });
        let mut unknown: Vec<(&str, Option<&str>)> = in_pods
            .filter(|(pod, container)| {
                !self.names.pods.contains_key(*pod) || container.is_some_and(|id| self.is_wanted(id, now))
            })
            .collect();
        if unknown.is_empty() {
            return;
        }
        unknown.sort_unstable();
        unknown.dedup();
        let remembered = self.names.containers.len() + self.names.pods.len();
        if remembered > MOST_REMEMBERED || self.missing.len() > MOST_REMEMBERED {
            self.names = Names::default();
            self.missing.clear();
        }
        if now >= self.next_listing {
            self.next_listing = now.plus(LIST_EVERY);
            self.list();
        }
        let mut left = MOST_AT_A_TIME;
        for (pod, container) in unknown {
            let Some(id) = container else { continue };
            if left > 0 && self.is_wanted(id, now) {
                left -= 1;
                self.read_config(id, now);
            }
            if let Some(name) = self.names.containers.get(id) {
                let of_pod = Name {
                    container: None,
                    ..name.clone()
                };
                self.names.pods.entry(pod.to_owned()).or_insert(of_pod);
            }
        }
    }

    /// Whether a container has no name, and may be looked for.
    fn is_wanted(&self, id: &str, now: Nanos) -> bool {
        !self.names.containers.contains_key(id) && self.missing.get(id).is_none_or(|at| now >= *at)
    }

    fn read_config(&mut self, id: &str, now: Nanos) {
        match self.of_config(id) {
            Some(name) => {
                self.names.containers.insert(id.to_owned(), name);
            }
            None => {
                self.missing.insert(id.to_owned(), now.plus(AGAIN_AFTER));
            }
        }
    }

    /// Takes the names of all pods and containers that have logs.
    fn list(&mut self) {
        let entries = |folder: &str| {
            let entries = fs::read_dir(self.root.join(folder))
                .into_iter()
                .flatten()
                .flatten();
            entries
                .take(MOST_ENTRIES)
                .filter_map(|entry| entry.file_name().into_string().ok())
        };
        self.names
            .containers
            .extend(entries(CONTAINER_LOGS).filter_map(|link| Name::of_log(&link)));
        self.names
            .pods
            .extend(entries(POD_LOGS).filter_map(|folder| Name::of_folder(&folder)));
    }

    fn of_config(&self, id: &str) -> Option<Name> {
        // Ids are names of files below, and those of LXC are anybody's choice.
        if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        CONFIGS.iter().find_map(|(folder, file)| {
            let path = self.root.join(folder).join(id).join(file);
            Name::of_config(&read(&path)?)
        })
    }
}

/// A regular file of bounded size.
fn read(path: &Path) -> Option<Vec<u8>> {
    // A FIFO would wait for its writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::os::unix::fs::symlink;

    const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn located(id: &str) -> Location {
        let path = format!(
            "/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{id}.scope",
            UID.replace('-', "_")
        );
        Location::of_path(path.as_bytes())
    }

    /// Names of a container and of its pod, after one search at `now`.
    fn found(finder: &mut Finder, id: &str, now: u64) -> (Option<Name>, Option<Name>) {
        let location = located(id);
        assert_eq!(location.pod.as_deref(), Some(UID));
        finder.find([&location].into_iter(), Nanos::from_secs(now));
        let names = finder.names();
        (names.containers.get(id).cloned(), names.pods.get(UID).cloned())
    }

    fn config(root: &Path, layout: usize, id: &str) -> PathBuf {
        let (folder, file) = CONFIGS[layout];
        let path = root.join(folder).join(id).join(file);
        fs::create_dir_all(path.parent().expect("it has a folder")).unwrap();
        path
    }

    const CONTAINERD: &str = r#"{"annotations": {"io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-name": "shop-1",
        "io.kubernetes.cri.sandbox-namespace": "prod"}}"#;
    const CRIO: &str = r#"{"annotations": {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "shop-1",
        "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.namespace": "prod"}}"#;

    fn name(container: Option<&str>) -> Name {
        Name {
            namespace: "prod".to_owned(),
            pod: "shop-1".to_owned(),
            container: container.map(str::to_owned),
        }
    }

    #[test]
    fn each_runtime_s_files_have_the_names() {
        for (layout, json) in [(0, CONTAINERD), (1, CRIO), (2, CRIO)] {
            let root = tempfile::tempdir().unwrap();
            fs::write(config(root.path(), layout, &id('a')), json).unwrap();
            let mut finder = Finder::new(root.path());
            assert_eq!(
                found(&mut finder, &id('a'), 0),
                (Some(name(Some("web"))), Some(name(None))),
                "{layout}"
            );
        }
    }

    #[test]
    fn the_kubelet_s_logs_have_the_names() {
        let root = tempfile::tempdir().unwrap();
        let (links, folders) = (root.path().join(CONTAINER_LOGS), root.path().join(POD_LOGS));
        fs::create_dir_all(&links).unwrap();
        symlink("/nowhere", links.join(format!("shop-1_prod_web-{}.log", id('a')))).unwrap();
        assert_eq!(
            found(&mut Finder::new(root.path()), &id('a'), 0),
            (Some(name(Some("web"))), Some(name(None)))
        );
        fs::remove_dir_all(links).unwrap();
        fs::create_dir_all(folders.join(format!("prod_shop-1_{UID}"))).unwrap();
        assert_eq!(
            found(&mut Finder::new(root.path()), &id('a'), 0),
            (None, Some(name(None)))
        );
    }

    #[test]
    fn what_is_not_found_is_looked_for_again_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let mut finder = Finder::new(root.path());
        assert_eq!(found(&mut finder, &id('a'), 1_000), (None, None));
        fs::write(config(root.path(), 0, &id('a')), CONTAINERD).unwrap();
        assert_eq!(found(&mut finder, &id('a'), 1_059), (None, None));
        assert_eq!(
            found(&mut finder, &id('a'), 1_060),
            (Some(name(Some("web"))), Some(name(None)))
        );
        // What was found stays when its files go away.
        fs::remove_dir_all(root.path().join("run")).unwrap();
        assert_eq!(found(&mut finder, &id('a'), 5_000).0, Some(name(Some("web"))));
    }

    #[test]
    fn hostile_files_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        let fifo = config(root.path(), 0, &id('a'));
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let large = config(root.path(), 0, &id('b'));
        File::create(&large).unwrap().set_len(MOST_BYTES + 1).unwrap();
        fs::create_dir_all(config(root.path(), 0, &id('c'))).unwrap();
        symlink("/dev/zero", config(root.path(), 0, &id('d'))).unwrap();
        fs::write(
            config(root.path(), 0, &id('e')),
            CONTAINERD.replace("shop-1", "../../x\\n"),
        )
        .unwrap();
        let mut finder = Finder::new(root.path());
        for digit in ['a', 'b', 'c', 'd', 'e'] {
            assert_eq!(found(&mut finder, &id(digit), 0), (None, None), "{digit}");
        }
        fs::write(root.path().join("config.json"), CONTAINERD).unwrap();
        assert_eq!(finder.of_config("../../../.."), None);
    }

    #[test]
    fn what_is_read_at_a_time_and_remembered_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        let mut finder = Finder::new(root.path());
        let locations: Vec<Location> = (0..MOST_REMEMBERED * 2)
            .map(|at| located(&format!("{at:064x}")))
            .collect();
        finder.find(locations.iter(), Nanos(0));
        assert_eq!(finder.missing.len(), MOST_AT_A_TIME);
        for at in 0..MOST_REMEMBERED as u64 {
            finder.missing.insert(at.to_string(), Nanos(u64::MAX));
        }
        finder.find(locations.iter(), Nanos(0));
        assert!(finder.missing.len() <= MOST_AT_A_TIME);
    }

    #[test]
    fn runtimes_folders_are_read_only_where_the_kubelet_links_no_logs() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folders(root.path()).read.len(), CONFIGS.len());
        fs::create_dir_all(root.path().join(CONTAINER_LOGS)).unwrap();
        assert!(folders(root.path()).read.is_empty());
        assert_eq!(folders(root.path()).listed.len(), 2);
    }
}
