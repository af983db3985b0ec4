//! A live process in `/proc`: when it started, which cgroups it is in, how many files it has open.

use crate::{
    event::{ProcessKey, StartTicks},
    findings::scene::Descriptors,
    lossy,
    owner::container::Location,
    printable::printable,
    privileges::scout,
};
use std::{
    fs, iter,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
};

/// When the process that has this id now started; `None` where there is none.
pub(crate) fn start_of(pid: u32) -> Option<StartTicks> {
    let stat = scout::ask(move || fs::read(format!("/proc/{pid}/stat"))).ok()?;
    start_in(&stat)
}

/// Field 22 of proc_pid_stat(5). The second field is the name in parentheses, which may hold blanks and parentheses.
fn start_in(stat: &[u8]) -> Option<StartTicks> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
    let ticks = rest.split_ascii_whitespace().nth(22 - 3)?;
    ticks.parse().ok().map(StartTicks)
}

/// The process that this id means: its own, or the one whose thread has it, as `ps -L` and a debugger show them.
pub(crate) fn leader_of(id: u32) -> Option<u32> {
    let status = scout::ask(move || lossy::read(format!("/proc/{id}/status"))).ok()?;
    let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    leader.trim().parse().ok()
}

/// The real user ID in a `/proc/PID/status`: the first of four, proc_pid_status(5).
pub(super) fn user_in(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// What the processes that are seen here are called, as rows have it.
pub(crate) fn names_of_all() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &fs::DirEntry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit);
    let name = |entry: fs::DirEntry| {
        let comm = fs::read(entry.path().join("comm")).ok()?;
        Some(printable(comm.trim_ascii_end()).into_owned())
    };
    entries.filter(is_process).filter_map(name).collect()
}

/// Where the process runs; `None` where it has ended.
pub(crate) fn place_of(process: ProcessKey) -> Option<Location> {
    let read = move || {
        let lines = fs::read(format!("/proc/{}/cgroup", process.pid)).ok()?;
        // Asked after the lines were read: had another process taken the id before, its start would be seen.
        let is_same = start_of(process.pid)? == StartTicks::of(process);
        is_same.then_some(lines)
    };
    Location::of_process(&scout::ask(read)?)
}

/// How many files the process has open, in the fullest of its threads' tables (before Linux 6.2 in the first that has any),
/// and how many it may; `None` where it has ended, or has no limit.
pub(crate) fn descriptors_of(process: ProcessKey) -> Option<Descriptors> {
    scout::ask(move || {
        let pid = process.pid;
        let used = most_used(pid)?;
        let limit = limit_in(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)?;
        let is_same = start_of(pid)? == StartTicks::of(process);
        is_same.then_some(Descriptors { used, limit })
    })
}

/// Maximum number of threads that are checked for a descriptor table of their own.
const THREADS: usize = 256;

/// The entries of the fullest descriptor table: `/proc/PID/fd` is that of the leader, which has none any more where it has
/// ended before the other threads, and a thread has its own after `unshare(CLONE_FILES)`. The limit is that of each.
fn most_used(pid: u32) -> Option<u64> {
    let threads = format!("/proc/{pid}/task");
    // Two links of the folder itself, and one for each thread (`proc_task_getattr`).
    let is_alone = fs::metadata(&threads).ok()?.nlink() <= 3;
    let others = if is_alone {
        None
    } else {
        fs::read_dir(threads).ok()
    };
    let others = others.into_iter().flatten().flatten().take(THREADS);
    let others = others.map(|thread| format!("{}/fd", thread.path().display()));
    let folders = iter::once(format!("/proc/{pid}/fd")).chain(others);
    fullest(folders.filter_map(|folder| entries(&folder)))
}

/// How many entries a folder has.
#[derive(Clone, Copy, Debug)]
enum Entries {
    /// By its size: since Linux 6.2 that of `/proc/PID/fd` is the number of its entries (`proc_fd_getattr`), and 0 before.
    Sized(u64),
    /// They had to be listed, one by one.
    Listed(u64),
}

/// Listing takes long, and threads normally share one table: the first that is listed and not empty stands for all.
fn fullest(tables: impl Iterator<Item = Entries>) -> Option<u64> {
    let mut most = None;
    for table in tables {
        match table {
            Entries::Listed(count @ 1..) => return Some(count),
            Entries::Sized(count) | Entries::Listed(count) => most = most.max(Some(count)),
        }
    }
    most
}

fn entries(folder: &str) -> Option<Entries> {
    match fs::metadata(folder).ok()?.size() {
        0 => Some(Entries::Listed(fs::read_dir(folder).ok()?.count() as u64)),
        size => Some(Entries::Sized(size)),
    }
}

/// The soft limit; see proc_pid_limits(5).
fn limit_in(limits: &str) -> Option<u64> {
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;
