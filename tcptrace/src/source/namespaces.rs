//! The network namespaces of this host: those of running processes, and those that `ip netns` and container
//! runtimes keep by name.

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
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            add(entry.path().join("ns/net"));
        }
    }
    list
}
