//! The kernel's counters of states that connections skip legitimately: `TcpExt` in `/proc/net/netstat`.

use super::namespaces;
use crate::kernel::hook_watchdog::LegitimateCauses;
use hashbrown::HashMap;
use nix::sched::{CloneFlags, setns};
use std::{fs, thread};

/// The thread's own: the main thread's may be another namespace's.
const NETSTAT: &str = "/proc/thread-self/net/netstat";

/// Reads them in every namespace that can be entered.
pub(crate) fn causes() -> HashMap<u32, LegitimateCauses> {
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    let read = || {
        namespaces::all(&[])
            .namespaces
            .iter()
            .filter(|namespace| setns(&namespace.file, CloneFlags::CLONE_NEWNET).is_ok())
            .filter_map(|namespace| Some((namespace.inode, parse(&fs::read_to_string(NETSTAT).ok()?))))
            .collect()
    };
    thread::scope(|scope| scope.spawn(read).join()).unwrap_or_default()
}

/// Each group is a line of names and a line of values, both beginning with the group's name.
fn parse(netstat: &str) -> LegitimateCauses {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = lines.next().unwrap_or_default().split(' ');
    let values = lines.next().unwrap_or_default().split(' ');
    let counters: HashMap<&str, u64> = names
        .zip(values)
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let count = |name| counters.get(name).copied().unwrap_or(0);
    LegitimateCauses {
        timewaits: count("TCPTimeWaitOverflow"),
        requests: count("SyncookiesRecv") + count("TCPFastOpenPassive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_in_their_group() {
        let text = "TcpExt: SyncookiesSent SyncookiesRecv TCPTimeWaitOverflow TCPFastOpenPassive\n\
            TcpExt: 9 3 5 2\nIpExt: SyncookiesRecv\nIpExt: 8\n";
        let expected = LegitimateCauses {
            timewaits: 5,
            requests: 5,
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse("TcpExt: A\n"), LegitimateCauses::default());
        assert_eq!(parse(""), LegitimateCauses::default());
    }

    #[test]
    fn this_namespace_has_them() {
        let own = namespaces::current().unwrap();
        // Entering even one's own namespace needs a privilege.
        let found = causes();
        assert!(found.is_empty() || found.contains_key(&own));
    }
}
