//! Who holds which socket by `/proc/PID/fd`, for kernels without an iterator of open files. It finds a socket by its
//! inode number, so it needs the rows that a dump gave, and does not see sockets that are CLOSE. Of a TCP socket that no
//! dump gave it asks the network namespace, which only that socket may keep alive.

use super::{namespaces, process};
use crate::{
    event::{Endpoints, Nanos, ProcessKey},
    kernel::clock,
    lossy,
    privileges::{capabilities, scout},
    socket::{Holder, Row, scan::Keeper},
};
use caps::Capability;
use hashbrown::{HashMap, HashSet};
use std::{ffi::CString, fs, io, os::unix::ffi::OsStrExt as _, path::Path};

/// `start_time` in `/proc/PID/stat` counts these (`USER_HZ`), nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// The capabilities required to inspect processes of other users.
const WANTED: [Capability; 2] = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// Sockets and network namespaces found among open files.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Every open file of every process that is one of the rows.
    pub(crate) holders: Vec<Holder>,
    /// Processes whose files may not be listed, for want of a capability.
    pub(crate) hidden: usize,
    /// Descriptors that are network namespaces, or sockets in some that `rows` have nothing of.
    pub(crate) keepers: Vec<Keeper>,
    /// CPU time of the thread that looked.
    pub(crate) cpu: Nanos,
}

/// Looks into every process for the sockets of `rows`.
pub(crate) fn holders(rows: &[Row]) -> Found {
    let by_inode: HashMap<u32, &Row> = rows
        .iter()
        .filter(|row| row.inode != 0)
        .map(|row| (row.inode, row))
        .collect();
    let wanted: HashSet<u32> = by_inode.keys().copied().collect();
    let (look, cpu) = scout::ask(move || {
        let begun = clock::thread_cpu();
        let mut look = look(&wanted);
        // What is protected even from those has no remedy.
        if WANTED.into_iter().all(capabilities::holds) {
            look.hidden = 0;
        }
        (look, clock::thread_cpu().since(begun))
    });
    let holder = |file: File| {
        let row = by_inode.get(&file.inode)?;
        Some(Holder {
            is_mptcp: false,
            cookie: row.sock.cookie,
            process: file.process,
            comm: file.comm,
            cgroup: 0,
            uid: file.uid,
            fd: file.fd,
            state: row.state,
            netns: row.netns,
            endpoints: Endpoints::default(),
            error: 0,
            options: None,
        })
    };
    Found {
        holders: look.files.into_iter().filter_map(holder).collect(),
        hidden: look.hidden,
        keepers: look.keepers,
        cpu,
    }
}

/// An open file that is a socket.
struct File {
    process: ProcessKey,
    comm: [u8; 16],
    uid: Option<u32>,
    fd: u32,
    inode: u32,
}

/// The result of one pass over all processes.
#[derive(Default)]
struct Look {
    files: Vec<File>,
    keepers: Vec<Keeper>,
    hidden: usize,
    /// Number of sockets whose namespaces may still be requested.
    strays_left: usize,
}

/// Maximum number of unselected sockets whose namespace is requested.
const STRAYS: usize = 1_024;

/// Searches for the selected files.
fn look(wanted: &HashSet<u32>) -> Look {
    let mut look = Look {
        strays_left: STRAYS,
        ..Look::default()
    };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            let is_hidden = of_process(pid, &entry.path(), wanted, &mut look).is_err();
            // The kernel's own threads, which have no command line, hold nothing.
            if is_hidden && fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty()) {
                look.hidden += 1;
            }
        }
    }
    look
}

/// Fails where the process may not be looked into. One that ends meanwhile holds nothing.
fn of_process(pid: u32, folder: &Path, wanted: &HashSet<u32>, look: &mut Look) -> io::Result<()> {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let mut known = None;
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
        if let Some(netns) = namespaces::netns_of_link(&target) {
            look.keepers.push(Keeper { netns, pid, fd });
        }
        let Some(inode) = target.to_str().and_then(socket_inode) else {
            continue;
        };
        if !wanted.contains(&inode) {
            look.stray(pid, fd, &entry.path());
            continue;
        }
        if known.is_none() {
            let uid = lossy::read(folder.join("status"))
                .ok()
                .and_then(|status| process::user_in(&status));
            known = fs::read(folder.join("stat"))
                .ok()
                .and_then(|stat| name_and_start(&stat))
                .map(|(comm, start_ns)| (comm, start_ns, uid));
        }
        let Some((comm, start_ns, uid)) = known else {
            return Ok(());
        };
        look.files.push(File {
            process: ProcessKey::new(pid, start_ns),
            comm,
            uid,
            fd,
            inode,
        });
    }
    Ok(())
}

impl Look {
    /// Asks a TCP socket that no dump gave for its namespace. One that does not answer is CLOSE as far as is known.
    fn stray(&mut self, pid: u32, fd: u32, link: &Path) {
        if self.strays_left == 0 || !is_tcp(link) {
            return;
        }
        self.strays_left -= 1;
        if let Ok(netns) = namespaces::of_descriptor(pid, fd) {
            self.keepers.push(Keeper { netns, pid, fd });
        }
    }
}

/// Whether the socket behind a link in `/proc/PID/fd` is one of TCP, by what the kernel calls its protocol
/// (`sockfs_xattr_get`): `TCP`, `TCPv6`.
fn is_tcp(link: &Path) -> bool {
    let mut name = [0_u8; 32];
    let Ok(path) = CString::new(link.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both strings end with a zero, and the kernel writes no more than the buffer's length.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"system.sockprotoname".as_ptr(),
            name.as_mut_ptr().cast(),
            name.len(),
        )
    };
    length >= 3 && name.starts_with(b"TCP")
}

/// The number in `socket:[N]`.
fn socket_inode(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Name and start since boot, to 10 ms, from `/proc/PID/stat` (proc(5)): the name stands in parentheses and may hold
/// any others; the start is field 22.
fn name_and_start(stat: &[u8]) -> Option<([u8; 16], u64)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(stat.get(open + 1..close)?.iter().take(15)) {
        *to = *from;
    }
    let rest = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
    let ticks: u64 = rest.split(' ').nth(19)?.parse().ok()?;
    Some((comm, ticks * TICK_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_spaces_and_any_bytes() {
        let stat = b"7 (a) b (\xc3) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100";
        let (comm, start_ns) = name_and_start(stat).unwrap();
        assert_eq!(&comm[..8], b"a) b (\xc3\0");
        assert_eq!(start_ns, 42_420_000_000);
        assert_eq!(name_and_start(b"7 (cut"), None);
    }

    #[test]
    fn a_socket_s_protocol_is_known_by_its_link() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = |fd: i32| std::path::PathBuf::from(format!("/proc/self/fd/{fd}"));
        assert!(is_tcp(&link(std::os::fd::AsRawFd::as_raw_fd(&tcp))));
        assert!(!is_tcp(&link(std::os::fd::AsRawFd::as_raw_fd(&udp))));
        assert!(!is_tcp(Path::new("/dev/null")));
    }

    #[test]
    fn only_sockets_have_a_socket_s_number() {
        assert_eq!(socket_inode("socket:[123]"), Some(123));
        assert_eq!(socket_inode("pipe:[123]"), None);
        assert_eq!(socket_inode("/dev/null"), None);
    }
}
