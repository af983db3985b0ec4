//! Reads what exists now: every TCP socket of every namespace, by netlink or through the kernel's iterator, and who
//! holds it.

use super::{
    namespaces, proc_fds,
    sock_diag::{self, Finder},
};
use crate::{
    decode,
    event::{Endpoints, TcpState},
    kernel::{clock, loader::Kernel, plan::SocketReader, refusal::Refusal},
    privileges::capabilities::{holds, why_not},
    socket::{
        Listed, Row,
        scan::{Keeper, Scan, ScanMechanism},
        snapshot::{NetworkEvidence, Snapshot, leave_first_paths},
    },
};
use caps::Capability;
use hashbrown::HashSet;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use std::{
    fs::File,
    io::{self, Read as _},
    ops::ControlFlow,
    sync::mpsc::{self, SyncSender},
    thread,
};
use tcptrace_common::{HolderRow, SockRow};

/// How far the reader may be ahead, in batches of [`Batches::ROWS`].
const BATCHES_AHEAD: usize = 256;

/// How sockets are read.
pub(crate) enum Reader<'a> {
    Netlink,
    Iterator(&'a mut Kernel),
}

impl<'a> Reader<'a> {
    /// As the user wants it.
    pub(crate) const fn new(preference: SocketReader, kernel: &'a mut Kernel) -> Self {
        match preference {
            SocketReader::Netlink => Self::Netlink,
            SocketReader::Iterator => Self::Iterator(kernel),
        }
    }

    /// The same where no program may have been loaded. Errors: why there is no kernel side, if the iterator was
    /// requested.
    pub(crate) fn without_session(
        preference: SocketReader,
        kernel: &'a mut Result<Kernel, Refusal>,
    ) -> Result<Self, Refusal> {
        match (preference, kernel) {
            (SocketReader::Netlink, _) => Ok(Self::Netlink),
            (SocketReader::Iterator, Ok(kernel)) => Ok(Self::Iterator(kernel)),
            (SocketReader::Iterator, Err(refusal)) => Err(refusal.clone()),
        }
    }
}

/// Which sockets are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Those of these network namespaces; of all where there is no list.
    pub(crate) netns: Option<&'a [u32]>,
    /// Those in this state alone.
    pub(crate) state: Option<TcpState>,
    /// Whether all of what the network does to them is needed, the memory of their queues included.
    pub network: bool,
    /// Descriptors of network namespaces that may have no other reference.
    pub(crate) keepers: &'a [Keeper],
}

impl<'a> Wanted<'a> {
    /// The sockets of the namespaces in a list, or of all where it is empty.
    pub(crate) fn of(netns: &'a [u32]) -> Self {
        Self {
            netns: (!netns.is_empty()).then_some(netns),
            ..Self::default()
        }
    }
}

/// Reads the selected sockets into one list.
pub(crate) fn sockets(reader: Reader<'_>, wanted: Wanted<'_>) -> Result<Snapshot, Refusal> {
    let mut rows = Vec::new();
    let mut network = NetworkEvidence::default();
    let (snapshot, ()) = stream(reader, wanted, |sockets| {
        for socket in sockets {
            if wanted.network {
                network.keep(&socket);
            }
            rows.push(socket.row);
        }
    })?;
    rows.sort_by_key(|row| row.time);
    leave_first_paths(&mut rows, &snapshot.mptcp);
    Ok(Snapshot {
        rows,
        network,
        ..snapshot
    })
}

/// Reads the same sockets, each with what the network does to it; the snapshot returned has no rows.
///
/// # Errors
/// As [`sockets`].
pub(crate) fn listed(reader: Reader<'_>, wanted: Wanted<'_>) -> Result<(Snapshot, Vec<Listed>), Refusal> {
    let (snapshot, mut sockets) = stream(reader, wanted, |sockets| sockets.collect::<Vec<_>>())?;
    sockets.sort_by_key(|socket| socket.row.time);
    leave_first_paths(sockets.iter_mut().map(|socket| &mut socket.row), &snapshot.mptcp);
    Ok((snapshot, sockets))
}

