//! Reads what exists now: every TCP socket of every namespace, through the kernel's iterator or else by netlink, and
//! who holds it.

use super::{
    namespaces::{self, Namespace},
    proc_fds, sock_diag,
};
use crate::{
    decode::{self, Row},
    event::Nanos,
    kernel::{clock, loader::Kernel, refusal::Refusal},
    owner::holders::{Scan, Way},
};
use hashbrown::HashSet;
use nix::sched::{CloneFlags, setns};
use std::{fs::File, io::Read as _, thread};
use tcptrace_common::{HolderRow, SockRow};

/// Every socket of the namespaces read.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// When it was begun; what ended before has no row.
    pub started: Nanos,
    /// Rows in the order in which they were read.
    pub rows: Vec<Row>,
    /// Namespaces that were read to the end.
    pub covered: HashSet<u32>,
    /// Rows that could not be understood.
    pub unknown: u64,
    /// Namespaces that could not be read, and why.
    pub failures: Vec<(u32, String)>,
    /// Why netlink was used instead of the iterator, if it was.
    pub by_netlink: Option<Refusal>,
}

/// How sockets are read.
pub enum Reader<'a> {
    /// By the kernel's iterator, or by netlink where it is refused.
    Iterator(&'a mut Kernel),
    /// By netlink, for this reason.
    Netlink(Refusal),
}

/// Reads the sockets of all namespaces, or of those that `wanted` names, into one list.
///
/// # Errors
/// Where a thread to read them cannot be had.
pub fn sockets(kernel: &mut Kernel, wanted: Option<&[u32]>) -> Result<Snapshot, Refusal> {
    let mut rows = Vec::new();
    let mut snapshot = visit(Reader::Iterator(kernel), wanted, |row| rows.push(row))?;
    rows.sort_by_key(|row| row.time);
    snapshot.rows = rows;
    Ok(snapshot)
}

/// Hands over the same rows one by one; the snapshot returned has none.
///
/// # Errors
/// As [`sockets`].
pub fn visit(
    mut reader: Reader<'_>,
    wanted: Option<&[u32]>,
    mut each: impl FnMut(Row) + Send,
) -> Result<Snapshot, Refusal> {
    let mut snapshot = Snapshot {
        started: clock::monotonic(),
        ..Snapshot::default()
    };
    let current = namespaces::current().unwrap_or(0);
    let spaces: Vec<Namespace> = namespaces::all()
        .into_iter()
        .filter(|space| wanted.is_none_or(|list| list.contains(&space.inode)))
        .collect();
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            for space in &spaces {
                read_namespace(&mut reader, space, current, &mut snapshot, &mut each);
            }
        });
        thread.join().map_err(|_| Refusal::System {
            action: "read the sockets".to_owned(),
            error: "the reader panicked".to_owned(),
        })
    })?;
    Ok(snapshot)
}

fn read_namespace(
    reader: &mut Reader<'_>,
    space: &Namespace,
    current: u32,
    snapshot: &mut Snapshot,
    each: &mut impl FnMut(Row),
) {
    if space.inode != current
        && let Err(error) = setns(&space.file, CloneFlags::CLONE_NEWNET)
    {
        snapshot.failures.push((space.inode, error.desc().to_owned()));
        return;
    }
    let iterator = match reader {
        Reader::Iterator(kernel) => kernel.open_tcp_iterator(),
        Reader::Netlink(reason) => Err(reason.clone()),
    };
    let result = match iterator {
        Ok(file) => {
            let tick = clock::tick();
            read_rows(file, size_of::<SockRow>(), |bytes| decode::row(bytes, tick), each)
        }
        Err(reason) => {
            snapshot.by_netlink = Some(reason);
            sock_diag::visit(space.inode, each).map(|()| 0)
        }
    };
    match result {
        Ok(unknown) => {
            snapshot.unknown += unknown;
            snapshot.covered.insert(space.inode);
        }
        Err(error) => snapshot.failures.push((space.inode, error.to_string())),
    }
}

/// Reads who holds which TCP socket, one entry for each open file.
///
/// # Errors
/// Where the kernel has no such iterator or refuses it.
pub fn holders(kernel: &mut Kernel) -> Result<Scan, Refusal> {
    let started = clock::monotonic();
    let file = kernel.open_holder_iterator()?;
    let mut holders = Vec::new();
    read_rows(file, size_of::<HolderRow>(), decode::holder, &mut |holder| {
        holders.push(holder);
    })
    .map_err(|error| Refusal::System {
        action: "read the open files".to_owned(),
        error: error.to_string(),
    })?;
    Ok(Scan {
        started,
        holders,
        way: Way::Iterator,
    })
}

/// The same by `/proc`, which finds the sockets of `rows` alone.
#[must_use]
pub fn holders_by_proc(rows: &[Row]) -> Scan {
    let started = clock::monotonic();
    Scan {
        started,
        holders: proc_fds::holders(rows),
        way: Way::Proc,
    }
}

/// Returns how many rows could not be understood.
fn read_rows<T, E>(
    mut file: File,
    size: usize,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    each: &mut impl FnMut(T),
) -> std::io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut pending = 0;
    let mut unknown = 0;
    loop {
        let count = file.read(&mut buffer[pending..])?;
        if count == 0 {
            return Ok(unknown);
        }
        let filled = pending + count;
        let whole = filled - filled % size;
        for bytes in buffer[..whole].chunks_exact(size) {
            match decode(bytes) {
                Ok(row) => each(row),
                Err(_) => unknown += 1,
            }
        }
        buffer.copy_within(whole..filled, 0);
        pending = filled - whole;
    }
}
