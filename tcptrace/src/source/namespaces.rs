//! The network namespaces of this host: those of running processes and threads, those that `ip netns`, container
//! runtimes and mounts keep, and what they are called.

use crate::{
    event::Nanos,
    printable::printable,
    privileges::{capabilities, scout},
};
use caps::Capability;
use hashbrown::{HashMap, HashSet};
use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// Where named namespaces are kept: by `ip netns`, CNI (`cni-…`) and podman (`netns-…`), and by Docker.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// How often the names are read, at most.
const READ_NAMES_EVERY: Nanos = Nanos::from_secs(1);

/// What namespaces are called.
#[derive(Debug, Default)]
pub struct Names {
    by_inode: HashMap<u32, String>,
    next_read: Nanos,
}

impl Names {
    /// The name of a namespace; `None` where it has none. A name that is new is known within a second.
    pub fn of(&mut self, inode: u32, now: Nanos) -> Option<&str> {
        // Known ones too: the number of a namespace that has ended is given to another.
        if now >= self.next_read {
            self.next_read = now.plus(READ_NAMES_EVERY);
            self.by_inode = names_in(&NAMED.map(Path::new));
        }
        self.by_inode.get(&inode).map(String::as_str)
    }
}

/// The names that namespaces have in these folders; of several that of the first.
fn names_in(folders: &[&Path]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    // A name is a file on which the namespace is mounted, and the inode of one that is not is another's number.
    let Ok(device) = fs::metadata("/proc/self/ns/net").map(|own| own.dev()) else {
        return names;
    };
    for folder in folders {
        let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            if let (true, Ok(inode)) = (metadata.dev() == device, u32::try_from(metadata.ino())) {
                names
                    .entry(inode)
                    .or_insert_with(|| printable(entry.file_name().as_bytes()).into_owned());
            }
        }
    }
    names
}

/// The inode number of the namespace that a user names: a name, or a path.
///
/// # Errors
/// Where there is none, with the path where it was looked for first.
pub fn named(word: &str) -> Result<u32, (PathBuf, io::Error)> {
    if word.contains('/') {
        let path = PathBuf::from(word);
        return scout::ask(move || inode_of(&path).map_err(|error| (path, error)));
    }
    let [first, second] = NAMED.map(|folder| Path::new(folder).join(word));
    inode_of(&first).or_else(|error| inode_of(&second).map_err(|_| (first, error)))
}

/// One namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Inode number, as in `readlink /proc/PID/ns/net`.
    pub inode: u32,
    /// Keeps it alive and lets a thread enter it.
    pub file: File,
}

/// The inode number of the namespace at `path`.
///
/// # Errors
/// Where it cannot be read.
pub fn inode_of(path: &Path) -> io::Result<u32> {
    u32::try_from(fs::metadata(path)?.ino()).map_err(io::Error::other)
}

/// Where namespaces are bind-mounted, in this mount namespace.
fn mounted() -> Vec<PathBuf> {
    // Fields of a line: id, parent, device, root, mount point, … - type, …; see proc(5).
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            root.starts_with("net:[").then(|| PathBuf::from(point))
        })
        .collect()
}

/// The calling thread's namespace.
///
/// # Errors
/// Where `/proc` is not mounted.
pub fn current() -> io::Result<u32> {
    inode_of(Path::new("/proc/thread-self/ns/net"))
}

/// All that can be found, the calling thread's first.
#[must_use]
pub fn all() -> Vec<Namespace> {
    let own = open(Path::new("/proc/thread-self/ns/net"));
    let mut others = scout::ask(of_others);
    others.retain(|space| own.as_ref().is_none_or(|own| own.inode != space.inode));
    own.into_iter().chain(others).collect()
}

/// A process or a name that goes away meanwhile takes its namespace with it.
fn open(path: &Path) -> Option<Namespace> {
    let inode = inode_of(path).ok()?;
    let file = File::open(path).ok()?;
    Some(Namespace { inode, file })
}

fn of_others() -> Vec<Namespace> {
    let mut found: HashSet<u32> = HashSet::new();
    let mut list = Vec::new();
    let mut add = |path: PathBuf| {
        let Ok(inode) = inode_of(&path) else { return };
        if !found.contains(&inode)
            && let Some(space) = open(&path)
        {
            found.insert(space.inode);
            list.push(space);
        }
    };
    for folder in NAMED {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            add(entry.path());
        }
    }
    for mount in mounted() {
        add(mount);
    }
    for process in processes() {
        add(process.join("ns/net"));
        let tasks = process.join("task");
        // A thread may have a namespace of its own. The folder has a link for each, and two for itself.
        if fs::metadata(&tasks).is_ok_and(|folder| folder.nlink() > 3) {
            for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
                add(task.path().join("ns/net"));
            }
        }
    }
    list
}

/// The folder of each process in `/proc`.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.as_bytes().iter().all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path())
}

/// What of the network namespaces is not known, a sentence each: those that could not be read, and why, and those that
/// could not even be found.
#[must_use]
pub fn shortfalls(unread: &[(u32, String)]) -> Vec<String> {
    let mut list = Vec::new();
    if !unread.is_empty() && !capabilities::holds(Capability::CAP_SYS_ADMIN) {
        list.push(format!(
            "sockets of {} other network namespaces cannot be read: CAP_SYS_ADMIN is missing",
            unread.len()
        ));
    } else {
        list.extend(
            unread
                .iter()
                .map(|(netns, why)| format!("network namespace {netns} could not be read: {why}")),
        );
    }
    match scout::ask(hidden) {
        0 => {}
        count => list.push(format!(
            "the network namespaces of {count} processes cannot be found: CAP_SYS_PTRACE is missing"
        )),
    }
    list
}

/// How many processes do not show their network namespace to the calling thread, which may not trace them (ptrace(2)).
/// The kernel's own threads, which have no command line, are left out: they run in the first one.
fn hidden() -> usize {
    if capabilities::holds(Capability::CAP_SYS_PTRACE) {
        return 0;
    }
    let is_hidden = |process: &PathBuf| {
        let denied = inode_of(&process.join("ns/net"))
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        denied && fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty())
    };
    processes().filter(is_hidden).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_on_which_no_namespace_is_mounted_is_no_name() {
        let folder = std::env::temp_dir().join(format!("tcptrace-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("plain"), "").unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/net", folder.join("real")).unwrap();
        let names = names_in(&[Path::new("/nowhere"), &folder]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            [(current().unwrap(), "real".to_owned())]
        );
    }

    #[test]
    fn a_name_that_does_not_exist_is_reported_with_its_path() {
        let (path, error) = named("no-such-name").unwrap_err();
        assert_eq!(path, Path::new("/run/netns/no-such-name"));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(named("/proc/self/ns/net").is_ok());
    }
}