/// Hands over the same sockets, each with what the network does to it, while they are read; the snapshot returned has no
/// rows. What `consume` leaves is not read.
pub(crate) fn stream<T>(
    mut reader: Reader<'_>,
    wanted: Wanted<'_>,
    consume: impl FnOnce(&mut dyn Iterator<Item = Listed>) -> T,
) -> Result<(Snapshot, T), Refusal> {
    let mut snapshot = Snapshot {
        started: clock::monotonic(),
        ..Snapshot::default()
    };
    let current = namespaces::current().unwrap_or(0);
    let is_wanted = |netns: &u32| wanted.netns.is_none_or(|list| list.contains(netns));
    let namespaces::Found {
        mut namespaces,
        denied,
        unopened,
    } = namespaces::all(wanted.keepers);
    namespaces.retain(|namespace| is_wanted(&namespace.inode));
    let mut marks = HashSet::new();
    let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    let consumed = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut batches = Batches::new(sender);
            for namespace in &namespaces {
                if batches.wanted.is_break() {
                    break;
                }
                let read = enter(namespace, current).and_then(|()| {
                    marks.extend(namespaces::mark());
                    read_namespace(&mut reader, namespace.inode, wanted, &mut batches)
                });
                match read {
                    Ok(unknown) => {
                        snapshot.unknown += unknown;
                        snapshot.covered.insert(namespace.inode);
                        if std::mem::take(&mut batches.has_kernel_s) && wanted.state.is_none() {
                            match sock_diag::mptcp(namespace.inode) {
                                Ok(sockets) => snapshot.mptcp.extend(sockets),
                                Err(error) => {
                                    let why = format!("sock_diag for MPTCP: {error}");
                                    snapshot.mptcp_failures.push((namespace.inode, why));
                                }
                            }
                        }
                    }
                    Err(error) => snapshot.failures.push((namespace.inode, error)),
                }
            }
            batches.send();
            snapshot.cpu = clock::thread_cpu();
        });
        let consumed = consume(&mut receiver.into_iter().flatten());
        thread.join().map(|()| consumed).map_err(|_| Refusal::System {
            action: "read the sockets".to_owned(),
            error: "the reader thread panicked".to_owned(),
        })
    })?;
    // If namespaces are given, no others are needed.
    if wanted.netns.is_none() {
        snapshot.denied = denied;
        snapshot
            .denied
            .retain(|process| process.mark.is_none_or(|mark| !marks.contains(&mark)));
    }
    // A process whose namespace is not known probably has its sockets there, and is reported itself.
    let is_denied = |pid| snapshot.denied.iter().any(|process| process.pid == pid);
    let failed = unopened
        .into_iter()
        .filter(|namespace| is_wanted(&namespace.netns) && !is_denied(namespace.pid))
        .map(|namespace| (namespace.netns, namespace.why));
    let failed: Vec<(u32, String)> = failed.collect();
    snapshot.failures.extend(failed);
    Ok((snapshot, consumed))
}

/// A socket that a snapshot should have shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    /// Inode number of its network namespace.
    pub(crate) netns: u32,
    pub(crate) endpoints: Endpoints,
    /// Its cookie, or 0.
    pub(crate) cookie: u64,
    pub(crate) is_listener: bool,
}

/// Those of the sockets that are there all the same. The kernel goes on with a list where it left off by counting what
/// it has passed (`inet_diag_dump_icsk`), so a socket is left out where one before it goes away meanwhile. Sorted
/// by namespace, they are cheaper.
pub(crate) fn second_look(missing: &[Missing], keepers: &[Keeper]) -> Vec<Row> {
    let current = namespaces::current().unwrap_or(0);
    let inodes: HashSet<u32> = missing.iter().map(|socket| socket.netns).collect();
    let mut namespaces = namespaces::all(keepers).namespaces;
    namespaces.retain(|namespace| inodes.contains(&namespace.inode));
    let look = || {
        let mut rows = Vec::new();
        for group in missing.chunk_by(|a, b| a.netns == b.netns) {
            let namespace = namespaces
                .iter()
                .find(|namespace| namespace.inode == group[0].netns);
            if let Some(namespace) = namespace
                && enter(namespace, current).is_ok()
            {
                // What cannot be requested is missing as before.
                let _ = find_all(namespace.inode, group, &mut rows);
            }
        }
        rows
    };
    thread::scope(|scope| scope.spawn(look).join()).unwrap_or_default()
}

/// Looks for sockets of the namespace that the thread is in.
fn find_all(netns: u32, sockets: &[Missing], rows: &mut Vec<Row>) -> io::Result<()> {
    // Of several listeners with the same end the kernel finds any, so they are listed.
    if sockets.iter().any(|socket| socket.is_listener) {
        let cookies: HashSet<u64> = sockets.iter().map(|socket| socket.cookie).collect();
        sock_diag::visit(netns, Some(TcpState::Listen), false, &mut |socket| {
            let row = socket.row;
            rows.extend(cookies.contains(&row.sock.cookie).then_some(row));
            ControlFlow::Continue(())
        })?;
    }
    let mut finder = Finder::new(netns)?;
    for socket in sockets.iter().filter(|socket| !socket.is_listener) {
        let found = finder.find(&socket.endpoints, socket.cookie)?;
        rows.extend(found.map(|found| found.row));
    }
    Ok(())
}

