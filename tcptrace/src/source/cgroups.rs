//! The cgroups of this host: where v2 and v1 are mounted, the path of a v2 ID, and where a process runs.
//! Asked when an output or a filter needs it, never for each event.

use super::process;
use crate::{
    event::{Nanos, ProcessKey},
    owner::{
        container::{Location, Tree},
        processes::Processes,
    },
};
use hashbrown::HashMap;
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, ffi::OsStringExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where each process runs that is seen here, by `/proc/PID/cgroup`.
pub(crate) fn locations_of_all_processes() -> Vec<Location> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|entry| Location::of_process(&fs::read(entry.path().join("cgroup")).ok()?))
        .collect()
}

/// Number of cached paths; beyond it, the cache is cleared. A host with a container each second needs
/// hours to get there.
const MOST_REMEMBERED: usize = 16_384;
/// Maximum number of directories that a walk visits.
const MOST_WALKED: usize = 65_536;
/// How long to wait between two walks.
const WALK_EVERY: Nanos = Nanos::from_secs(1);

/// Where cgroups are found, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    v2: Option<PathBuf>,
    v1: Vec<PathBuf>,
    by_id: HashMap<u64, Arc<Location>>,
    next_walk: Nanos,
}

impl Cgroups {
    /// Those of this mount namespace.
    pub(crate) fn of_this_host() -> Self {
        Self::mounted(&fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn mounted(mountinfo: &[u8]) -> Self {
        let mut found = Self::default();
        for line in mountinfo.split(|byte| *byte == b'\n') {
            // Fields of a line: id, parent, device, root, mount point, options, tags …, "-", type, …; see proc(5).
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let dash = fields.iter().position(|field| *field == b"-");
            let (Some(point), Some(kind)) = (fields.get(4), dash.and_then(|dash| fields.get(dash + 1)))
            else {
                continue;
            };
            let point = PathBuf::from(OsString::from_vec(unescaped(point)));
            match *kind {
                b"cgroup2" if found.v2.is_none() => found.v2 = Some(point),
                b"cgroup" => found.v1.push(point),
                _ => {}
            }
        }
        found
    }

    /// Where the hierarchies are mounted.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.v2.iter().chain(&self.v1).map(PathBuf::as_path)
    }

    /// Where a process runs; `None` if it follows neither from its cgroup's ID (0 if unknown) nor from its PID.
    pub(crate) fn location(&mut self, process: ProcessKey, cgroup: u64, now: Nanos) -> Option<Arc<Location>> {
        let by_id = self.by_id(cgroup, now);
        // Where v1 is in use, v2 may know of no containers.
        let is_enough = by_id
            .as_ref()
            .is_some_and(|location| self.v1.is_empty() || location.container.is_some());
        if is_enough {
            return by_id;
        }
        process::place_of(process).map(Arc::new).or(by_id)
    }

    /// Finds out where every process runs that a row names, unless that is known or was asked a moment ago.
    pub(crate) fn find_locations(&mut self, processes: &mut Processes, now: Nanos) {
        processes.locate_all(now, &mut |process| {
            self.location(process.key, process.cgroup, now)
        });
    }

    fn by_id(&mut self, id: u64, now: Nanos) -> Option<Arc<Location>> {
        if id == 0 {
            return None;
        }
        if let Some(location) = self.by_id.get(&id) {
            return Some(Arc::clone(location));
        }
        let root = self.v2.clone()?;
        match path_of(&root, id) {
            Ok(path) => self.remember(id, &below(&root, &path)?),
            Err(error) if is_gone(&error) => return None,
            // Without CAP_DAC_READ_SEARCH no handle can be opened.
            Err(_) if now >= self.next_walk => {
                self.next_walk = now.plus(WALK_EVERY);
                self.walk(&root);
            }
            Err(_) => {}
        }
        self.by_id.get(&id).cloned()
    }

    fn remember(&mut self, id: u64, path: &Path) {
        if self.by_id.len() >= MOST_REMEMBERED {
            self.by_id.clear();
        }
        let location = Location::of_path(path.as_os_str().as_bytes());
        self.by_id.insert(id, Arc::new(location));
    }

    /// Remembers every cgroup that there is, the outer ones first.
    fn walk(&mut self, root: &Path) {
        let mut folders = std::collections::VecDeque::from([root.to_owned()]);
        let mut walked = 0;
        while let Some(folder) = folders.pop_front()
            && walked < MOST_WALKED
        {
            walked += 1;
            // A folder that goes away meanwhile has no id any more.
            if let (Ok(metadata), Some(path)) = (fs::metadata(&folder), below(root, &folder)) {
                self.remember(metadata.ino(), &path);
            }
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
    }

    /// The cgroup that a user names: by its id, by its path in the hierarchy, or by that of its folder.
    pub(crate) fn named(&mut self, word: &str, now: Nanos) -> Option<Tree> {
        if let Ok(id) = word.parse() {
            let location = self.by_id(id, now)?;
            return Some(Tree {
                id: Some(id),
                path: location.path.clone(),
            });
        }
        let given = Path::new(word);
        let tree = |root: &Path, is_v2: bool| {
            let path = below(root, given).unwrap_or_else(|| Path::new("/").join(given));
            let folder = root.join(path.strip_prefix("/").ok()?);
            let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
            Some(Tree {
                id: is_v2.then(|| metadata.ino()),
                path: Location::of_path(path.as_os_str().as_bytes()).path,
            })
        };
        let in_v2 = self.v2.iter().find_map(|root| tree(root, true));
        in_v2.or_else(|| self.v1.iter().find_map(|root| tree(root, false)))
    }
}

/// The path in the hierarchy that is mounted at `root`, from `/`; `None` where `folder` is not in it.
fn below(root: &Path, folder: &Path) -> Option<PathBuf> {
    Some(Path::new("/").join(folder.strip_prefix(root).ok()?))
}

/// Blanks and the like are written as a backslash and three octal digits.
pub(super) fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        let digits = others
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = escaped.filter(|_| *first == b'\\') {
            bytes.push(byte);
            rest = &others[3..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    bytes
}

/// `struct file_handle` of open_by_handle_at(2) with the eight bytes that kernfs puts into one.
#[repr(C)]
struct KernfsHandle {
    bytes: u32,
    kind: i32,
    id: u64,
}

/// `FILEID_KERNFS` of `include/linux/exportfs.h`, Linux 5.5: the handle is the inode number, which is the cgroup's id.
const FILEID_KERNFS: i32 = 0xfe;

fn path_of(root: &Path, id: u64) -> io::Result<PathBuf> {
    let mount = File::open(root)?;
    let handle = KernfsHandle {
        bytes: 8,
        kind: FILEID_KERNFS,
        id,
    };
    // SAFETY: the kernel reads the header and the number of bytes in it, which follow it in the same allocation.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw const handle,
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let folder = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw shared:9 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 master:2 - cgroup2 cgroup2 rw\n\
        42 31 0:38 / /elsewhere rw - cgroup2 cgroup2 rw\nnonsense\n";

    #[test]
    fn mounts_of_both_versions_are_found() {
        let found = Cgroups::mounted(HYBRID);
        assert_eq!(found.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(found.v1, [PathBuf::from("/sys/fs/cgroup/mem ory")]);
    }

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescaped(br"a\040b\134c\04"), br"a b\c\04");
    }

    #[test]
    fn a_walk_knows_every_folder_by_its_inode() {
        let root = std::env::temp_dir().join(format!("tcptrace-walk-{}", std::process::id()));
        let inner = root.join("docker").join("x.scope");
        fs::create_dir_all(&inner).unwrap();
        let id = fs::metadata(&inner).unwrap().ino();
        let mut cgroups = Cgroups::default();
        cgroups.walk(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(cgroups.by_id[&id].path, "/docker/x.scope");
        assert_eq!(cgroups.by_id.len(), 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut cgroups = Cgroups::default();
        for id in 0..MOST_REMEMBERED as u64 * 2 + 5 {
            cgroups.remember(id, Path::new("/a"));
        }
        assert!(cgroups.by_id.len() <= MOST_REMEMBERED);
    }
}
