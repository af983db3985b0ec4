//! Decodes rows of a batch to entries: the only reader of the table. Unknown rows are counted, never guessed.

use super::{
    batch::Columns,
    bounds::LONGEST_TEXT,
    entry::Entry,
    evidence,
    format::{NANOS_A_SECOND, kind, row_flag},
    source::Part,
};
use crate::{
    connection::blindspots::Blindspots,
    event::{Bytes, Endpoints, Event, EventData, Nanos, ProcessKey, RawData, SockRef, Task, TcpState},
    kernel::clock::ClockPair,
    printable::printable,
    socket::{Holder, Row, SockKind, network::SocketNetwork, scan::ScanMechanism},
};
use tcptrace_common::flag;

/// Entries of a part, 650 kB: fewer cost more in waking the other thread than they save.
const PART_ROWS: usize = 4_096;

/// The rows of one batch, as parts with entries.
#[derive(Debug)]
pub(super) struct Rows {
    columns: Columns,
    tasks: Vec<Task>,
    read: usize,
}

impl Iterator for Rows {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let rows = self.columns.count.min(self.read + PART_ROWS) - self.read;
        let mut entries = Vec::with_capacity(rows);
        let mut unknown = 0;
        for at in self.read..self.read + rows {
            let is_understood = match self.columns.numbers.kind[at] {
                kind::PROCESS => self.describe(at),
                ..kind::PROCESS => self.event(at).map(|event| entries.push(Entry::Event(event))),
                _ => self.entry(at).map(|entry| entries.push(entry)),
            };
            unknown += u64::from(is_understood.is_none());
        }
        self.read += rows;
        (rows > 0).then_some(Part::Entries { entries, unknown })
    }
}

impl Rows {
    pub(super) const fn new(columns: Columns) -> Self {
        Self {
            columns,
            tasks: Vec::new(),
            read: 0,
        }
    }

    fn entry(&self, at: usize) -> Option<Entry> {
        let numbers = &self.columns.numbers;
        let time = time(&self.columns, at);
        let value = numbers.value[at];
        Some(match numbers.kind[at] {
            kind::SETTLED => Entry::Settled(time),
            kind::CLOCK => Entry::Clock(ClockPair {
                mono_ns: time.0,
                wall_ns: value,
            }),
            kind::LOST => Entry::Lost { time, total: value },
            kind::GAP => Entry::Gap { time, entries: value },
            kind::STOPPED => Entry::Stopped(time),
            kind::SUMMARY => Entry::Summary(self.text(at)?),
            kind::NOTE => Entry::Note {
                time,
                text: self.text(at)?,
            },
            kind::PLACE => Entry::Location {
                task: self.task(numbers.process[at])?,
                path: self.text(at)?,
            },
            kind::BLINDSPOTS => Entry::Blindspots(Blindspots::from_bits(value)),
            kind::POLL_BEGUN => Entry::PollBegun(time),
            kind::POLLED => Entry::Polled(time),
            kind::SNAPSHOT_BEGUN => Entry::SnapshotBegun(time),
            kind::COVERED => Entry::Covered(numbers.netns[at]),
            kind::ROW => Entry::Row(row(&self.columns, at)?),
            kind::NETWORK => Entry::Network(Box::new(SocketNetwork {
                cookie: possible_sock(&self.columns, at)?.cookie,
                network: evidence::decode(self.columns.text(at))?,
            })),
            kind::SNAPSHOT_DONE => Entry::SnapshotDone,
            kind::SCAN_BEGUN => Entry::ScanBegun {
                started: time,
                mechanism: match numbers.detail[at] {
                    1 => ScanMechanism::Iterator,
                    2 => ScanMechanism::Proc,
                    _ => return None,
                },
            },
            kind::HOLDER => Entry::Holder(self.holder(at)?),
            kind::SCAN_DONE => Entry::ScanDone { cost: Nanos(value) },
            _ => return None,
        })
    }

    /// Most rows are events: their making is part of the loop.
    #[inline(always)]
    fn event(&self, at: usize) -> Option<Event> {
        let numbers = &self.columns.numbers;
        let flags = numbers.flags[at];
        let data = EventData::from_raw(&RawData {
            kind: numbers.kind[at],
            old: numbers.old[at],
            new: numbers.new[at],
            error: numbers.error[at],
            flags,
            detail: numbers.detail[at],
            listener: numbers.listener[at],
            bytes: Bytes {
                acked: numbers.bytes_acked[at],
                received: numbers.bytes_received[at],
            },
            retransmits_total: numbers.retransmits_total[at],
            srtt: numbers.srtt_us[at],
            reset_reason: numbers.reset_reason[at],
        })
        .ok()?;
        let task = match numbers.process[at] {
            0 => None,
            number => Some(self.task(number)?),
        };
        Some(Event {
            time: time(&self.columns, at),
            sock: possible_sock(&self.columns, at)?,
            endpoints: endpoints(&self.columns, at),
            netns: numbers.netns[at],
            protocol: numbers.protocol[at],
            is_kernel_socket: flags & flag::KERNEL_SOCKET != 0,
            task,
            data,
            lost: numbers.lost[at],
        })
    }

