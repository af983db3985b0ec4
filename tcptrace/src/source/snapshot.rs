//! Reads what exists now: every TCP socket of every namespace, by netlink or through the kernel's iterator, and who
//! holds it.

use super::{
    namespaces::{self, Namespace},
    proc_fds, sock_diag,
};
use crate::{
    decode::{self, Row, SockKind},
    event::{Ends, Event, Nanos, TcpState, TimerStep, What},
    kernel::{clock, loader::Kernel, plan::SocketReader, refusal::Refusal},
    owner::holders::{Scan, Way},
};
use hashbrown::HashSet;
use nix::sched::{CloneFlags, setns};
use std::{
    cmp::Ordering,
    fs::File,
    io::{self, Read as _},
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
    /// Rows in order of time.
    pub rows: Vec<Row>,
    /// Namespaces that were read to the end.
    pub covered: HashSet<u32>,
    /// Rows that could not be understood.
    pub unknown: u64,
    /// Namespaces that could not be read, and why.
    pub failures: Vec<(u32, String)>,
    /// CPU time that reading them took.
    pub cpu: Nanos,
}

impl Snapshot {
    /// Puts each row at the moment at which it was read, as far as the `events` that came meanwhile show it: right
    /// after the last event that led to its state, else before all of them.
    pub fn place_among(&mut self, events: &[Event]) {
        let mut by_cookie: Vec<(u64, Nanos, TcpState)> = Vec::new();
        let mut by_ends: Vec<(u32, Ends, Nanos)> = Vec::new();
        for event in events {
            match led_to(&event.what) {
                Some(TcpState::SynRecv) if event.sock.cookie == 0 => {
                    by_ends.push((event.netns, event.ends, event.time));
                }
                Some(state) => by_cookie.push((event.sock.cookie, event.time, state)),
                None => {}
            }
        }
        by_cookie.sort_unstable();
        by_ends.sort_unstable();
        for row in &mut self.rows {
            let is_within = |time: Nanos| row.time <= time && time <= row.read_by;
            let of_cookie = run(&by_cookie, |entry| entry.0.cmp(&row.sock.cookie))
                .iter()
                .rfind(|(_, time, state)| *state == row.state && is_within(*time))
                .map(|(_, time, _)| *time);
            let of_ends = run(&by_ends, |entry| (entry.0, entry.1).cmp(&(row.netns, row.ends)))
                .iter()
                .rfind(|(.., time)| row.kind == SockKind::Request && is_within(*time))
                .map(|(.., time)| *time);
            if let Some(time) = of_cookie.max(of_ends) {
                row.time = time.plus(Nanos(1));
            }
            row.read_by = row.time;
        }
        self.rows.sort_by_key(|row| row.time);
    }
}

/// The entries of a sorted list that compare equal.
fn run<T>(sorted: &[T], compare: impl Fn(&T) -> Ordering) -> &[T] {
    let from = sorted.partition_point(|entry| compare(entry).is_lt());
    let count = sorted[from..].partition_point(|entry| compare(entry).is_eq());
    &sorted[from..from + count]
}

/// The state that a socket was in after this.
const fn led_to(what: &What) -> Option<TcpState> {
    match what {
        What::State { new, .. } => Some(*new),
        What::TimewaitStart(substate)
        | What::TimewaitSegment { substate, .. }
        | What::TimewaitTimer { substate, .. } => Some(*substate),
        What::RequestStart { .. }
        | What::RequestTimer {
            step: TimerStep::Start,
            ..
        } => Some(TcpState::SynRecv),
        What::RequestTimer { .. }
        | What::RequestEnd
        | What::TimewaitEnd { .. }
        | What::TimewaitFull
        | What::ResetReceived
        | What::ResetSent
        | What::Accept
        | What::Renamed => None,
    }
}

/// How sockets are read.
pub enum Reader<'a> {
    /// By netlink.
    Netlink,
    /// By the kernel's iterator.
    Iterator(&'a mut Kernel),
}

