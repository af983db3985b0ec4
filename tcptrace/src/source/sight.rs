//! What a snapshot of this machine could not see, and why.

use super::namespaces;
use crate::{
    lossy,
    plural::counted,
    printable::printable,
    privileges::{
        capabilities::{self, holds, why_not},
        scout,
    },
    socket::{
        scan::{Scan, ScanMechanism},
        snapshot::{Denied, Snapshot, distinct},
    },
    unseen::{Unseen, What},
};
use caps::Capability;
use std::{fs, io, path::Path};

/// Most processes named whose network namespaces are unknown.
const NAMED: usize = 3;

/// For sockets: of the network namespaces in `asked`, or of all.
pub(crate) fn of_sockets(snapshot: &Snapshot, wanted: Option<&[u32]>) -> Vec<Unseen> {
    let mut list = unread(&snapshot.failures, "the sockets of");
    if let Some(wanted) = wanted {
        let is_known = |netns: &u32| {
            snapshot.covered.contains(netns) || snapshot.failures.iter().any(|(failed, _)| failed == netns)
        };
        let missing: Vec<u32> = wanted.iter().copied().filter(|netns| !is_known(netns)).collect();
        if !missing.is_empty() {
            let text = format!("the sockets of {}: {}", names_of(&missing), why_not_found());
            list.push(Unseen::with_ids(What::NetworkNamespaces, &missing, text));
        }
        return list;
    }
    list.extend(hidden(&snapshot.denied));
    list.extend(out_of_reach());
    list
}

/// Why a requested network namespace may not have been found.
pub(crate) fn why_not_found() -> String {
    let hidden = hidden(&namespaces::unknown()).map(|unseen| unseen.text);
    let reasons: Vec<String> = hidden.into_iter().chain(elsewhere()).collect();
    in_view_of(&reasons)
}

fn in_view_of(reasons: &[String]) -> String {
    if reasons.is_empty() {
        "no process, name, mount or socket refers to it".to_owned()
    } else {
        format!(
            "not found, and not all network namespaces are visible: {}",
            reasons.join("; ")
        )
    }
}

/// Network namespaces that could not be read, grouped by the reason.
fn unread(failures: &[(u32, String)], what: &str) -> Vec<Unseen> {
    let mut by_reason: Vec<(&str, Vec<u32>)> = Vec::new();
    for (netns, why) in failures {
        match by_reason.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, list)) => list.push(*netns),
            None => by_reason.push((why, vec![*netns])),
        }
    }
    let unseen = |(why, list): (&str, Vec<u32>)| {
        let text = format!("{what} {}: {why}", names_of(&list));
        Unseen::with_ids(What::NetworkNamespaces, &list, text)
    };
    by_reason.into_iter().map(unseen).collect()
}

/// Names one network namespace, or the number of several and the first ones.
fn names_of(ids: &[u32]) -> String {
    let names: Vec<String> = ids.iter().take(NAMED).map(u32::to_string).collect();
    let names = names.join(", ");
    match ids.len() {
        1 => format!("network namespace {names}"),
        count if count <= NAMED => format!("{count} network namespaces ({names})"),
        count => format!("{count} network namespaces ({names}, …)"),
    }
}

/// Processes whose network namespaces may not have been read.
fn hidden(denied: &[Denied]) -> Option<Unseen> {
    let pids: Vec<u32> = denied.iter().map(|process| process.pid).collect();
    let (first, rest) = pids.split_first()?;
    let name = fs::read(format!("/proc/{first}/comm")).unwrap_or_default();
    let namespaces = counted(distinct(denied), "network namespace");
    let name = printable(name.trim_ascii_end());
    let whose = match rest.len() {
        0 => format!("{namespaces} of process {first} ({name})"),
        more => {
            let processes = counted(pids.len(), "process");
            format!("{namespaces} of {processes}, {first} ({name}) and {more} more")
        }
    };
    let why = scout_lacks(Capability::CAP_SYS_PTRACE)
        .unwrap_or_else(|| "the kernel protects it from inspection".to_owned());
    Some(Unseen::with_ids(
        What::Processes,
        &pids,
        format!("{whose}: {why}"),
    ))
}

/// Processes that are not listed in this process's `/proc`.
fn out_of_reach() -> Option<Unseen> {
    let why = elsewhere()?;
    Some(Unseen::new(
        What::Processes,
        format!("processes outside of this PID namespace, their network namespaces and sockets: {why}"),
    ))
}

/// Why `/proc` does not list every process of the machine; `None` if it does.
pub(crate) fn elsewhere() -> Option<String> {
    if !fs::exists("/proc/self").unwrap_or(false) {
        Some("/proc is not mounted, or belongs to another PID namespace".to_owned())
    } else if capabilities::in_pid_namespace() {
        Some("this is not the host's PID namespace; in a container, use --pid=host or hostPID".to_owned())
    } else if is_proc_hidden(&mounts()) {
        let why = scout_lacks(Capability::CAP_SYS_PTRACE)?;
        Some(format!("/proc is mounted with hidepid, and {why}"))
    } else {
        None
    }
}

/// Why a file of a process could not be opened, if for lack of privileges.
pub(crate) fn why_refused(path: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        _ if !path.starts_with("/proc") => None,
        io::ErrorKind::PermissionDenied => scout_lacks(Capability::CAP_SYS_PTRACE),
        io::ErrorKind::NotFound => elsewhere(),
        _ => None,
    }
}

/// Why the scout thread may not use a capability; `None` if it may.
fn scout_lacks(capability: Capability) -> Option<String> {
    scout::ask(move || (!holds(capability)).then(|| why_not(capability)))
}

