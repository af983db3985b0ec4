//! Rows of a batch back to entries: the only reader of the table. A row that is not understood is counted, never
//! guessed.

use super::{
    batch::Columns,
    entry::{Entry, Told},
    format::{ADDRESS_BYTES, flag, kind},
};
use crate::{
    connection::hidden::Hidden,
    decode::{Holder, Row, SockKind},
    event::{Bytes, Ends, Event, How, Nanos, ProcessKey, SockRef, Task, TcpState, TimerStep, What},
    kernel::clock::Anchor,
    owner::holders::Way,
};
use std::ops::ControlFlow;

/// The sockets of so many rows are told before the rows are: what a processor fetches at once.
const AHEAD: usize = 16;

/// The rows of one batch.
#[derive(Debug)]
pub struct Rows<'a> {
    columns: Columns<'a>,
    tasks: Vec<Task>,
    /// Rows that were not understood.
    pub unknown: u64,
}

/// The value in a row, or 0 in a column that is missing.
fn get<T: Copy + Default>(column: &[T], at: usize) -> T {
    column.get(at).copied().unwrap_or_default()
}

impl<'a> Rows<'a> {
    /// The rows of these columns.
    #[must_use]
    pub const fn new(columns: Columns<'a>) -> Self {
        Self {
            columns,
            tasks: Vec::new(),
            unknown: 0,
        }
    }

