//! The network namespaces of this host: those of running processes and threads, those that `ip netns`, container
//! runtimes, mounts and descriptors keep, and what they are called.

use super::cgroups::unescaped;
use crate::{
    event::Nanos,
    printable::printable,
    privileges::{
        capabilities::{holds, why_not},
        read_only::SIOCGSKNS,
        scout,
    },
    socket::{scan::Keeper, snapshot::Denied},
};
use caps::Capability;
use hashbrown::{HashMap, HashSet};
use nix::errno::Errno;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::MetadataExt as _,
        },
    },
    path::{Path, PathBuf},
};

/// Where named namespaces are kept: by `ip netns`, CNI (`cni-…`) and podman (`netns-…`), and by Docker.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// How often the names are read, at most.
const READ_NAMES_EVERY: Nanos = Nanos::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Names {
    by_inode: HashMap<u32, String>,
    next_read: Nanos,
}

impl Names {
    /// The name of a namespace; `None` where it has none. A name that is new is known within a second.
    pub(crate) fn of(&mut self, inode: u32, now: Nanos) -> Option<&str> {
        // Known ones too: the number of a namespace that has ended is given to another.
        if now >= self.next_read {
            self.next_read = now.plus(READ_NAMES_EVERY);
            self.by_inode = names_in(&NAMED.map(Path::new));
        }
        self.by_inode.get(&inode).map(String::as_str)
    }
}

/// The names of all namespaces that have one.
pub(crate) fn all_names() -> BTreeSet<String> {
    names_in(&NAMED.map(Path::new)).into_values().collect()
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

/// The inode number of the namespace that a user names: a name, or a path. Fails if there is none, or another kind of
/// file, with the path where it was looked for first.
pub(crate) fn named(word: &str) -> Result<u32, (PathBuf, io::Error)> {
    let paths = if word.contains('/') {
        vec![PathBuf::from(word)]
    } else {
        NAMED.map(|folder| Path::new(folder).join(word)).to_vec()
    };
    scout::ask(move || {
        let mut failed = None;
        for path in paths {
            match checked_inode_of(&path) {
                Ok(inode) => return Ok(inode),
                Err(error) => failed = failed.or(Some((path, error))),
            }
        }
        Err(failed.expect("there is a path at least"))
    })
}

/// A network namespace that can be entered.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Inode number, as in `readlink /proc/PID/ns/net`.
    pub(crate) inode: u32,
    /// Keeps it alive and lets a thread enter it.
    pub(crate) file: File,
}

/// The inode number of the namespace at `path`. Fails if it cannot be read, or is no namespace.
pub(crate) fn inode_of(path: &Path) -> io::Result<u32> {
    u32::try_from(fs::metadata(path)?.ino()).map_err(io::Error::other)
}

/// The same, of a path that a user gives: any file may be there.
fn checked_inode_of(path: &Path) -> io::Result<u32> {
    let file = File::open(path)?;
    // SAFETY: the request takes no argument; on a file that is no namespace it fails.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind == libc::CLONE_NEWNET {
        return u32::try_from(file.metadata()?.ino()).map_err(io::Error::other);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        if kind < 0 {
            "it is not a namespace"
        } else {
            "it is a namespace of another kind"
        },
    ))
}

/// Where namespaces are bind-mounted, by a file in the form of `/proc/PID/mountinfo`.
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    // Fields of a line: id, parent, device, root, mount point, … - type, …; see proc(5).
    mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        root.starts_with(b"net:[")
            .then(|| OsString::from_vec(unescaped(point)).into())
    })
}

/// The calling thread's namespace. Fails if `/proc` is not mounted.
pub(crate) fn current() -> io::Result<u32> {
    inode_of(Path::new("/proc/thread-self/ns/net"))
}

fn denied_by(process: &Path) -> Option<Denied> {
    Some(Denied {
        pid: pid_of(process)?,
        mark: mark_in(process),
    })
}

/// What is found in the whole machine, as far as it can be seen from here.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The namespaces, the calling thread's first.
    pub(crate) namespaces: Vec<Namespace>,
    /// Processes that do not show theirs.
    pub(crate) denied: Vec<Denied>,
    /// Namespaces that descriptors lead to and that could not be opened.
    pub(crate) unopened: Vec<Unopened>,
}

/// A namespace that is known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unopened {
    /// Inode number of the network namespace.
    pub(crate) netns: u32,
    /// A process that has a descriptor for it.
    pub(crate) pid: u32,
    /// Why it could not be opened.
    pub(crate) why: String,
}

