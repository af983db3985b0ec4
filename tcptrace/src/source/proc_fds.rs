//! Who holds which socket by `/proc/PID/fd`, for kernels without an iterator of open files. It finds a socket by its
//! inode number, so it needs the rows that a dump gave, and does not see sockets that are CLOSE.

use crate::{
    decode::{Holder, Row},
    event::{Ends, ProcessKey},
};
use hashbrown::HashMap;
use std::{fs, path::Path};

/// `start_time` in `/proc/PID/stat` counts these (`USER_HZ`), nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// Every open file of every process that is one of `rows`.
#[must_use]
pub fn holders(rows: &[Row]) -> Vec<Holder> {
    let by_inode: HashMap<u32, &Row> = rows
        .iter()
        .filter(|row| row.inode != 0)
        .map(|row| (row.inode, row))
        .collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            of_process(pid, &entry.path(), &by_inode, &mut found);
        }
    }
    found
}

/// A process that ends meanwhile holds nothing.
fn of_process(pid: u32, folder: &Path, by_inode: &HashMap<u32, &Row>, found: &mut Vec<Holder>) {
    let mut process = None;
    for entry in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let row = fs::read_link(entry.path())
            .ok()
            .and_then(|target| socket_inode(target.to_str()?))
            .and_then(|inode| by_inode.get(&inode));
        let Some(row) = row else { continue };
        if process.is_none() {
            process = fs::read_to_string(folder.join("stat"))
                .ok()
                .and_then(|stat| name_and_start(&stat));
        }
        let Some((comm, start_ns)) = process else { return };
        found.push(Holder {
            cookie: row.sock.cookie,
            process: ProcessKey { pid, start_ns },
            comm,
            cgroup: 0,
            fd,
            state: row.state,
            netns: row.netns,
            ends: Ends::default(),
            error: 0,
        });
    }
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