    fn holder(&self, at: usize) -> Option<Holder> {
        let numbers = &self.columns.numbers;
        let task = self.task(numbers.process[at])?;
        Some(Holder {
            is_mptcp: false,
            cookie: numbers.cookie[at],
            process: task.process,
            comm: task.comm,
            cgroup: task.cgroup,
            uid: task.uid,
            fd: numbers.fd[at],
            state: state(numbers.new[at])?,
            netns: numbers.netns[at],
            endpoints: endpoints(&self.columns, at),
            error: numbers.error[at],
            options: if numbers.flags[at] & row_flag::HAS_OPTIONS == 0 {
                None
            } else {
                Some(evidence::decode_options(self.columns.text(at))?)
            },
        })
    }

    /// The text of a row, safe to print; `None` if it is longer than any that is written.
    fn text(&self, at: usize) -> Option<Box<str>> {
        let bytes = self.columns.text(at);
        (bytes.len() <= LONGEST_TEXT).then(|| printable(bytes).into())
    }

    fn task(&self, number: u32) -> Option<Task> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.tasks.get(index).copied()
    }

    /// Takes in the description of a process; numbers count up from 1 within a batch.
    fn describe(&mut self, at: usize) -> Option<()> {
        let numbers = &self.columns.numbers;
        let next = u32::try_from(self.tasks.len() + 1).ok()?;
        if numbers.process[at] != next {
            return None;
        }
        let mut comm = [0; 16];
        let text = self.columns.text(at);
        comm.get_mut(..text.len())?.copy_from_slice(text);
        let task = Task {
            process: ProcessKey::new(numbers.pid[at], numbers.value[at]),
            comm,
            cgroup: numbers.cgroup[at],
            uid: (numbers.flags[at] & flag::USER != 0).then(|| numbers.uid[at]),
            is_kernel_thread: numbers.flags[at] & flag::KERNEL_THREAD != 0,
        };
        self.tasks.push(task);
        Some(())
    }
}

fn row(columns: &Columns, at: usize) -> Option<Row> {
    let numbers = &columns.numbers;
    let flags = numbers.flags[at];
    Some(Row {
        time: time(columns, at),
        read_by: time(columns, at),
        sock: possible_sock(columns, at)?,
        endpoints: endpoints(columns, at),
        netns: numbers.netns[at],
        kind: SockKind::try_from(numbers.detail[at]).ok()?,
        state: state(numbers.new[at])?,
        uid: numbers.uid[at],
        is_orphan: flags & flag::ORPHAN != 0,
        is_kernel_socket: flags & flag::KERNEL_SOCKET != 0,
        unread: numbers.unread[at],
        unsent: numbers.unsent[at],
        listener: numbers.listener[at],
        entry_stamp_ms: numbers.entry_stamp_ms[at],
        expires_in_ns: (flags & row_flag::HAS_TIMER != 0).then(|| numbers.expires_in_ns[at]),
        idle: (flags & row_flag::HAS_IDLE != 0).then(|| Nanos(numbers.idle_ns[at])),
        flow: crate::socket::Flow::default(),
        inode: numbers.inode[at],
    })
}

fn time(columns: &Columns, at: usize) -> Nanos {
    let numbers = &columns.numbers;
    let whole = u64::from(numbers.mono_sec[at]) * NANOS_A_SECOND;
    // Of these a file has one.
    let rest = u64::from(numbers.mono_nsec[at]).wrapping_add(numbers.mono_ns[at]);
    Nanos(whole.wrapping_add(rest))
}

fn sock(columns: &Columns, at: usize) -> SockRef {
    SockRef::new(columns.numbers.cookie[at], columns.numbers.object[at])
}

/// The same, where a kernel may have named a socket so.
fn possible_sock(columns: &Columns, at: usize) -> Option<SockRef> {
    Some(sock(columns, at)).filter(|sock| sock.is_possible())
}

fn endpoints(columns: &Columns, at: usize) -> Endpoints {
    // IPv6 addresses are taken as they are, and IPv4 ones were kept as such.
    Endpoints::from_wire(
        false,
        columns.local_addr(at),
        columns.remote_addr(at),
        columns.numbers.local_port[at],
        columns.numbers.remote_port[at],
    )
}

fn state(number: u8) -> Option<TcpState> {
    TcpState::from_kernel(number)
}
