//! Sockets that no process has a descriptor of: in a Unix socket's queue (SCM_RIGHTS, unix(7)), or in an io_uring.
//! `/proc/PID/fdinfo` shows both.

use crate::{
    findings::scene::{Carrier, InFlight},
    printable::printable,
    privileges::scout,
};
use hashbrown::HashSet;
use std::fs;

/// Every descriptor of a Unix socket that has files in its queue, and of an io_uring that has one of the sockets with
/// these inode numbers. Processes that may not be looked into are left out.
pub(crate) fn find(inodes: HashSet<u32>) -> Vec<InFlight> {
    scout::ask(move || {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .flat_map(|pid| in_process(pid, &inodes))
            .collect()
    })
}

fn in_process(pid: u32, inodes: &HashSet<u32>) -> Vec<InFlight> {
    let mut comm = None;
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    fds.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let target = target.to_str()?;
        if !target.starts_with("socket:[") && target != "anon_inode:[io_uring]" {
            return None;
        }
        let fd: u32 = entry.file_name().to_str()?.parse().ok()?;
        let carrier = carrier(
            &fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?,
            inodes,
        )?;
        let comm = comm.get_or_insert_with(|| {
            let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
            printable(name.trim_ascii_end()).into_owned()
        });
        Some(InFlight {
            pid,
            comm: comm.clone(),
            fd,
            carrier,
        })
    })
    .collect()
}

/// `scm_fds` (`unix_show_fdinfo`, Linux 5.13 and later), and the list below `UserFiles` (`__io_uring_show_fdinfo`).
fn carrier(info: &str, inodes: &HashSet<u32>) -> Option<Carrier> {
    let files = info.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    if let Some(files) = files.and_then(|files| files.trim().parse().ok()) {
        return (files > 0).then_some(Carrier::Queue { files });
    }
    let sockets = info
        .lines()
        .filter_map(|line| line.split_once("socket:[")?.1.split_once(']')?.0.parse().ok())
        .filter(|inode: &u32| inodes.contains(inode))
        .count();
    (sockets > 0).then_some(Carrier::Ring { sockets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::{
        io::IoSlice,
        net::TcpListener,
        os::{fd::AsRawFd as _, unix::net::UnixStream},
    };

    #[test]
    fn a_queue_with_files_is_found_by_its_process_and_descriptor() {
        let (sender, receiver) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = [listener.as_raw_fd(), listener.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&files)];
        sendmsg::<()>(
            sender.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &message,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let fd = u32::try_from(receiver.as_raw_fd()).unwrap();
        let found = find(HashSet::new());
        let ours = found
            .iter()
            .find(|of| of.pid == std::process::id() && of.fd == fd)
            .unwrap();
        assert_eq!(ours.carrier, Carrier::Queue { files: 2 });
    }

    #[test]
    fn of_a_ring_the_requested_sockets_count() {
        let info = "pos:\t0\nSqMask:\t0x7\nUserFiles:\t3\n    0: socket:[11]\n    1: /dev/null\n    2: socket:[12]\n";
        assert_eq!(
            carrier(info, &[12, 13].into()),
            Some(Carrier::Ring { sockets: 1 })
        );
        assert_eq!(carrier(info, &[13].into()), None);
        assert_eq!(carrier("pos:\t0\nscm_fds: 0\n", &[13].into()), None);
    }
}
