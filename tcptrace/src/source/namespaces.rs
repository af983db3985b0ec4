//! The network namespaces of this host: those of running processes and threads, and those that `ip netns`,
//! container runtimes and mounts keep.

use hashbrown::HashMap;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where named namespaces are kept.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

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
    let mut found: HashMap<u32, ()> = HashMap::new();
    let mut list = Vec::new();
    let mut add = |path: PathBuf| {
        // A process or a name that goes away meanwhile takes its namespace with it.
        let Ok(inode) = inode_of(&path) else { return };
        if found.contains_key(&inode) {
            return;
        }
        if let Ok(file) = File::open(&path) {
            found.insert(inode, ());
            list.push(Namespace { inode, file });
        }
    };
    add(PathBuf::from("/proc/thread-self/ns/net"));
    for folder in NAMED {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            add(entry.path());
        }
    }
    for mount in mounted() {
        add(mount);
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            continue;
        }
        let process = entry.path();
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
