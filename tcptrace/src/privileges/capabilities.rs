//! The capabilities of a thread: which ones tcptrace uses, what is lost without each, and dropping the others.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use std::{fs, os::unix::fs::MetadataExt as _};

/// A capability that some command uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) capability: Capability,
    /// What a user loses without it, after "without it".
    pub(crate) lost: &'static str,
}

/// Every capability that tcptrace uses, the most important first. The table in `docs/safety.md` has the same rows.
pub(crate) const NEEDS: [Need; 7] = [
    Need {
        capability: Capability::CAP_BPF,
        lost: "nothing can be traced, and snapshots find holders through /proc",
    },
    Need {
        capability: Capability::CAP_PERFMON,
        lost: "nothing can be traced, and snapshots find holders through /proc",
    },
    Need {
        capability: Capability::CAP_NET_ADMIN,
        lost: "network namespaces kept alive only by open sockets are not read; before Linux 5.12, where programs of the root cgroup assign cookies, sockets have none; before 6.15, MPTCP connections are known by the states of their subflows",
    },
    Need {
        capability: Capability::CAP_SYS_ADMIN,
        lost: "sockets of other network namespaces are not read, and the cost of the kernel side is not measured",
    },
    Need {
        capability: Capability::CAP_SYS_PTRACE,
        lost: "network namespaces, holders (through /proc) and stacks of other users' processes are not found",
    },
    Need {
        capability: Capability::CAP_DAC_READ_SEARCH,
        lost: "other users' processes are not found as holders through /proc, and cgroups are found by walking their hierarchy",
    },
    Need {
        capability: Capability::CAP_SYSLOG,
        lost: "TIME_WAIT and SYN_RECV are not reported on kernels that reject fentry and fexit programs",
    },
];

/// What the threads of a command that traces go on with: reading maps, loading iterators and the hooks that replace
/// silent ones, entering network namespaces, opening cgroups by their ids, and reading which protocol is above a TCP socket
/// (`tcp_diag_get_aux`).
pub(super) const TRACING: &[Capability] = &[
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_DAC_READ_SEARCH,
];

/// The capabilities that the scout thread keeps.
const LOOKING: [Capability; 3] = [
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    // A socket's network namespace takes it (`sock_ioctl`, SIOCGSKNS).
    Capability::CAP_NET_ADMIN,
];

/// The same, and where it opens the files that those have mapped, the lesser of the two capabilities that allow it
/// (`proc_map_files_get_link`; Linux 5.9 has both).
pub(super) fn looking(opens_mapped_files: bool) -> Vec<Capability> {
    let mut wanted = LOOKING.to_vec();
    if opens_mapped_files {
        let lesser = Capability::CAP_CHECKPOINT_RESTORE;
        wanted.push(if holds(lesser) {
            lesser
        } else {
            Capability::CAP_SYS_ADMIN
        });
    }
    wanted
}

/// Whether the calling thread may open the files that processes have mapped.
pub(crate) fn opens_mapped_files() -> bool {
    holds(Capability::CAP_CHECKPOINT_RESTORE) || holds(Capability::CAP_SYS_ADMIN)
}

/// Whether the calling thread may use this capability on the whole machine, and not only within a user namespace.
pub(crate) fn holds(capability: Capability) -> bool {
    is_effective(capability) && !in_user_namespace()
}

fn is_effective(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Why the calling thread may not use a capability that it does not hold.
pub(crate) fn why_not(capability: Capability) -> String {
    if is_effective(capability) {
        format!("{capability} is held only in this user namespace")
    } else {
        format!("{capability} is missing")
    }
}

/// `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO` of `linux/proc_ns.h`: the first namespaces' inode numbers.
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Whether this is not the first user namespace: capabilities hold for nothing outside of it (user_namespaces(7)).
pub(crate) fn in_user_namespace() -> bool {
    is_other("/proc/self/ns/user", FIRST_USER_NAMESPACE)
}

/// Whether this is not the first pid namespace: processes outside of it are not seen (pid_namespaces(7)).
pub(crate) fn in_pid_namespace() -> bool {
    is_other("/proc/self/ns/pid", FIRST_PID_NAMESPACE)
}

/// Where `/proc` is not mounted, nothing is known.
fn is_other(link: &str, first: u64) -> bool {
    fs::metadata(link).is_ok_and(|namespace| namespace.ino() != first)
}

/// Those of [`NEEDS`] that the calling thread may not use. `CAP_SYS_ADMIN` includes what older kernels had it for
/// (`bpf_capable`, `perfmon_capable`, `bpf_prog_load`).
pub(crate) fn missing() -> Vec<Need> {
    let stands_in = holds(Capability::CAP_SYS_ADMIN);
    let is_included = |capability| {
        stands_in
            && matches!(
                capability,
                Capability::CAP_BPF | Capability::CAP_PERFMON | Capability::CAP_NET_ADMIN
            )
    };
    NEEDS
        .into_iter()
        .filter(|need| !holds(need.capability) && !is_included(need.capability))
        .collect()
}

/// Makes these of its capabilities the only ones that the calling thread may use, and returns which they are. The
/// others stay permitted until [`seal`].
pub(super) fn use_only(wanted: &[Capability]) -> Result<CapsHashSet, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let used: CapsHashSet = wanted
        .iter()
        .copied()
        .filter(|capability| permitted.contains(capability))
        .collect();
    caps::set(None, CapSet::Effective, &used)?;
    Ok(used)
}

/// Gives up for good whatever the calling thread does not use at the moment.
pub(super) fn seal() -> Result<(), CapsError> {
    let used = caps::read(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Permitted, &used)
}

/// The names without their prefix, in the kernel's order.
#[must_use]
pub(super) fn names(set: &CapsHashSet) -> Vec<String> {
    let mut list: Vec<Capability> = set.iter().copied().collect();
    list.sort_by_key(Capability::index);
    list.into_iter().map(short_name).collect()
}

/// `BPF` for `CAP_BPF`.
pub(crate) fn short_name(capability: Capability) -> String {
    capability.to_string().trim_start_matches("CAP_").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_documented_table_has_a_row_for_each_capability() {
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/safety.md")).unwrap();
        for need in NEEDS {
            let kept = if TRACING.contains(&need.capability) {
                "yes"
            } else if LOOKING.contains(&need.capability) {
                "in one thread"
            } else {
                "no"
            };
            let row = format!("| `{}` | {} | {kept} |", need.capability, need.lost);
            assert!(page.contains(&row), "docs/safety.md lacks:\n{row}");
        }
    }

    #[test]
    fn what_is_kept_is_what_some_command_needs() {
        for capability in TRACING.iter().chain(&LOOKING) {
            assert!(
                NEEDS.iter().any(|need| need.capability == *capability),
                "{capability}"
            );
        }
    }

    #[test]
    fn a_thread_that_gives_up_everything_cannot_take_it_back() {
        let all = caps::read(None, CapSet::Effective).unwrap();
        let gave_up = std::thread::spawn(move || {
            assert!(use_only(&[]).unwrap().is_empty());
            seal().unwrap();
            all.is_empty() || caps::set(None, CapSet::Effective, &all).is_err()
        });
        assert!(gave_up.join().unwrap());
    }

    #[test]
    fn names_stand_in_the_kernel_s_order() {
        let set = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN]
            .into_iter()
            .collect();
        assert_eq!(names(&set), ["NET_ADMIN", "BPF"]);
    }
}