/// Sockets on their way to the consumer.
struct Batches {
    sender: SyncSender<Vec<Listed>>,
    batch: Vec<Listed>,
    wanted: ControlFlow<()>,
    /// Whether a connection of the kernel's own was among them.
    has_kernel_s: bool,
}

impl Batches {
    const ROWS: usize = 256;

    fn new(sender: SyncSender<Vec<Listed>>) -> Self {
        Self {
            sender,
            batch: Vec::with_capacity(Self::ROWS),
            wanted: ControlFlow::Continue(()),
            has_kernel_s: false,
        }
    }

    /// Breaks once the consumer has stopped.
    fn push(&mut self, socket: &Listed) -> ControlFlow<()> {
        self.has_kernel_s |= socket.row.is_kernel_socket && socket.row.state != TcpState::Listen;
        self.batch.push(*socket);
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

fn enter(namespace: &namespaces::Namespace, current: u32) -> Result<(), String> {
    if namespace.inode == current {
        return Ok(());
    }
    setns(&namespace.file, CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        Errno::EPERM if !holds(Capability::CAP_SYS_ADMIN) => why_not(Capability::CAP_SYS_ADMIN),
        error => error.desc().to_owned(),
    })
}

/// Reads the namespace that the thread is in. Returns how many rows could not be understood.
fn read_namespace(
    reader: &mut Reader<'_>,
    netns: u32,
    wanted: Wanted<'_>,
    batches: &mut Batches,
) -> Result<u64, String> {
    let only = wanted.state;
    match reader {
        Reader::Netlink => sock_diag::visit(netns, only, wanted.network, &mut |socket| batches.push(&socket))
            .map(|()| 0)
            .map_err(|error| no_sock_diag(&error)),
        Reader::Iterator(kernel) => {
            let file = kernel.open_tcp_iterator().map_err(|refusal| refusal.cause())?;
            let tick = clock::tick();
            let each = |socket: Listed| {
                if only.is_none_or(|state| state == socket.row.state) {
                    batches.push(&socket)
                } else {
                    batches.wanted
                }
            };
            read_rows(
                file,
                size_of::<SockRow>(),
                |bytes| decode::socket(bytes, tick),
                each,
            )
            .map_err(|error| error.to_string())
        }
    }
}

/// The kernel's word for a missing handler is ENOENT (`sock_diag_rcv_msg`, `inet_diag_lock_handler`).
fn no_sock_diag(error: &io::Error) -> String {
    if error.raw_os_error() == Some(libc::ENOENT) {
        "this kernel has no sock_diag for TCP; load it with `modprobe tcp_diag`".to_owned()
    } else {
        format!("sock_diag: {error}")
    }
}

/// Reads who holds which TCP socket, one entry for each open file. Fails if the kernel has no such iterator or refuses
/// it.
pub(crate) fn holders(kernel: &mut Kernel) -> Result<Scan, Refusal> {
    read_holders(kernel.open_holder_iterator()?)
}

/// Opens the iterator over the open files of all tasks, where the kernel side could be loaded. Errors: why there is
/// none.
pub(crate) fn open_holder_iterator(kernel: &mut Result<Kernel, Refusal>) -> Result<File, Refusal> {
    kernel
        .as_mut()
        .map_err(|refusal| refusal.clone())?
        .open_holder_iterator()
}

/// The same from the iterator, once [`Kernel::open_holder_iterator`] has opened it. Fails if the kernel breaks it off.
pub(crate) fn read_holders(iterator: File) -> Result<Scan, Refusal> {
    let started = clock::monotonic();
    let mut holders = Vec::new();
    let tick = clock::tick();
    let decode = |bytes: &[u8]| decode::holder(bytes, tick);
    read_rows(iterator, size_of::<HolderRow>(), decode, |holder| {
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
        mechanism: ScanMechanism::Iterator,
        ..Scan::default()
    })
}

/// The same by `/proc`, which finds the sockets of `rows` alone.
pub(crate) fn holders_by_proc(rows: &[Row]) -> Scan {
    let started = clock::monotonic();
    let found = proc_fds::holders(rows);
    Scan {
        started,
        holders: found.holders,
        mechanism: ScanMechanism::Proc,
        hidden: found.hidden,
        keepers: found.keepers,
        cpu: found.cpu,
    }
}

/// Finds the paths of the MPTCP sockets in `scan` among `rows`.
pub(crate) fn find_paths(scan: &mut Scan, rows: &[Row]) {
    scan.find_paths(rows.iter().map(|row| (row.netns, row.endpoints, row.sock.cookie)));
}

/// Returns how many rows could not be understood. Reads no further than `each` wants.
fn read_rows<T, E>(
    mut file: File,
    size: usize,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    mut each: impl FnMut(T) -> ControlFlow<()>,
) -> io::Result<u64> {
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
