//! What a scan of open files tells: who holds each socket, which sockets several processes hold, and which are CLOSE
//! and still held. Knows no kernel: a scan is data.

use super::{
    policy::{self, Evidence, Owner},
    processes::ProcessId,
};
use crate::{
    connection::table::Table,
    decode::Holder,
    event::{Ends, Nanos, Task, TcpState},
};
use hashbrown::HashMap;

/// Every open file of every process that is a TCP socket.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// When it was begun.
    pub started: Nanos,
    /// What was found, in any order.
    pub holders: Vec<Holder>,
    /// How it is known.
    pub way: Way,
    /// Processes that could not be looked into, for want of a capability.
    pub hidden: usize,
    /// CPU time that another thread than the caller's has spent on it.
    pub cpu: Nanos,
}

impl Scan {
    /// What could not be found, in a sentence; `None` where everything was.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        (self.hidden > 0).then(|| {
            format!(
                "the open files of {} processes cannot be listed, so that their sockets have no holder: CAP_SYS_PTRACE \
                 or CAP_DAC_READ_SEARCH is missing",
                self.hidden
            )
        })
    }
}

/// How a scan was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// By the kernel's iterator.
    #[default]
    Iterator,
    /// From `/proc/PID/fd`.
    Proc,
}

/// A socket that is in no table of the kernel's, because it was reset, has failed or was never connected, and that a
/// process still has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its cookie.
    pub cookie: u64,
    /// Who has it open; of several the first.
    pub process: ProcessId,
    /// Its ends, as far as it has kept them.
    pub ends: Ends,
    /// Network namespace.
    pub netns: u32,
}

/// What the latest scan told beyond the owner of each row.
#[derive(Debug, Default)]
pub struct Holders {
    shared: HashMap<u64, Box<[(ProcessId, u32)]>>,
    closed: Vec<Closed>,
}

impl Holders {
    /// The processes that hold the socket, with a descriptor of each, where there are several; else nothing.
    #[must_use]
    pub fn of(&self, cookie: u64) -> &[(ProcessId, u32)] {
        self.shared.get(&cookie).map_or(&[], |list| list)
    }

    /// Sockets that are CLOSE and still held.
    #[must_use]
    pub fn closed(&self) -> &[Closed] {
        &self.closed
    }

    /// Replaces what the scan before told, and gives the rows of `table` their owners. Returns how many rows are left
    /// that a process may hold and none was found to.
    pub fn take_in(&mut self, mut scan: Scan, table: &mut Table) -> u64 {
        scan.holders
            .sort_unstable_by_key(|holder| (holder.cookie, holder.process.pid, holder.fd));
        self.release(table);
        let evidence = match scan.way {
            Way::Iterator => Evidence::Holder,
            Way::Proc => Evidence::Proc,
        };
        for group in scan.holders.chunk_by(|a, b| a.cookie == b.cookie) {
            self.one(group, evidence, scan.started, table);
        }
        table.conclude_scan(scan.started)
    }

    /// One socket and all its open files.
    fn one(&mut self, group: &[Holder], evidence: Evidence, at: Nanos, table: &mut Table) {
        let mut processes: Vec<(ProcessId, u64)> = Vec::new();
        let mut shares: Vec<(ProcessId, u32)> = Vec::new();
        for holder in group {
            let id = table.processes.intern(&Task {
                process: holder.process,
                comm: holder.comm,
                cgroup: holder.cgroup,
                is_kernel_thread: false,
            });
            // Sorted by process: a descriptor more of the same follows at once.
            if processes.last().map(|(process, _)| *process) != Some(id) {
                processes.push((id, holder.process.start_ns));
                shares.push((id, holder.fd));
            }
        }
        let Some(first) = group.first() else { return };
        let slot = table.slot_of_cookie(first.cookie);
        let known = slot
            .and_then(|slot| table.owner_of(slot))
            .map(|owner| owner.process);
        let Some(process) = policy::choose(known, &processes) else {
            return;
        };
        if let Some(slot) = slot {
            table.set_owner(
                slot,
                Some(Owner {
                    process,
                    evidence,
                    since: at,
                }),
            );
        } else if first.state == TcpState::Close {
            table.processes.retain(process);
            self.closed.push(Closed {
                cookie: first.cookie,
                process,
                ends: first.ends,
                netns: first.netns,
            });
        }
        if shares.len() > 1 {
            for (process, _) in &shares {
                table.processes.retain(*process);
            }
            self.shared.insert(first.cookie, shares.into());
        }
    }

    fn release(&mut self, table: &mut Table) {
        for closed in self.closed.drain(..) {
            table.processes.release(closed.process);
        }
        for (_, shares) in self.shared.drain() {
            for (process, _) in shares {
                table.processes.release(process);
            }
        }
    }
}
