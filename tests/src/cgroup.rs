//! Control groups for a test, in the v2 hierarchy, wherever it is mounted.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A cgroup that a test created, with its parents. Dropping it removes those that are empty.
#[derive(Debug)]
pub struct Cgroup {
    mount: PathBuf,
    path: String,
}

impl Cgroup {
    /// Creates the cgroup of this path, which begins with a slash.
    pub fn make(path: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let point = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(point))
        });
        let cgroup = Self {
            mount: mount.ok_or_else(|| io::Error::other("cgroup v2 is not mounted"))?,
            path: path.to_owned(),
        };
        fs::create_dir_all(cgroup.folder())?;
        Ok(cgroup)
    }

    /// Whether this process may create a cgroup.
    pub fn probe() -> io::Result<()> {
        Self::make("/tcptrace-probe").map(drop)
    }

    /// The path in the hierarchy.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The id: the folder's inode number.
    pub fn id(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.folder())?.ino())
    }

    /// The file to which a process writes its id, or 0 for itself, to join the cgroup.
    #[must_use]
    pub fn door(&self) -> PathBuf {
        self.folder().join("cgroup.procs")
    }

    fn folder(&self) -> PathBuf {
        self.mount.join(self.path.trim_start_matches('/'))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Best effort: another test may still use a parent, and removes it.
        let mut folder: Option<&Path> = Some(&self.folder());
        while let Some(current) = folder.filter(|current| *current != self.mount) {
            if fs::remove_dir(current).is_err() {
                return;
            }
            folder = current.parent();
        }
    }
}
