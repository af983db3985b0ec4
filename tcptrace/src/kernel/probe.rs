//! Probes what the kernel supports. Facts only; `plan` draws the conclusions.

use super::{btf::Btf, refusal::Refusal};
use crate::{lossy, printable::printable, privileges::capabilities};
use caps::Capability;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::utsname::uname,
};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Capabilities that tracing requires, unless `CAP_SYS_ADMIN` is held. The purpose of the others is
/// `privileges::capabilities`'.
const CAPABILITIES: [(Capability, &str); 2] = [
    (Capability::CAP_BPF, "CAP_BPF"),
    (Capability::CAP_PERFMON, "CAP_PERFMON"),
];

const TRACEPOINT_FORMAT: &str = "events/sock/inet_sock_set_state/format";
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What is known before anything is loaded.
pub(crate) struct Facts {
    /// `uname -r`.
    pub(crate) release: String,
    /// `uname -m`.
    pub(crate) machine: String,
    /// `uname -n`.
    pub(crate) host: String,
    /// The kernel's types, or why there are none.
    pub(crate) btf: Result<Btf, Refusal>,
    /// Addresses of the two timer handlers, 0 where `/proc/kallsyms` hides or lacks them.
    pub(crate) handlers: TimerHandlers,
    pub(crate) missing_capabilities: Vec<&'static str>,
}

/// What the kernel side is loaded for. Snapshots attach to no hook, so the addresses of the timer handlers are not looked
/// up, which takes the kernel tens of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadFor {
    Tracing,
    /// Iterators alone.
    Snapshots,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimerHandlers {
    /// `tw_timer_handler`
    pub(crate) timewait: u64,
    /// `reqsk_timer_handler`
    pub(crate) request: u64,
}

/// Looks at the system, and refuses where nothing could be traced. Errors: missing privileges, lockdown, no `bpf(2)`.
pub(crate) fn facts(load_for: LoadFor) -> Result<Facts, Refusal> {
    let facts = look(load_for);
    if !fs::exists("/proc/self/ns").unwrap_or(false) {
        return Err(Refusal::NoProc);
    }
    if capabilities::in_user_namespace() {
        return Err(Refusal::UserNamespace);
    }
    if !facts.missing_capabilities.is_empty() {
        return Err(Refusal::MissingCapabilities(facts.missing_capabilities));
    }
    if is_locked_down() {
        return Err(Refusal::LockedDown);
    }
    if !has_bpf() {
        return Err(Refusal::NoBpf);
    }
    Ok(facts)
}

/// Looks at the system and refuses nothing.
pub(crate) fn look(load_for: LoadFor) -> Facts {
    let name = uname().ok();
    let field = |of: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        name.as_ref().map_or_else(
            || "unknown".to_owned(),
            |name| printable(of(name).as_bytes()).into_owned(),
        )
    };
    Facts {
        release: field(|name| name.release()),
        machine: field(|name| name.machine()),
        host: field(|name| name.nodename()),
        btf: Btf::of_running_kernel().map_err(|error| Refusal::BadBtf {
            detail: error.to_string(),
        }),
        handlers: match load_for {
            LoadFor::Tracing => timer_handlers(),
            LoadFor::Snapshots => TimerHandlers::default(),
        },
        missing_capabilities: missing_capabilities(capabilities::holds),
    }
}

fn missing_capabilities(holds: impl Fn(Capability) -> bool) -> Vec<&'static str> {
    if holds(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    CAPABILITIES
        .iter()
        .filter(|(capability, _)| !holds(*capability))
        .map(|(_, name)| *name)
        .collect()
}

fn is_locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|modes| modes.contains("[confidentiality]"))
}

/// An invalid command is refused in its own way by a kernel that has the call at all.
fn has_bpf() -> bool {
    // SAFETY: no attributes are passed, and none are read: the size is 0.
    let result = unsafe { libc::syscall(libc::SYS_bpf, -1, std::ptr::null::<u8>(), 0) };
    result != -1 || Errno::last() != Errno::ENOSYS
}

fn timer_handlers() -> TimerHandlers {
    let [timewait, request] = addresses(kallsyms(), ["tw_timer_handler", "reqsk_timer_handler"]);
    TimerHandlers { timewait, request }
}

