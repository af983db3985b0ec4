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
use std::{
    fs::File,
    io::Read as _,
    ops::ControlFlow,
    sync::mpsc::{self, SyncSender},
    thread,
};
use tcptrace_common::{HolderRow, SockRow};

/// How far the reader may be ahead, in batches of [`Batches::ROWS`].
const BATCHES_AHEAD: usize = 256;

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
    /// CPU time that reading them took.
    pub cpu: Nanos,
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
pub fn sockets(reader: Reader<'_>, wanted: Option<&[u32]>) -> Result<Snapshot, Refusal> {
    let (mut snapshot, mut rows) = stream(reader, wanted, |rows| rows.collect::<Vec<_>>())?;
    rows.sort_by_key(|row| row.time);
    snapshot.rows = rows;
    Ok(snapshot)
}

/// Hands over the same rows while they are read; the snapshot returned has none. What `consume` leaves is not read.
///
/// # Errors
/// As [`sockets`].
pub fn stream<T>(
    mut reader: Reader<'_>,
    wanted: Option<&[u32]>,
    consume: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T,
) -> Result<(Snapshot, T), Refusal> {
    let mut snapshot = Snapshot {
        started: clock::monotonic(),
        ..Snapshot::default()
    };
    let current = namespaces::current().unwrap_or(0);
    let spaces: Vec<Namespace> = namespaces::all()
        .into_iter()
        .filter(|space| wanted.is_none_or(|list| list.contains(&space.inode)))
        .collect();
    let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    let consumed = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut batches = Batches::new(sender);
            for space in &spaces {
                read_namespace(&mut reader, space, current, &mut snapshot, &mut batches);
            }
            batches.send();
            snapshot.cpu = clock::thread_cpu();
        });
        let consumed = consume(&mut receiver.into_iter().flatten());
        thread.join().map(|()| consumed).map_err(|_| Refusal::System {
            action: "read the sockets".to_owned(),
            error: "the reader panicked".to_owned(),
        })
    })?;
    Ok((snapshot, consumed))
}

/// Rows on their way to whoever wants them.
struct Batches {
    sender: SyncSender<Vec<Row>>,
    batch: Vec<Row>,
    wanted: ControlFlow<()>,
}

impl Batches {
    const ROWS: usize = 256;

    fn new(sender: SyncSender<Vec<Row>>) -> Self {
        Self {
            sender,
            batch: Vec::with_capacity(Self::ROWS),
            wanted: ControlFlow::Continue(()),
        }
    }

    /// Breaks once nobody wants more.
    fn push(&mut self, row: Row) -> ControlFlow<()> {
        self.batch.push(row);
        if self.batch.len() == Self::ROWS {
            self.send();
        }
        self.wanted
    }

    fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(Self::ROWS));
        if self.sender.send(batch).is_err() {
            self.wanted = ControlFlow::Break(());
        }
    }
}

fn read_namespace(
    reader: &mut Reader<'_>,
    space: &Namespace,
    current: u32,
    snapshot: &mut Snapshot,
    batches: &mut Batches,
) {
    if batches.wanted.is_break() {
        return;
    }
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
            let each = |row| batches.push(row);
            read_rows(file, size_of::<SockRow>(), |bytes| decode::row(bytes, tick), each)
        }
        Err(reason) => {
            snapshot.by_netlink = Some(reason);
            sock_diag::visit(space.inode, &mut |row| batches.push(row)).map(|()| 0)
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
    read_holders(kernel.open_holder_iterator()?)
}

/// The same from the iterator, once [`Kernel::open_holder_iterator`] has opened it.
///
/// # Errors
/// Where the kernel breaks it off.
pub fn read_holders(iterator: File) -> Result<Scan, Refusal> {
    let started = clock::monotonic();
    let mut holders = Vec::new();
    read_rows(iterator, size_of::<HolderRow>(), decode::holder, |holder| {
        holders.push(holder);
        ControlFlow::Continue(())
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

/// Returns how many rows could not be understood. Reads no further than `each` wants.
fn read_rows<T, E>(
    mut file: File,
    size: usize,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    mut each: impl FnMut(T) -> ControlFlow<()>,
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
                Ok(row) => {
                    if each(row).is_break() {
                        return Ok(unknown);
                    }
                }
                Err(_) => unknown += 1,
            }
        }
        buffer.copy_within(whole..filled, 0);
        pending = filled - whole;
    }
}
