//! The privileges of the process: all until it has attached, or before it reads a byte of a recording; afterwards only
//! what the command still needs. What is dropped cannot be regained.

pub mod capabilities;
pub(crate) mod read_only;
mod sandbox;
pub mod scout;

use caps::{Capability, CapsHashSet};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    sys::prctl,
    unistd::{AccessFlags, faccessat},
};
use sandbox::Files;
pub use sandbox::Landlock;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What a command does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Trace, and inspect sockets and processes.
    Live {
        /// Whether it reads the code of processes, for stacks.
        reads_code: bool,
    },
    /// Read recordings.
    Replay,
}

/// What is still needed.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The kind of work that follows.
    pub work: Work,
    /// Files that are read, and folders with all below them.
    pub inputs: Vec<PathBuf>,
    /// Folders that are listed, and whose files are not read.
    pub listed: Vec<PathBuf>,
    /// Files that are written, and folders in which files are.
    pub outputs: Vec<PathBuf>,
    /// Whether files are linked from one of those folders into one below it.
    pub links: bool,
}

/// What is held from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Capabilities that were kept, without their prefix; those of all threads but the scout.
    pub capabilities: Vec<String>,
    /// Those of the scout; `None` where there is none.
    pub scout: Option<Vec<String>>,
    /// Whether no program that is executed may get more.
    pub no_new_privileges: bool,
    /// Which files may be opened.
    pub landlock: Landlock,
    /// What could not be dropped, and why: a sentence each.
    pub failures: Vec<String>,
}

impl Held {
    pub(crate) fn line(&self) -> String {
        let scout = match &self.scout {
            Some(scout) if !scout.is_empty() => format!(" (scout: {})", list(scout)),
            Some(_) | None => String::new(),
        };
        let kept = list(&self.capabilities);
        format!("capabilities kept: {kept}{scout}; {}", self.landlock)
    }
}

/// Names in a list, or that there are none.
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

/// Where the system keeps the rules of time zones.
const ZONES: [&str; 5] = [
    "/etc/localtime",
    "/etc/zoneinfo",
    "/usr/share/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/usr/lib/zoneinfo",
];

/// What a live command reads, besides: processes, settings and counters, the kernel's types and hooks, the names of
/// network namespaces, sysctl.d(5).
const LIVE: [&str; 5] = [
    "/proc",
    "/sys",
    "/run/netns",
    "/run/docker/netns",
    "/etc/sysctl.d",
];

/// Standard output, which is read where it is a file: a recording is not written over.
const STDOUT: &str = "/proc/self/fd/1";

/// The terminal, where standard input is none.
const TERMINAL: &str = "/dev/tty";

/// Leaves the calling thread nothing but the files that are open already: for one that only writes to those. What is
/// refused it keeps: there is no place to report it.
pub fn renounce() {
    let _ = prctl::set_no_new_privs();
    let _ = capabilities::use_only(&[]).and_then(|_| capabilities::seal());
    let _ = sandbox::confine(&Files::default());
}

/// What resolves names: static programs, and those of glibc, read no other files.
const RESOLVER: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    // Where the first is a link to a file that is replaced.
    "/run/systemd/resolve",
];

/// Leaves the calling thread nothing but to connect to these TCP ports, and to resolve names. What is refused it keeps.
pub(crate) fn connect_only(ports: &[u16]) {
    let _ = prctl::set_no_new_privs();
    let _ = capabilities::use_only(&[]).and_then(|_| capabilities::seal());
    let _ = sandbox::confine(&Files {
        readable: RESOLVER.map(PathBuf::from).to_vec(),
        ports: ports.to_vec(),
        ..Files::default()
    });
}

/// Gives up what the command does not need. To be called before it starts any thread: those that are there already
/// keep what they have, unless they [`renounce`] it themselves.
#[must_use]
pub fn confine(needs: &Needs) -> Held {
    let mut failures = Vec::new();
    if let Err(error) = prctl::set_no_new_privs() {
        failures.push(format!("no_new_privs cannot be set: {}", error.desc()));
    }
    let scout = match needs.work {
        Work::Live { reads_code } => match scout::start(capabilities::looking(reads_code)) {
            Ok(started) => {
                failures.extend(started.unfiltered.map(|error| {
                    format!("the scout thread, which inspects other processes, is not restricted to reading: {error}")
                }));
                Some(capabilities::names(&started.held))
            }
            Err(error) => {
                failures.push(format!(
                    "the scout thread, which inspects other processes, could not be started: {error}"
                ));
                None
            }
        },
        Work::Replay => None,
    };
    let writable: Vec<PathBuf> = needs.outputs.iter().map(|path| folder_of(path)).collect();
    let kept = match give_up(needs, &writable) {
        Ok(kept) => kept,
        Err(error) => {
            failures.push(format!("capabilities cannot be dropped: {error}"));
            caps::read(None, caps::CapSet::Effective).unwrap_or_default()
        }
    };
    let landlock = sandbox::confine(&Files {
        readable: readable(needs),
        listed: needs.listed.clone(),
        writable: writable.into_iter().chain([PathBuf::from(TERMINAL)]).collect(),
        links: needs.links,
        ports: Vec::new(),
    });
    let held = Held {
        capabilities: capabilities::names(&kept),
        scout,
        no_new_privileges: prctl::get_no_new_privs().unwrap_or(false),
        landlock,
        failures,
    };
    log::info!("{}", held.line());
    held
}