/// The address of a symbol of the kernel, 0 where `/proc/kallsyms` hides or lacks it.
pub(crate) fn symbol(name: &str) -> u64 {
    addresses(kallsyms(), [name])[0]
}

fn kallsyms() -> Option<impl BufRead> {
    Some(BufReader::with_capacity(
        64 << 10,
        File::open("/proc/kallsyms").ok()?,
    ))
}

/// The addresses of these symbols, 0 for those that are hidden or missing. Reads no further than it has to: the kernel
/// takes longer to write the symbols than this takes to read them.
fn addresses<const N: usize>(kallsyms: Option<impl BufRead>, names: [&str; N]) -> [u64; N] {
    let mut addresses = [None; N];
    for line in kallsyms
        .into_iter()
        .flat_map(BufRead::lines)
        .map_while(Result::ok)
    {
        let mut words = line.split(' ');
        let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if let Some(slot) = names.iter().position(|wanted| *wanted == name) {
            addresses[slot] = u64::from_str_radix(address, 16).ok();
            if addresses.iter().all(Option::is_some) {
                break;
            }
        }
    }
    addresses.map(Option::unwrap_or_default)
}

/// The root of the cgroup v2 hierarchy, wherever it is mounted. Fails if it is not mounted, or cannot be opened.
pub(crate) fn root_cgroup() -> Result<File, Refusal> {
    let refused = |error: String| Refusal::System {
        action: "open the root cgroup".to_owned(),
        error,
    };
    let mounts = lossy::read("/proc/self/mounts").map_err(|error| refused(error.to_string()))?;
    let root = cgroup_mount(&mounts).ok_or_else(|| refused("cgroup v2 is not mounted".to_owned()))?;
    File::open(root).map_err(|error| refused(error.to_string()))
}

fn cgroup_mount(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let mount_point = words.nth(1)?;
        (words.next()? == "cgroup2").then_some(mount_point)
    })
}

/// The description of the classic tracepoint's record, from tracefs, which is mounted in a private mount namespace
/// where it is not mounted yet. Fails if it can be neither read nor mounted, or the tracepoint does not exist.
pub(crate) fn classic_format() -> Result<String, Refusal> {
    let read = |root: &Path| fs::read_to_string(root.join(TRACEPOINT_FORMAT));
    for root in TRACEFS {
        if let Ok(format) = read(Path::new(root)) {
            return Ok(format);
        }
    }
    let root = PathBuf::from(TRACEFS[0]);
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| {
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
        })
        .and_then(|()| {
            mount(
                Some("tracefs"),
                &root,
                Some("tracefs"),
                MsFlags::empty(),
                None::<&str>,
            )
        });
    match mounted {
        Ok(()) => read(&root).map_err(|_| Refusal::NoTracepoint),
        Err(error) => Err(Refusal::NoTracefs {
            detail: error.desc().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_s_capability_stands_in_for_those_of_bpf() {
        let missing = |held: &[Capability]| missing_capabilities(|capability| held.contains(&capability));
        assert_eq!(missing(&[]), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(&[Capability::CAP_SYS_ADMIN]), [""; 0]);
        assert_eq!(missing(&[Capability::CAP_BPF, Capability::CAP_PERFMON]), [""; 0]);
        assert_eq!(missing(&[Capability::CAP_BPF]), ["CAP_PERFMON"]);
    }

    #[test]
    fn the_second_hierarchy_is_found_among_the_first_s_controllers() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup_mount(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn symbols_are_found_by_their_whole_name() {
        let names = ["tw_timer_handler", "reqsk_timer_handler"];
        let found = |text: &str| addresses(Some(text.as_bytes()), names);
        let kallsyms = "ffffffff81000010 t tw_timer_handler_x\nffffffff81000020 t tw_timer_handler\n\
                        ffffffff81000030 t reqsk_timer_handler\n";
        assert_eq!(found(kallsyms), [0xffff_ffff_8100_0020, 0xffff_ffff_8100_0030]);
        assert_eq!(found("0000000000000000 t tw_timer_handler\n"), [0, 0]);
        assert_eq!(addresses(None::<&[u8]>, names), [0, 0]);
    }
}
