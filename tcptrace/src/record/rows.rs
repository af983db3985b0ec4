//! Rows of a batch back to entries: the only reader of the table. A row that is not understood is counted, never
//! guessed.

use super::{
    batch::{Block, Columns},
    bounds::LONGEST_TEXT,
    entry::{Entry, Told},
    format::{BLOCK, NANOS_A_SECOND, flag, kind},
};
use crate::{
    connection::hidden::Hidden,
    decode::{Holder, Row, SockKind},
    event::{Bytes, Ends, Event, How, Nanos, ProcessKey, SockRef, Task, TcpState, TimerStep, What},
    kernel::clock::Anchor,
    owner::holders::Way,
    printable::printable,
};
use std::{array, ops::ControlFlow};

/// The rows of one batch.
#[derive(Debug)]
pub struct Rows<'a> {
    columns: Columns<'a>,
    tasks: Vec<Task>,
    /// Rows that were not understood.
    pub unknown: u64,
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

    /// Hands over every entry until `each` breaks off, and says before of which sockets the next ones are.
    pub fn visit(&mut self, each: &mut impl FnMut(Told<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        // Each event is written over the one before, and never moved.
        let mut event = Entry::Event(Event::default());
        for first in (0..self.columns.count).step_by(BLOCK) {
            let block = self.columns.block(first);
            let count = block.count.min(BLOCK);
            let socks: [SockRef; BLOCK] = array::from_fn(|at| sock(&block, at));
            each(Told::Soon(&socks[..count]))?;
            for at in 0..count {
                match block.numbers.kind[at] {
                    kind::PROCESS => self.unknown += u64::from(self.describe(&block, at).is_none()),
                    ..kind::PROCESS => {
                        let read = match &mut event {
                            Entry::Event(event) => self.event(&block, at, event),
                            _ => None,
                        };
                        match read {
                            Some(()) => each(Told::Entry(&event))?,
                            None => self.unknown += 1,
                        }
                    }
                    _ => match self.entry(&block, at) {
                        Some(entry) => each(Told::Entry(&entry))?,
                        None => self.unknown += 1,
                    },
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&self, block: &Block<'_>, at: usize) -> Option<Entry> {
        let numbers = &block.numbers;
        let time = time(block, at);
        let value = numbers.value[at];
        Some(match numbers.kind[at] {
            kind::SETTLED => Entry::Settled(time),
            kind::CLOCK => Entry::Clock(Anchor {
                mono_ns: time.0,
                wall_ns: value,
            }),
            kind::LOST => Entry::Lost { time, total: value },
            kind::GAP => Entry::Gap { time, entries: value },
            kind::STOPPED => Entry::Stopped(time),
            kind::SUMMARY => Entry::Summary(self.text(block, at)?),
            kind::NOTE => Entry::Note {
                time,
                text: self.text(block, at)?,
            },
            kind::PLACE => Entry::Place {
                task: self.task(numbers.process[at])?,
                path: self.text(block, at)?,
            },
            kind::HIDDEN => Entry::Hidden(Hidden::from_bits(value)),
            kind::LOOK_BEGUN => Entry::LookBegun(time),
            kind::LOOKED => Entry::Looked(time),
            kind::SNAPSHOT_BEGUN => Entry::SnapshotBegun(time),
            kind::COVERED => Entry::Covered(numbers.netns[at]),
            kind::ROW => Entry::Row(row(block, at)?),
            kind::SNAPSHOT_DONE => Entry::SnapshotDone,
            kind::SCAN_BEGUN => Entry::ScanBegun {
                started: time,
                way: match numbers.detail[at] {
                    1 => Way::Iterator,
                    2 => Way::Proc,
                    _ => return None,
                },
            },
            kind::HOLDER => Entry::Holder(self.holder(block, at)?),
            kind::SCAN_DONE => Entry::ScanDone { took: Nanos(value) },
            _ => return None,
        })
    }

    /// Most rows are events: their making is part of the loop.
    #[inline(always)]
    fn event(&self, block: &Block<'_>, at: usize, event: &mut Event) -> Option<()> {
        let numbers = &block.numbers;
        let flags = numbers.flags[at];
        event.what = match numbers.kind[at] {
            kind::STATE => What::State {
                old: state(numbers.old[at])?,
                new: state(numbers.new[at])?,
                error: numbers.error[at],
                fin_received: flags & flag::FIN_RECEIVED != 0,
                is_orphan: flags & flag::ORPHAN != 0,
                bytes: Bytes {
                    acked: numbers.bytes_acked[at],
                    received: numbers.bytes_received[at],
                },
            },
            kind::RESET_RECEIVED => What::ResetReceived,
            kind::RESET_SENT => What::ResetSent,
            kind::TIMEWAIT_START => What::TimewaitStart(state(numbers.new[at])?),
            kind::TIMEWAIT_FULL => What::TimewaitFull,
            kind::TIMEWAIT_SEGMENT => What::TimewaitSegment {
                substate: state(numbers.new[at])?,
                is_reset: flags & flag::RESET != 0,
            },
            kind::TIMEWAIT_END => What::TimewaitEnd {
                substate: state(numbers.new[at])?,
                how: how(numbers.detail[at])?,
            },
            kind::TIMEWAIT_TIMER => What::TimewaitTimer {
                step: step(numbers.detail[at])?,
                substate: state(numbers.new[at])?,
            },
            kind::REQUEST_START => What::RequestStart {
                listener: numbers.listener[at],
            },
            kind::REQUEST_END => What::RequestEnd,
            kind::REQUEST_TIMER => What::RequestTimer {
                step: step(numbers.detail[at])?,
                listener: numbers.listener[at],
            },
            kind::ACCEPT => What::Accept,
            kind::RENAMED => What::Renamed,
            _ => return None,
        };
        event.task = match numbers.process[at] {
            0 => None,
            number => Some(self.task(number)?),
        };
        event.time = time(block, at);
        event.sock = possible_sock(block, at)?;
        event.ends = ends(block, at);
        event.netns = numbers.netns[at];
        event.protocol = numbers.protocol[at];
        event.is_kernel_socket = flags & flag::KERNEL_SOCKET != 0;
        event.lost = numbers.lost[at];
        Some(())
    }

    fn holder(&self, block: &Block<'_>, at: usize) -> Option<Holder> {
        let numbers = &block.numbers;
        let task = self.task(numbers.process[at])?;
        Some(Holder {
            cookie: numbers.cookie[at],
            process: task.process,
            comm: task.comm,
            cgroup: task.cgroup,
            fd: numbers.fd[at],
            state: state(numbers.new[at])?,
            netns: numbers.netns[at],
            ends: ends(block, at),
            error: numbers.error[at],
        })
    }

    /// The text of a row, safe to print; `None` where none is written that is so long.
    fn text(&self, block: &Block<'_>, at: usize) -> Option<Box<str>> {
        let bytes = self.columns.text(block.first + at);
        (bytes.len() <= LONGEST_TEXT).then(|| printable(bytes).into())
    }

    fn task(&self, number: u32) -> Option<Task> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.tasks.get(index).copied()
    }

    /// Takes in the description of a process; numbers count up from 1 within a batch.
    fn describe(&mut self, block: &Block<'_>, at: usize) -> Option<()> {
        let numbers = &block.numbers;
        let next = u32::try_from(self.tasks.len() + 1).ok()?;
        if numbers.process[at] != next {
            return None;
        }
        let mut comm = [0; 16];
        let text = self.columns.text(block.first + at);
        comm.get_mut(..text.len())?.copy_from_slice(text);
        let task = Task {
            process: ProcessKey {
                pid: numbers.pid[at],
                start_ns: numbers.value[at],
            },
            comm,
            cgroup: numbers.cgroup[at],
            is_kernel_thread: numbers.flags[at] & flag::KERNEL_THREAD != 0,
        };
        self.tasks.push(task);
        Some(())
    }
}

fn row(block: &Block<'_>, at: usize) -> Option<Row> {
    let numbers = &block.numbers;
    let flags = numbers.flags[at];
    Some(Row {
        time: time(block, at),
        read_by: time(block, at),
        sock: possible_sock(block, at)?,
        ends: ends(block, at),
        netns: numbers.netns[at],
        kind: match numbers.detail[at] {
            1 => SockKind::Full,
            2 => SockKind::Timewait,
            3 => SockKind::Request,
            _ => return None,
        },
        state: state(numbers.new[at])?,
        uid: numbers.uid[at],
        is_orphan: flags & flag::ORPHAN != 0,
        is_kernel_socket: flags & flag::KERNEL_SOCKET != 0,
        unread: numbers.unread[at],
        unsent: numbers.unsent[at],
        listener: numbers.listener[at],
        entry_stamp_ms: numbers.entry_stamp_ms[at],
        expires_in_ns: (flags & flag::HAS_TIMER != 0).then(|| numbers.expires_in_ns[at]),
        idle: (flags & flag::HAS_IDLE != 0).then(|| Nanos(numbers.idle_ns[at])),
        inode: numbers.inode[at],
    })
}

fn time(block: &Block<'_>, at: usize) -> Nanos {
    let numbers = &block.numbers;
    let whole = u64::from(numbers.mono_sec[at]) * NANOS_A_SECOND;
    // Of these a file has one.
    let rest = u64::from(numbers.mono_nsec[at]).wrapping_add(numbers.mono_ns[at]);
    Nanos(whole.wrapping_add(rest))
}

fn sock(block: &Block<'_>, at: usize) -> SockRef {
    SockRef {
        cookie: block.numbers.cookie[at],
        address: block.numbers.object[at],
    }
}

/// The same, where a kernel may have named a socket so.
fn possible_sock(block: &Block<'_>, at: usize) -> Option<SockRef> {
    Some(sock(block, at)).filter(|sock| sock.is_possible())
}

fn ends(block: &Block<'_>, at: usize) -> Ends {
    // IPv6 addresses are taken as they are, and IPv4 ones were kept as such.
    Ends::from_wire(
        false,
        block.local_addr[at],
        block.remote_addr[at],
        block.numbers.local_port[at],
        block.numbers.remote_port[at],
    )
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