/// All that can be found: those of processes, threads, names and mounts, and those that only `keepers` lead to.
pub(crate) fn all(keepers: &[Keeper]) -> Found {
    let own = open(Path::new("/proc/thread-self/ns/net"));
    let keepers = keepers.to_vec();
    let mut found = scout::ask(move || of_others(&keepers));
    found
        .namespaces
        .retain(|namespace| own.as_ref().is_none_or(|own| own.inode != namespace.inode));
    found.namespaces.splice(0..0, own);
    found
}

/// Processes whose namespaces may be any: those that may not be looked into, but for those in a namespace that another
/// process shows.
pub(crate) fn unknown() -> Vec<Denied> {
    scout::ask(|| {
        let mut shown = HashSet::new();
        let mut denied = Vec::new();
        for process in processes() {
            match inode_of(&process.join("ns/net")) {
                Ok(_) => shown.extend(mark_in(&process)),
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied && !is_kernel_thread(&process) =>
                {
                    denied.extend(denied_by(&process));
                }
                Err(_) => {}
            }
        }
        denied.retain(|process| process.mark.is_none_or(|mark| !shown.contains(&mark)));
        denied
    })
}

/// Those of the list that no process, name or mount leads to.
pub(crate) fn absent(list: &[u32]) -> Vec<u32> {
    if list.is_empty() {
        return Vec::new();
    }
    let found = all(&[]).namespaces;
    let is_absent = |netns: &u32| !found.iter().any(|namespace| namespace.inode == *netns);
    list.iter().copied().filter(is_absent).collect()
}

/// A process or a name that goes away meanwhile takes its namespace with it.
fn open(path: &Path) -> Option<Namespace> {
    let inode = inode_of(path).ok()?;
    let file = File::open(path).ok()?;
    Some(Namespace { inode, file })
}

/// Namespaces, each once.
#[derive(Default)]
struct UniqueNamespaces {
    seen: HashSet<u32>,
    namespaces: Vec<Namespace>,
}

impl UniqueNamespaces {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let inode = inode_of(path)?;
        if !self.seen.contains(&inode)
            && let Some(namespace) = open(path)
        {
            self.push(namespace);
        }
        Ok(())
    }

    fn push(&mut self, namespace: Namespace) {
        if self.seen.insert(namespace.inode) {
            self.namespaces.push(namespace);
        }
    }
}

/// What cannot be opened is missing: of a name that goes away, its namespace may go too.
fn of_others(keepers: &[Keeper]) -> Found {
    let mut unique = UniqueNamespaces::default();
    let mut denied = Vec::new();
    let mut mount_namespaces = HashSet::new();
    for folder in NAMED {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let _ = unique.add(&entry.path());
        }
    }
    add_mounts(&mut unique, Path::new("/proc/self"), Path::new("/"));
    mount_namespaces.extend(inode_of(Path::new("/proc/self/ns/mnt")).ok());
    for process in processes() {
        if let Err(error) = unique.add(&process.join("ns/net"))
            && error.kind() == io::ErrorKind::PermissionDenied
            && !is_kernel_thread(&process)
        {
            denied.extend(denied_by(&process));
        }
        let tasks = process.join("task");
        // A thread may have a namespace of its own. The folder has a link for each, and two for itself.
        if fs::metadata(&tasks).is_ok_and(|folder| folder.nlink() > 3) {
            for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
                let _ = unique.add(&task.path().join("ns/net"));
            }
        }
        // Processes in a mount namespace of their own may have mounted network namespaces where no other process sees them.
        if inode_of(&process.join("ns/mnt")).is_ok_and(|inode| mount_namespaces.insert(inode)) {
            add_mounts(&mut unique, &process, &process.join("root"));
        }
    }
    let unopened = add_kept(&mut unique, keepers);
    Found {
        namespaces: unique.namespaces,
        denied,
        unopened,
    }
}

/// Those mounted in the mount namespace of a process, whose root is seen at `root`.
fn add_mounts(unique: &mut UniqueNamespaces, process: &Path, root: &Path) {
    let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
    for point in mount_points(&mounts) {
        let _ = unique.add(&root.join(point.strip_prefix("/").unwrap_or(&point)));
    }
}

