//! What scans of open files find in addition to the owner of each row: sockets with several holders, and open sockets
//! in CLOSE.

use super::table::Table;
use crate::{
    event::{Endpoints, Nanos, Task, TcpState},
    owner::{
        policy::{self, Evidence, Opening, Owner},
        processes::ProcessId,
    },
    socket::{
        Holder,
        scan::{Scan, ScanMechanism},
    },
};
use hashbrown::HashMap;

/// A socket that is in no table of the kernel's, because it was reset, has failed or was never connected, and that a
/// process still has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The cookie of the socket that a process closed.
    pub(crate) cookie: u64,
    /// Who has it open; of several the first.
    pub(crate) process: ProcessId,
    /// Its ends, as far as it has kept them.
    pub(crate) endpoints: Endpoints,
    pub(crate) netns: u32,
}

/// What the latest scan found in addition to the owner of each row.
#[derive(Debug, Default)]
pub struct Holders {
    shared: HashMap<u64, Box<[(ProcessId, u32)]>>,
    closed: Vec<Closed>,
    /// Rows that a process may hold and for which the scan found none.
    pub unsettled: u64,
}

impl Holders {
    /// The processes that hold the socket, with a descriptor of each, where there are several; else nothing.
    pub(crate) fn of(&self, cookie: u64) -> &[(ProcessId, u32)] {
        self.shared.get(&cookie).map_or(&[], |list| list)
    }

    /// Sockets that are CLOSE and still held.
    pub(crate) fn closed(&self) -> &[Closed] {
        &self.closed
    }

    /// Replaces the results of the previous scan, and assigns owners to the rows of `table`. Returns how many rows are left
    /// that a process may hold and none was found to.
    pub(crate) fn take_in(&mut self, mut scan: Scan, table: &mut Table) {
        scan.holders
            .sort_unstable_by_key(|holder| (holder.cookie, holder.process.pid, holder.fd));
        self.release(table);
        let evidence = match scan.mechanism {
            ScanMechanism::Iterator => Evidence::Holder,
            ScanMechanism::Proc => Evidence::Proc,
        };
        for group in scan.holders.chunk_by(|a, b| a.cookie == b.cookie) {
            self.one(group, evidence, scan.started, table);
        }
        self.unsettled = table.conclude_scan(scan.started);
    }

    /// One socket and all its open files.
    fn one(&mut self, group: &[Holder], evidence: Evidence, at: Nanos, table: &mut Table) {
        let mut processes: Vec<(ProcessId, Opening)> = Vec::new();
        let mut shares: Vec<(ProcessId, u32)> = Vec::new();
        for holder in group {
            let id = table.processes.intern(&Task {
                process: holder.process,
                comm: holder.comm,
                cgroup: holder.cgroup,
                uid: holder.uid,
                is_kernel_thread: false,
            });
            // Sorted by process: a descriptor more of the same follows at once.
            if processes.last().map(|(process, _)| *process) != Some(id) {
                let opening = Opening {
                    start_ns: holder.process.start_ns,
                    fd: holder.fd,
                };
                processes.push((id, opening));
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
            table.note_held(slot);
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
                endpoints: first.endpoints,
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
