//! A scan of open files: the holders of each socket, and what refers to network namespaces. Plain data.

use super::Holder;
use crate::event::{Endpoints, Nanos};
use hashbrown::HashMap;

/// Every open file of every process that is a TCP socket.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// When it was begun.
    pub started: Nanos,
    /// What was found, in any order.
    pub holders: Vec<Holder>,
    /// How it is known.
    pub mechanism: ScanMechanism,
    /// Processes that could not be looked into, for want of a capability.
    pub hidden: usize,
    /// Network namespaces that descriptors refer to, in addition to those of `holders`.
    pub keepers: Vec<Keeper>,
    /// CPU time that another thread than the caller's has spent on it.
    pub cpu: Nanos,
}

impl Scan {
    /// Finds the first path of each MPTCP socket among `sockets`, by namespace and ends, with their cookies; that has the
    /// socket's ends. What is not found is nobody's.
    pub fn find_paths(&mut self, sockets: impl Iterator<Item = (u32, Endpoints, u64)>) {
        if !self.holders.iter().any(|holder| holder.is_mptcp) {
            return;
        }
        let wanted = self.holders.iter().filter(|holder| holder.is_mptcp);
        let mut paths: HashMap<(u32, Endpoints), u64> = wanted
            .map(|holder| ((holder.netns, holder.endpoints), 0))
            .collect();
        for (netns, endpoints, cookie) in sockets {
            if let Some(path) = paths.get_mut(&(netns, endpoints)) {
                *path = cookie;
            }
        }
        for holder in self.holders.iter_mut().filter(|holder| holder.is_mptcp) {
            holder.cookie = paths[&(holder.netns, holder.endpoints)];
        }
        self.holders
            .retain(|holder| !holder.is_mptcp || holder.cookie != 0);
    }

    /// At least one descriptor for each network namespace in which a process holds a socket.
    #[must_use]
    pub fn keepers(&self) -> Vec<Keeper> {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut keepers = self.keepers.clone();
        // Most sockets are in the namespace of the one before.
        let mut enough = None;
        for holder in &self.holders {
            if enough == Some(holder.netns) {
                continue;
            }
            let count = counts.entry(holder.netns).or_default();
            *count += 1;
            if *count <= KEEPERS {
                keepers.push(Keeper {
                    netns: holder.netns,
                    pid: holder.process.pid,
                    fd: holder.fd,
                });
            } else {
                enough = Some(holder.netns);
            }
        }
        keepers
    }
}

/// Number of descriptors kept for each network namespace: some may be closed before they are needed.
const KEEPERS: usize = 4;

/// A descriptor that leads to a network namespace: a socket in it, or the namespace itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Inode number of the namespace.
    pub netns: u32,
    /// Thread group id of the process.
    pub pid: u32,
    /// Number of the file descriptor.
    pub fd: u32,
}

/// How a scan was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanMechanism {
    /// By the kernel's iterator.
    #[default]
    Iterator,
    /// From `/proc/PID/fd`.
    Proc,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ProcessKey, TcpState};
    use std::net::Ipv4Addr;

    fn holder(netns: u32, fd: u32) -> Holder {
        Holder {
            is_mptcp: false,
            cookie: u64::from(fd),
            process: ProcessKey { pid: 7, start_ns: 1 },
            comm: [0; 16],
            cgroup: 0,
            uid: None,
            fd,
            state: TcpState::Established,
            netns,
            endpoints: Endpoints::default(),
            error: 0,
            options: None,
        }
    }

    #[test]
    fn an_mptcp_socket_is_held_by_its_first_path() {
        let any = Ipv4Addr::UNSPECIFIED.into();
        let endpoints = |port| Endpoints::new((any, port), (any, 0));
        let of_mptcp = |fd, port| Holder {
            is_mptcp: true,
            cookie: 0,
            endpoints: endpoints(port),
            ..holder(1, fd)
        };
        let mut scan = Scan {
            holders: vec![holder(1, 3), of_mptcp(4, 80), of_mptcp(5, 81)],
            ..Scan::default()
        };
        scan.find_paths(
            [
                (1, endpoints(79), 7),
                (1, endpoints(80), 8),
                (2, endpoints(81), 9),
            ]
            .into_iter(),
        );
        let found: Vec<(u32, u64)> = scan
            .holders
            .iter()
            .map(|holder| (holder.fd, holder.cookie))
            .collect();
        assert_eq!(found, [(3, 3), (4, 8)]);
    }

    #[test]
    fn each_namespace_has_a_few_keepers_however_many_sockets() {
        let other = Keeper {
            netns: 3,
            pid: 8,
            fd: 9,
        };
        let scan = Scan {
            holders: (0..100).map(|fd| holder(1 + fd / 99, fd)).collect(),
            keepers: vec![other],
            ..Scan::default()
        };
        let keepers = scan.keepers();
        let count = |netns| keepers.iter().filter(|keeper| keeper.netns == netns).count();
        assert_eq!([1, 2, 3].map(count), [KEEPERS, 1, 1]);
    }
}