/// Those that only descriptors lead to. Returns what could not be opened.
fn add_kept(unique: &mut UniqueNamespaces, keepers: &[Keeper]) -> Vec<Unopened> {
    let mut failures: HashMap<u32, Unopened> = HashMap::new();
    for keeper in keepers {
        if unique.seen.contains(&keeper.netns) {
            continue;
        }
        match open_kept(keeper) {
            Ok(namespace) => unique.push(namespace),
            // The process has ended or has closed it, and with that perhaps the namespace has gone.
            Err(Barred { error, .. })
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ESRCH | libc::EBADF | libc::ENOTTY)
                ) => {}
            Err(barred) => {
                let Keeper { netns, pid, .. } = *keeper;
                let why = barred.why(pid, !holds(barred.takes));
                failures.insert(netns, Unopened { netns, pid, why });
            }
        }
    }
    failures.retain(|netns, _| !unique.seen.contains(netns));
    failures.into_values().collect()
}

/// Why a descriptor does not let us in, and the capability that the step takes which failed.
struct Barred {
    error: io::Error,
    takes: Capability,
}

impl Barred {
    /// In the same words for all descriptors that one missing capability bars.
    fn why(&self, pid: u32, is_missing: bool) -> String {
        match self.error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if is_missing => {
                format!(
                    "only open files of processes refer to it, and {}",
                    why_not(self.takes)
                )
            }
            _ => format!("only open files of process {pid} refer to it: {}", self.error),
        }
    }
}

/// The namespace that a descriptor of another process leads to: itself, or a socket in it.
fn open_kept(keeper: &Keeper) -> Result<Namespace, Barred> {
    let taking = |takes| move |error| Barred { error, takes };
    let looking = taking(Capability::CAP_SYS_PTRACE);
    let path = PathBuf::from(format!("/proc/{}/fd/{}", keeper.pid, keeper.fd));
    let is_namespace = fs::read_link(&path).is_ok_and(|target| netns_of_link(&target).is_some());
    let file = if is_namespace {
        File::open(&path).map_err(looking)?
    } else {
        let socket = borrowed(keeper).map_err(looking)?;
        namespace_of_socket(&socket).map_err(taking(Capability::CAP_NET_ADMIN))?
    };
    let inode = file.metadata().map_err(looking)?.ino();
    if inode != u64::from(keeper.netns) {
        // It was closed, and its number given to another.
        return Err(looking(Errno::EBADF.into()));
    }
    Ok(Namespace {
        inode: keeper.netns,
        file,
    })
}

/// The inode number in `net:[N]`, the link of a descriptor of a network namespace.
pub(super) fn netns_of_link(target: &Path) -> Option<u32> {
    let inode = target.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// What another process has open, for a moment open here too (pidfd_getfd(2), Linux 5.6).
fn borrowed(keeper: &Keeper) -> io::Result<OwnedFd> {
    let own = |descriptor: i64| {
        let descriptor = Errno::result(descriptor)?;
        let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
        // SAFETY: both calls return a new descriptor, which nothing else owns.
        Ok::<_, io::Error>(unsafe { OwnedFd::from_raw_fd(descriptor) })
    };
    // SAFETY: numbers alone are passed.
    let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, keeper.pid, 0) })?;
    // SAFETY: as above.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), keeper.fd, 0) })
}

fn namespace_of_socket(socket: &OwnedFd) -> io::Result<File> {
    // SAFETY: the request takes no argument and returns a new descriptor, which nothing else owns.
    unsafe {
        let file = Errno::result(libc::ioctl(socket.as_raw_fd(), SIOCGSKNS))?;
        Ok(File::from_raw_fd(file))
    }
}

/// The network namespace of a socket that another process has open. Fails if the process or its descriptor has gone, or
/// may not be looked at.
pub(super) fn of_descriptor(pid: u32, fd: u32) -> io::Result<u32> {
    let keeper = Keeper { netns: 0, pid, fd };
    let file = namespace_of_socket(&borrowed(&keeper)?)?;
    u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)
}

/// A number that the calling thread's network namespace is recognized by, also from outside and without the right to
/// trace a process in it: the inode number of `net/tcp`, which each namespace has of its own (`proc_register`).
pub(crate) fn mark() -> Option<u64> {
    mark_in(Path::new("/proc/thread-self"))
}

fn mark_in(process: &Path) -> Option<u64> {
    Some(fs::metadata(process.join("net/tcp")).ok()?.ino())
}

/// The kernel's own threads have no command line; they run in the first network namespace.
fn is_kernel_thread(process: &Path) -> bool {
    fs::read(process.join("cmdline")).is_ok_and(|line| line.is_empty())
}

fn pid_of(process: &Path) -> Option<u32> {
    process.file_name()?.to_str()?.parse().ok()
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

#[cfg(test)]
mod tests;
