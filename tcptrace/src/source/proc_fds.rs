//! Who holds which socket by `/proc/PID/fd`, for kernels without an iterator of open files. It finds a socket by its
//! inode number, so it needs the rows that a dump gave, and does not see sockets that are CLOSE.

use crate::{
    decode::{Holder, Row},
    event::{Ends, Nanos, ProcessKey},
    kernel::clock,
    privileges::{capabilities, scout},
};
use caps::Capability;
use hashbrown::{HashMap, HashSet};
use std::{fs, io, path::Path};

/// `start_time` in `/proc/PID/stat` counts these (`USER_HZ`), nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// What it takes to look into the processes of other users.
const WANTED: [Capability; 2] = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Every open file of every process that is one of the rows.
    pub holders: Vec<Holder>,
    /// Processes whose files may not be listed, for want of a capability.
    pub hidden: usize,
    /// CPU time of the thread that looked.
    pub cpu: Nanos,
}

/// Looks into every process for the sockets of `rows`.
#[must_use]
pub fn holders(rows: &[Row]) -> Found {
    let by_inode: HashMap<u32, &Row> = rows
        .iter()
        .filter(|row| row.inode != 0)
        .map(|row| (row.inode, row))
        .collect();
    let wanted: HashSet<u32> = by_inode.keys().copied().collect();
    let (files, hidden, cpu) = scout::ask(move || {
        let begun = clock::thread_cpu();
        let (files, mut hidden) = look(&wanted);
        // What is protected even from those has no remedy.
        if WANTED.into_iter().all(capabilities::holds) {
            hidden = 0;
        }
        (files, hidden, clock::thread_cpu().since(begun))
    });
    let holder = |file: File| {
        let row = by_inode.get(&file.inode)?;
        Some(Holder {
            cookie: row.sock.cookie,
            process: file.process,
            comm: file.comm,
            cgroup: 0,
            fd: file.fd,
            state: row.state,
            netns: row.netns,
            ends: Ends::default(),
            error: 0,
        })
    };
    Found {
        holders: files.into_iter().filter_map(holder).collect(),
        hidden,
        cpu,
    }
}

/// An open file that is a socket.
struct File {
    process: ProcessKey,
    comm: [u8; 16],
    fd: u32,
    inode: u32,
}

/// The files that are wanted, and how many processes do not show theirs.
fn look(wanted: &HashSet<u32>) -> (Vec<File>, usize) {
    let mut files = Vec::new();
    let mut hidden = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            let is_hidden = of_process(pid, &entry.path(), wanted, &mut files).is_err();
            // The kernel's own threads, which have no command line, hold nothing.
            if is_hidden && fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty()) {
                hidden += 1;
            }
        }
    }
    (files, hidden)
}

/// Fails where the process may not be looked into. One that ends meanwhile holds nothing.
fn of_process(pid: u32, folder: &Path, wanted: &HashSet<u32>, files: &mut Vec<File>) -> io::Result<()> {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let mut process = None;
    let entries = match fs::read_dir(folder.join("fd")) {
        Ok(entries) => entries,
        Err(error) if denied(&error) => return Err(error),
        Err(_) => return Ok(()),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            Err(error) if denied(&error) => return Err(error),
            Err(_) => continue,
        };
        let inode = target.to_str().and_then(socket_inode);
        let Some(inode) = inode.filter(|inode| wanted.contains(inode)) else {
            continue;
        };
        if process.is_none() {
            process = fs::read_to_string(folder.join("stat"))
                .ok()
                .and_then(|stat| name_and_start(&stat));
        }
        let Some((comm, start_ns)) = process else {
            return Ok(());
        };
        files.push(File {
            process: ProcessKey { pid, start_ns },
            comm,
            fd,
            inode,
        });
    }
    Ok(())
}

/// The number in `socket:[N]`.
fn socket_inode(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Name and start since boot, to 10 ms, from `/proc/PID/stat` (proc(5)): the name stands in parentheses and may hold
/// any others; the start is field 22.
fn name_and_start(stat: &str) -> Option<([u8; 16], u64)> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(stat.get(open + 1..close)?.bytes().take(15)) {
        *to = from;
    }
    let ticks: u64 = stat.get(close + 2..)?.split(' ').nth(19)?.parse().ok()?;
    Some((comm, ticks * TICK_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100";
        let (comm, start_ns) = name_and_start(stat).unwrap();
        assert_eq!(&comm[..8], b"a) b (c\0");
        assert_eq!(start_ns, 42_420_000_000);
        assert_eq!(name_and_start("7 (cut"), None);
    }

    #[test]
    fn only_sockets_have_a_socket_s_number() {
        assert_eq!(socket_inode("socket:[123]"), Some(123));
        assert_eq!(socket_inode("pipe:[123]"), None);
        assert_eq!(socket_inode("/dev/null"), None);
    }
}