fn mounts() -> String {
    lossy::read("/proc/self/mounts").unwrap_or_default()
}

/// Whether `/proc` shows users only their own processes (hidepid), from text in the form of `/proc/self/mounts`.
fn is_proc_hidden(mounts: &str) -> bool {
    let proc = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(1) == Some("/proc"));
    let options = proc.and_then(|line| line.split(' ').nth(3)).unwrap_or_default();
    options
        .split(',')
        .filter_map(|option| option.strip_prefix("hidepid="))
        .any(|value| value != "0" && value != "off")
}

pub(crate) fn of_holders(scan: &Scan) -> Vec<Unseen> {
    let mut list = Vec::new();
    if scan.hidden > 0 {
        let missing: Vec<String> = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH]
            .into_iter()
            .filter_map(scout_lacks)
            .collect();
        list.push(Unseen::counted(
            What::Holders,
            scan.hidden,
            format!(
                "the open files of {}, whose sockets therefore have no holder: {}",
                counted(scan.hidden, "process"),
                missing.join(", ")
            ),
        ));
    }
    if scan.mechanism == ScanMechanism::Proc {
        list.push(Unseen::new(
            What::Holders,
            "sockets in CLOSE that are still open: only the kernel's iterator of open files lists them, and it could not be used",
        ));
    }
    list
}

/// For MPTCP sockets, whose state differs from those of their subflows.
pub(crate) fn of_mptcp(snapshot: &Snapshot) -> Vec<Unseen> {
    unread(&snapshot.mptcp_failures, "leaked MPTCP connections in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::scan::Keeper;

    fn snapshot() -> Snapshot {
        Snapshot {
            covered: [1, 2].into(),
            failures: vec![(3, "refused".to_owned())],
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_namespace_that_was_asked_for_is_read_or_named() {
        let seen = of_sockets(
            &Snapshot {
                failures: Vec::new(),
                ..snapshot()
            },
            Some(&[1]),
        );
        assert_eq!(seen, []);
        let list = of_sockets(&snapshot(), Some(&[1, 3, 4]));
        let ids: Vec<&[u32]> = list.iter().map(|unseen| unseen.ids.as_slice()).collect();
        assert_eq!(ids, [[3], [4]]);
        assert!(list.iter().all(|unseen| unseen.what == What::NetworkNamespaces));
        assert!(list[1].text.starts_with("the sockets of network namespace 4: "));
    }

    #[test]
    fn what_is_not_found_may_be_where_nobody_may_look() {
        assert!(in_view_of(&[]).starts_with("no process"));
        let hidden = "the namespaces of process 7 (web): CAP_SYS_PTRACE is missing".to_owned();
        let text = in_view_of(&[hidden]);
        assert!(
            text.starts_with("not found") && text.contains("CAP_SYS_PTRACE is missing"),
            "{text}"
        );
    }

    #[test]
    fn only_what_is_below_proc_is_put_down_to_a_capability() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound] {
            assert_eq!(why_refused(Path::new("/etc/shadow"), &kind.into()), None);
        }
        let lacking = why_refused(
            Path::new("/proc/1/ns/net"),
            &io::ErrorKind::PermissionDenied.into(),
        );
        assert_eq!(lacking.is_some(), !holds(Capability::CAP_SYS_PTRACE));
    }

    #[test]
    fn namespaces_that_are_not_read_for_one_reason_are_one_line() {
        let failures = [(3, "no sock_diag"), (4, "not allowed"), (5, "no sock_diag")];
        let list = unread(
            &failures.map(|(netns, why)| (netns, why.to_owned())),
            "the sockets of",
        );
        let texts: Vec<&str> = list.iter().map(|unseen| unseen.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "the sockets of 2 network namespaces (3, 5): no sock_diag",
                "the sockets of network namespace 4: not allowed"
            ]
        );
    }

    #[test]
    fn a_process_in_a_namespace_that_may_not_be_seen_is_named() {
        let process = |pid| Denied { pid, mark: None };
        let unseen = hidden(&[process(std::process::id()), process(8)]).unwrap();
        assert_eq!((unseen.what, unseen.count), (What::Processes, Some(2)));
        assert!(unseen.text.contains("and 1 more: "), "{}", unseen.text);
        assert_eq!(hidden(&[]), None);
    }

    #[test]
    fn what_proc_hides_is_in_its_mount_options() {
        let mount = |options: &str| format!("sysfs /sys sysfs rw 0 0\nproc /proc proc {options} 0 0\n");
        assert!(is_proc_hidden(&mount("rw,hidepid=invisible")));
        assert!(is_proc_hidden(&mount("rw,nosuid,hidepid=2,gid=5")));
        assert!(!is_proc_hidden(&mount("rw,hidepid=0")));
        assert!(!is_proc_hidden(&mount("rw,relatime")));
        assert!(!is_proc_hidden(""));
    }

    #[test]
    fn a_scan_by_proc_does_not_see_closed_sockets() {
        let by_iterator = Scan {
            keepers: vec![Keeper {
                netns: 1,
                pid: 2,
                fd: 3,
            }],
            ..Scan::default()
        };
        assert_eq!(of_holders(&by_iterator), []);
        let by_proc = Scan {
            mechanism: ScanMechanism::Proc,
            hidden: 2,
            ..by_iterator
        };
        let counts: Vec<Option<usize>> = of_holders(&by_proc).iter().map(|unseen| unseen.count).collect();
        assert_eq!(counts, [Some(2), None]);
    }
}
