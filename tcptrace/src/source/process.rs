//! What `/proc` tells of one process that lives: when it started, which cgroups it is in, how many files it has open.

use crate::{event::ProcessKey, findings::scene::Descriptors, owner::container::Place, privileges::scout};
use std::{fs, os::unix::fs::MetadataExt as _};

/// A process's start as `/proc` has it: in ticks since boot, of which the kernel's interface has 100 a second on every
/// architecture that this runs on (`USER_HZ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTicks(u64);

const NANOS_A_TICK: u64 = 1_000_000_000 / 100;

impl StartTicks {
    /// The start of a process, rounded as the kernel does.
    #[must_use]
    pub const fn of(process: ProcessKey) -> Self {
        Self(process.start_ns / NANOS_A_TICK)
    }

    /// When the process that has this id now started; `None` where there is none.
    #[must_use]
    pub fn of_pid(pid: u32) -> Option<Self> {
        let stat = scout::ask(move || fs::read(format!("/proc/{pid}/stat"))).ok()?;
        start_in(&stat)
    }
}

/// Field 22 of proc_pid_stat(5). The second field is the name in parentheses, which may hold blanks and parentheses.
fn start_in(stat: &[u8]) -> Option<StartTicks> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
    let ticks = rest.split_ascii_whitespace().nth(22 - 3)?;
    ticks.parse().ok().map(StartTicks)
}

/// The process that this id means: its own, or the one whose thread has it, as `ps -L` and a debugger show them.
#[must_use]
pub fn leader_of(id: u32) -> Option<u32> {
    let status = scout::ask(move || fs::read_to_string(format!("/proc/{id}/status"))).ok()?;
    let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    leader.trim().parse().ok()
}

/// Where the process runs; `None` where it has ended.
#[must_use]
pub fn place_of(process: ProcessKey) -> Option<Place> {
    let read = move || {
        let lines = fs::read(format!("/proc/{}/cgroup", process.pid)).ok()?;
        // Asked after the lines were read: had another process taken the id before, its start would be seen.
        let is_same = StartTicks::of_pid(process.pid)? == StartTicks::of(process);
        is_same.then_some(lines)
    };
    Place::of_process(&scout::ask(read)?)
}

/// How many files the process has open, and how many it may; `None` where it has ended, or has no limit.
#[must_use]
pub fn descriptors_of(process: ProcessKey) -> Option<Descriptors> {
    scout::ask(move || {
        let pid = process.pid;
        // Since Linux 6.2 the folder's size is the number of its entries (`proc_fd_getattr`), and 0 before.
        let fds = format!("/proc/{pid}/fd");
        let used = match fs::metadata(&fds).ok()?.size() {
            0 => fs::read_dir(&fds).ok()?.count() as u64,
            size => size,
        };
        let limit = limit_in(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)?;
        let is_same = StartTicks::of_pid(pid)? == StartTicks::of(process);
        is_same.then_some(Descriptors { used, limit })
    })
}

/// The soft limit; see proc_pid_limits(5).
fn limit_in(limits: &str) -> Option<u64> {
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_found_behind_any_name() {
        let stat = b"7 (a) S 1 (b) R 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98100 9 9";
        assert_eq!(start_in(stat), Some(StartTicks(98_100)));
        assert_eq!(
            StartTicks::of(ProcessKey {
                pid: 7,
                start_ns: 981_009_999_999
            }),
            StartTicks(98_100)
        );
        assert_eq!(start_in(b"7 (a) S 1"), None);
        assert_eq!(start_in(b""), None);
    }

    #[test]
    fn a_thread_s_id_means_its_process() {
        let pid = std::process::id();
        let thread = std::thread::spawn(|| nix::unistd::gettid().as_raw().unsigned_abs());
        let ended = thread.join().unwrap();
        assert_eq!(leader_of(pid), Some(pid));
        std::thread::spawn(move || {
            let own = nix::unistd::gettid().as_raw().unsigned_abs();
            assert_ne!(own, pid);
            assert_eq!(leader_of(own), Some(pid));
        })
        .join()
        .unwrap();
        assert_ne!(leader_of(ended), Some(ended));
    }

    #[test]
    fn another_process_with_the_same_id_is_not_believed() {
        let pid = std::process::id();
        assert!(StartTicks::of_pid(pid).is_some());
        assert_eq!(place_of(ProcessKey { pid, start_ns: 0 }), None);
    }

    #[test]
    fn open_files_are_counted_against_the_soft_limit() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             63448                63448                processes \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(limit_in(limits), Some(1024));
        assert_eq!(
            limit_in("Max open files            unlimited            unlimited            files"),
            None
        );
        let pid = std::process::id();
        assert_eq!(descriptors_of(ProcessKey { pid, start_ns: 0 }), None);
    }
}