/// Root without its capabilities is a user like others: what it could not read or write so, it keeps the capability
/// for.
fn give_up(needs: &Needs, writable: &[PathBuf]) -> Result<CapsHashSet, caps::errors::CapsError> {
    let mut wanted = match needs.work {
        Work::Live { .. } => capabilities::TRACING.to_vec(),
        Work::Replay => Vec::new(),
    };
    capabilities::use_only(&wanted)?;
    if !needs.inputs.iter().all(|path| may(path, AccessFlags::R_OK)) {
        wanted.push(Capability::CAP_DAC_READ_SEARCH);
    }
    let may_write = |path: &PathBuf| {
        let search = if path.is_dir() {
            AccessFlags::X_OK
        } else {
            AccessFlags::empty()
        };
        may(path, AccessFlags::W_OK | search)
    };
    if !writable.iter().all(may_write) {
        wanted.push(Capability::CAP_DAC_OVERRIDE);
    }
    let kept = capabilities::use_only(&wanted)?;
    capabilities::seal()?;
    Ok(kept)
}

/// Whether the capabilities in use allow it. What fails for another reason would fail with all of them.
fn may(path: &Path, access: AccessFlags) -> bool {
    faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS) != Err(Errno::EACCES)
}

fn readable(needs: &Needs) -> Vec<PathBuf> {
    let live = match needs.work {
        Work::Live { .. } => &LIVE[..],
        Work::Replay => &[],
    };
    let of_system = live.iter().chain(&ZONES).map(PathBuf::from);
    let stdout = PathBuf::from(STDOUT);
    of_system
        .chain(zone_of_environment())
        .chain(stdout.is_file().then_some(stdout))
        .chain(needs.inputs.iter().cloned())
        .collect()
}

/// `TZ` may name a file, and `TZDIR` the folder of all of them; see tzset(3).
fn zone_of_environment() -> impl Iterator<Item = PathBuf> {
    let zone = env::var("TZ").ok();
    let zone = zone.map(|name| PathBuf::from(name.trim_start_matches(':')));
    let zone = zone.filter(|path| path.is_absolute() && path.is_file());
    zone.into_iter().chain(env::var_os("TZDIR").map(PathBuf::from))
}

/// Where an output is made: the folder of a file, which may be replaced; a folder; anything else, which is written as
/// it is. A name of an open descriptor stands for what is open.
fn folder_of(path: &Path) -> PathBuf {
    let is_descriptor = path.starts_with("/dev") || path.starts_with("/proc");
    let open = is_descriptor.then(|| fs::canonicalize(path).ok()).flatten();
    let path = open.as_deref().unwrap_or(path);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => path.to_owned(),
        Ok(_) | Err(_) => match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_file_is_written_in_its_folder_and_a_device_where_it_is() {
        assert_eq!(folder_of(Path::new("out.json")), Path::new("."));
        assert_eq!(folder_of(Path::new("/nowhere/out.json")), Path::new("/nowhere"));
        assert_eq!(folder_of(Path::new("/proc")), Path::new("/proc"));
        assert_eq!(folder_of(Path::new("/dev/null")), Path::new("/dev/null"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let descriptor = format!("/proc/self/fd/{}", file.as_file().as_raw_fd());
        let folder = file.path().parent().unwrap().canonicalize().unwrap();
        assert_eq!(folder_of(Path::new(&descriptor)), folder);
    }

    #[test]
    fn a_header_says_what_is_held() {
        let mut held = Held {
            capabilities: vec!["NET_ADMIN".to_owned(), "BPF".to_owned()],
            scout: Some(vec!["SYS_PTRACE".to_owned()]),
            no_new_privileges: true,
            landlock: Landlock::Enforced { abi: 7 },
            failures: Vec::new(),
        };
        assert_eq!(
            held.line(),
            "capabilities kept: NET_ADMIN BPF (scout: SYS_PTRACE); Landlock: ABI 7"
        );
        held.capabilities.clear();
        held.scout = None;
        held.landlock = Landlock::NotInKernel;
        assert_eq!(
            held.line(),
            "capabilities kept: none; Landlock: not in this kernel"
        );
    }
}