    /// Hands over every entry until `each` breaks off, and says of which sockets the next ones are.
    pub fn visit(&mut self, each: &mut impl FnMut(Told<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let count = self.columns.count;
        for first in (0..count).step_by(AHEAD) {
            for at in first..count.min(first + AHEAD) {
                each(Told::Soon(self.sock(at)))?;
            }
            for at in first..count.min(first + AHEAD) {
                match get(self.columns.numbers.kind, at) {
                    kind::PROCESS => self.unknown += u64::from(self.describe(at).is_none()),
                    ..kind::PROCESS => match self.event(at) {
                        Some(event) => each(Told::Entry(&Entry::Event(event)))?,
                        None => self.unknown += 1,
                    },
                    _ => match self.entry(at) {
                        Some(entry) => each(Told::Entry(&entry))?,
                        None => self.unknown += 1,
                    },
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&self, at: usize) -> Option<Entry> {
        let numbers = &self.columns.numbers;
        let time = Nanos(get(numbers.mono_ns, at));
        let value = get(numbers.value, at);
        Some(match get(numbers.kind, at) {
            kind::SETTLED => Entry::Settled(time),
            kind::CLOCK => Entry::Clock(Anchor {
                mono_ns: time.0,
                wall_ns: value,
            }),
            kind::LOST => Entry::Lost { time, total: value },
            kind::GAP => Entry::Gap { time, entries: value },
            kind::STOPPED => Entry::Stopped(time),
            kind::SUMMARY => Entry::Summary(String::from_utf8_lossy(self.columns.text(at)).into()),
            kind::NOTE => Entry::Note {
                time,
                text: String::from_utf8_lossy(self.columns.text(at)).into(),
            },
            kind::PLACE => Entry::Place {
                task: self.task(get(numbers.process, at))?,
                path: String::from_utf8_lossy(self.columns.text(at)).into(),
            },
            kind::HIDDEN => Entry::Hidden(Hidden::from_bits(value)),
            kind::LOOK_BEGUN => Entry::LookBegun(time),
            kind::LOOKED => Entry::Looked(time),
            kind::SNAPSHOT_BEGUN => Entry::SnapshotBegun(time),
            kind::COVERED => Entry::Covered(get(numbers.netns, at)),
            kind::ROW => Entry::Row(self.row(at)?),
            kind::SNAPSHOT_DONE => Entry::SnapshotDone,
            kind::SCAN_BEGUN => Entry::ScanBegun {
                started: time,
                way: match get(numbers.detail, at) {
                    1 => Way::Iterator,
                    2 => Way::Proc,
                    _ => return None,
                },
            },
            kind::HOLDER => Entry::Holder(self.holder(at)?),
            kind::SCAN_DONE => Entry::ScanDone { took: Nanos(value) },
            _ => return None,
        })
    }

    /// Most rows are events: their making is part of the loop.
    #[inline(always)]
    fn event(&self, at: usize) -> Option<Event> {
        let numbers = &self.columns.numbers;
        let flags = get(numbers.flags, at);
        let what = match get(numbers.kind, at) {
            kind::STATE => What::State {
                old: state(get(numbers.old, at))?,
                new: state(get(numbers.new, at))?,
                error: get(numbers.error, at),
                fin_received: flags & flag::FIN_RECEIVED != 0,
                is_orphan: flags & flag::ORPHAN != 0,
                bytes: Bytes {
                    acked: get(numbers.bytes_acked, at),
                    received: get(numbers.bytes_received, at),
                },
            },
            kind::RESET_RECEIVED => What::ResetReceived,
            kind::RESET_SENT => What::ResetSent,
            kind::TIMEWAIT_START => What::TimewaitStart(state(get(numbers.new, at))?),
            kind::TIMEWAIT_FULL => What::TimewaitFull,
            kind::TIMEWAIT_SEGMENT => What::TimewaitSegment {
                substate: state(get(numbers.new, at))?,
                is_reset: flags & flag::RESET != 0,
            },
            kind::TIMEWAIT_END => What::TimewaitEnd {
                substate: state(get(numbers.new, at))?,
                how: how(get(numbers.detail, at))?,
            },
            kind::TIMEWAIT_TIMER => What::TimewaitTimer {
                step: step(get(numbers.detail, at))?,
                substate: state(get(numbers.new, at))?,
            },
            kind::REQUEST_START => What::RequestStart {
                listener: get(numbers.listener, at),
            },
            kind::REQUEST_END => What::RequestEnd,
            kind::REQUEST_TIMER => What::RequestTimer {
                step: step(get(numbers.detail, at))?,
                listener: get(numbers.listener, at),
            },
            kind::ACCEPT => What::Accept,
            kind::RENAMED => What::Renamed,
            _ => return None,
        };
        let task = match get(numbers.process, at) {
            0 => None,
            number => Some(self.task(number)?),
        };
        Some(Event {
            time: Nanos(get(numbers.mono_ns, at)),
            sock: self.sock(at),
            ends: self.ends(at),
            netns: get(numbers.netns, at),
            protocol: get(numbers.protocol, at),
            what,
            task,
            is_kernel_socket: flags & flag::KERNEL_SOCKET != 0,
            lost: get(numbers.lost, at),
        })
    }

    fn row(&self, at: usize) -> Option<Row> {
        let numbers = &self.columns.numbers;
        let flags = get(numbers.flags, at);
        Some(Row {
            time: Nanos(get(numbers.mono_ns, at)),
            sock: self.sock(at),
            ends: self.ends(at),
            netns: get(numbers.netns, at),
            kind: match get(numbers.detail, at) {
                1 => SockKind::Full,
                2 => SockKind::Timewait,
                3 => SockKind::Request,
                _ => return None,
            },
            state: state(get(numbers.new, at))?,
            uid: get(numbers.uid, at),
            is_orphan: flags & flag::ORPHAN != 0,
            is_kernel_socket: flags & flag::KERNEL_SOCKET != 0,
            unread: get(numbers.unread, at),
            unsent: get(numbers.unsent, at),
            listener: get(numbers.listener, at),
            entry_stamp_ms: get(numbers.entry_stamp_ms, at),
            expires_in_ns: (flags & flag::HAS_TIMER != 0).then(|| get(numbers.expires_in_ns, at)),
            idle: (flags & flag::HAS_IDLE != 0).then(|| Nanos(get(numbers.idle_ns, at))),
            inode: get(numbers.inode, at),
        })
    }

    fn holder(&self, at: usize) -> Option<Holder> {
        let numbers = &self.columns.numbers;
        let task = self.task(get(numbers.process, at))?;
        Some(Holder {
            cookie: get(numbers.cookie, at),
            process: task.process,
            comm: task.comm,
            cgroup: task.cgroup,
            fd: get(numbers.fd, at),
            state: state(get(numbers.new, at))?,
            netns: get(numbers.netns, at),
            ends: self.ends(at),
            error: get(numbers.error, at),
        })
    }

    fn sock(&self, at: usize) -> SockRef {
        SockRef {
            cookie: get(self.columns.numbers.cookie, at),
            address: get(self.columns.numbers.object, at),
        }
    }

    fn ends(&self, at: usize) -> Ends {
        let address = |column: &[u8]| {
            let bytes = column.get(at * ADDRESS_BYTES..).and_then(<[u8]>::first_chunk);
            bytes.copied().unwrap_or_default()
        };
        // IPv6 addresses are taken as they are, and IPv4 ones were kept as such.
        Ends::from_wire(
            false,
            address(self.columns.local_addr),
            address(self.columns.remote_addr),
            get(self.columns.numbers.local_port, at),
            get(self.columns.numbers.remote_port, at),
        )
    }

    fn task(&self, number: u32) -> Option<Task> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.tasks.get(index).copied()
    }

    /// Takes in the description of a process; numbers count up from 1 within a batch.
    fn describe(&mut self, at: usize) -> Option<()> {
        let numbers = &self.columns.numbers;
        let next = u32::try_from(self.tasks.len() + 1).ok()?;
        if get(numbers.process, at) != next {
            return None;
        }
        let mut comm = [0; 16];
        let text = self.columns.text(at);
        comm.get_mut(..text.len())?.copy_from_slice(text);
        let task = Task {
            process: ProcessKey {
                pid: get(numbers.pid, at),
                start_ns: get(numbers.value, at),
            },
            comm,
            cgroup: get(numbers.cgroup, at),
            is_kernel_thread: get(numbers.flags, at) & flag::KERNEL_THREAD != 0,
        };
        self.tasks.push(task);
        Some(())
    }
}

fn state(number: u8) -> Option<TcpState> {
    TcpState::from_kernel(number)
}

const fn step(number: u8) -> Option<TimerStep> {
    Some(match number {
        1 => TimerStep::Start,
        2 => TimerStep::Cancel,
        3 => TimerStep::Expire,
        _ => return None,
    })
}

const fn how(number: u8) -> Option<How> {
    Some(match number {
        1 => How::Expired,
        2 => How::Reset,
        3 => How::ReusedBySyn,
        4 => How::AnsweredByReset,
        5 => How::Other,
        _ => return None,
    })
}