impl<'a> Reader<'a> {
    /// As the user wants it.
    #[must_use]
    pub const fn new(preference: SocketReader, kernel: &'a mut Kernel) -> Self {
        match preference {
            SocketReader::Netlink => Self::Netlink,
            SocketReader::Iterator => Self::Iterator(kernel),
        }
    }

    /// The same where no program may have been loaded.
    ///
    /// # Errors
    /// Why there is no kernel side, where the iterator is wanted.
    pub fn without_session(
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
pub struct Wanted<'a> {
    /// Those of these network namespaces; of all where there is no list.
    pub netns: Option<&'a [u32]>,
    /// Those in this state alone.
    pub state: Option<TcpState>,
}

impl<'a> Wanted<'a> {
    /// The sockets of the namespaces in a list, or of all where it is empty.
    #[must_use]
    pub fn of(netns: &'a [u32]) -> Self {
        Self {
            netns: (!netns.is_empty()).then_some(netns),
            state: None,
        }
    }
}

/// Reads the sockets that are wanted into one list.
///
/// # Errors
/// Where a thread to read them cannot be had.
pub fn sockets(reader: Reader<'_>, wanted: Wanted<'_>) -> Result<Snapshot, Refusal> {
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
    wanted: Wanted<'_>,
    consume: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T,
) -> Result<(Snapshot, T), Refusal> {
    let mut snapshot = Snapshot {
        started: clock::monotonic(),
        ..Snapshot::default()
    };
    let current = namespaces::current().unwrap_or(0);
    let spaces: Vec<Namespace> = namespaces::all()
        .into_iter()
        .filter(|space| wanted.netns.is_none_or(|list| list.contains(&space.inode)))
        .collect();
    let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    let consumed = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut batches = Batches::new(sender);
            for space in &spaces {
                if batches.wanted.is_break() {
                    break;
                }
                let read = enter(space, current)
                    .and_then(|()| read_namespace(&mut reader, space.inode, wanted.state, &mut batches));
                match read {
                    Ok(unknown) => {
                        snapshot.unknown += unknown;
                        snapshot.covered.insert(space.inode);
                    }
                    Err(error) => snapshot.failures.push((space.inode, error)),
                }
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

fn enter(space: &Namespace, current: u32) -> Result<(), String> {
    if space.inode == current {
        return Ok(());
    }
    setns(&space.file, CloneFlags::CLONE_NEWNET).map_err(|error| error.desc().to_owned())
}

/// Reads the namespace that the thread is in. Returns how many rows could not be understood.
fn read_namespace(
    reader: &mut Reader<'_>,
    netns: u32,
    only: Option<TcpState>,
    batches: &mut Batches,
) -> Result<u64, String> {
    match reader {
        Reader::Netlink => sock_diag::visit(netns, only, &mut |row| batches.push(row))
            .map(|()| 0)
            .map_err(|error| no_sock_diag(&error)),
        Reader::Iterator(kernel) => {
            let file = kernel.open_tcp_iterator().map_err(|refusal| refusal.cause())?;
            let tick = clock::tick();
            let each = |row: Row| {
                if only.is_none_or(|state| state == row.state) {
                    batches.push(row)
                } else {
                    batches.wanted
                }
            };
            read_rows(file, size_of::<SockRow>(), |bytes| decode::row(bytes, tick), each)
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

/// Reads who holds which TCP socket, one entry for each open file.
///
/// # Errors
/// Where the kernel has no such iterator or refuses it.
pub fn holders(kernel: &mut Kernel) -> Result<Scan, Refusal> {
    read_holders(kernel.open_holder_iterator()?)
}

/// Opens the iterator over the open files of all tasks, where the kernel side could be loaded.
///
/// # Errors
/// Why there is none.
pub fn open_holder_iterator(kernel: &mut Result<Kernel, Refusal>) -> Result<File, Refusal> {
    kernel
        .as_mut()
        .map_err(|refusal| refusal.clone())?
        .open_holder_iterator()
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
        ..Scan::default()
    })
}

/// The same by `/proc`, which finds the sockets of `rows` alone.
#[must_use]
pub fn holders_by_proc(rows: &[Row]) -> Scan {
    let started = clock::monotonic();
    let found = proc_fds::holders(rows);
    Scan {
        started,
        holders: found.holders,
        way: Way::Proc,
        hidden: found.hidden,
        cpu: found.cpu,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SockRef;

    const COOKIE: u64 = 7;

    fn row(state: TcpState, time: u64, read_by: u64) -> Row {
        Row {
            time: Nanos(time),
            read_by: Nanos(read_by),
            sock: SockRef {
                cookie: COOKIE,
                address: 0,
            },
            ends: Ends::default(),
            netns: 1,
            kind: SockKind::Full,
            state,
            uid: 0,
            is_orphan: false,
            is_kernel_socket: false,
            unread: 0,
            unsent: 0,
            listener: 0,
            entry_stamp_ms: 0,
            expires_in_ns: None,
            idle: None,
            inode: 0,
        }
    }

    fn event(cookie: u64, time: u64, what: What) -> Event {
        Event {
            time: Nanos(time),
            sock: SockRef { cookie, address: 0 },
            netns: 1,
            what,
            ..Event::default()
        }
    }

    fn transition(old: TcpState, new: TcpState) -> What {
        What::State {
            old,
            new,
            error: 0,
            fin_received: false,
            is_orphan: false,
            bytes: crate::event::Bytes::default(),
        }
    }

    fn placed(row: Row, events: &[Event]) -> Nanos {
        let mut snapshot = Snapshot {
            rows: vec![row],
            ..Snapshot::default()
        };
        snapshot.place_among(events);
        assert_eq!(snapshot.rows[0].read_by, snapshot.rows[0].time);
        snapshot.rows[0].time
    }

    #[test]
    fn a_row_stands_where_its_state_shows_that_it_was_read() {
        use TcpState::{CloseWait, Established, LastAck, SynRecv};
        let life = [SynRecv, Established, CloseWait, LastAck];
        // Transitions at 110, 120 and 130, beside another socket's.
        let mut events = vec![event(8, 125, transition(SynRecv, Established))];
        for (at, pair) in (110..).step_by(10).zip(life.windows(2)) {
            events.push(event(COOKIE, at, transition(pair[0], pair[1])));
        }
        let times = life.map(|state| placed(row(state, 100, 200), &events));
        assert_eq!(times, [100, 111, 121, 131].map(Nanos));
        // What happened before or after the row was read says nothing of it.
        assert_eq!(placed(row(Established, 115, 200), &events), Nanos(115));
        assert_eq!(placed(row(LastAck, 100, 129), &events), Nanos(100));
    }

    #[test]
    fn a_request_is_placed_by_its_ends_and_a_timewait_sock_by_its_substate() {
        let request = Row {
            kind: SockKind::Request,
            ..row(TcpState::SynRecv, 100, 200)
        };
        let start = event(0, 150, What::RequestStart { listener: 0 });
        assert_eq!(placed(request, &[start]), Nanos(151));
        let elsewhere = Event { netns: 2, ..start };
        assert_eq!(placed(request, &[elsewhere]), Nanos(100));
        let timewait = Row {
            kind: SockKind::Timewait,
            ..row(TcpState::TimeWait, 100, 200)
        };
        let made = event(COOKIE, 140, What::TimewaitStart(TcpState::FinWait2));
        let fin = event(
            COOKIE,
            160,
            What::TimewaitSegment {
                substate: TcpState::TimeWait,
                is_reset: false,
            },
        );
        assert_eq!(placed(timewait, &[made, fin]), Nanos(161));
    }
}
