//! Bytes to events: the only reader of wire types. Length, then version, then a known tag; what is unknown is
//! refused with a reason, never guessed.

use crate::{
    event::{Bytes, Ends, Event, How, Nanos, ProcessKey, SockRef, Task, TcpState, TimerStep, What},
    stacks::taken::{Call, Registers, Taken},
};
use tcptrace_common::{
    HOLDER_VERSION, HolderRow, RECORD_VERSION, ROW_VERSION, Record, STACK_VERSION, SockRow, StackRecord,
    flag, how, kind, row_kind, stack_kind,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_RST: u8 = 0x04;

/// Why some bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the size of the record.
    #[error("{0} bytes is not the size of a record")]
    Length(usize),
    /// Another layout.
    #[error("layout version {0} is not known")]
    Version(u8),
    /// A tag, state or family that is not known.
    #[error("{what} {value} is not known")]
    Tag {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u16,
    },
    /// A cookie or an address that no kernel gives a socket.
    #[error("{0:?} names no socket")]
    Sock(SockRef),
}

/// Types of which every bit pattern is a value and that have no padding.
///
/// # Safety
/// Both must hold of the implementing type.
unsafe trait Plain: Copy {}

// SAFETY: `repr(C)`, integers and arrays of them only, no implicit padding (their sizes are asserted).
unsafe impl Plain for Record {}
// SAFETY: as above.
unsafe impl Plain for SockRow {}
// SAFETY: as above.
unsafe impl Plain for HolderRow {}
// SAFETY: as above.
unsafe impl Plain for StackRecord {}

fn read<T: Plain>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length(bytes.len()));
    }
    // SAFETY: the length fits, `T` takes any bit pattern, and the read needs no alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn sock(cookie: u64, address: u64) -> Result<SockRef, DecodeError> {
    let sock = SockRef { cookie, address };
    if sock.is_possible() {
        Ok(sock)
    } else {
        Err(DecodeError::Sock(sock))
    }
}

fn state(number: u8) -> Result<TcpState, DecodeError> {
    TcpState::from_kernel(number).ok_or(DecodeError::Tag {
        what: "TCP state",
        value: number.into(),
    })
}

fn is_ipv4(family: u16) -> Result<bool, DecodeError> {
    match family {
        AF_INET => Ok(true),
        AF_INET6 => Ok(false),
        other => Err(DecodeError::Tag {
            what: "address family",
            value: other,
        }),
    }
}

/// Reads one ring buffer record.
///
/// # Errors
/// Where the bytes are not a record of this version with known tags.
pub fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let record: Record = read(bytes)?;
    if record.version != RECORD_VERSION {
        return Err(DecodeError::Version(record.version));
    }
    let what = what(&record)?;
    let ends = if what == What::Renamed {
        Ends::default()
    } else {
        Ends::from_wire(
            is_ipv4(record.family)?,
            record.local_addr,
            record.remote_addr,
            record.local_port,
            record.remote_port,
        )
    };
    let task = (record.flags & flag::TASK != 0).then_some(Task {
        process: ProcessKey {
            pid: record.tgid,
            start_ns: record.start_ns,
        },
        comm: record.comm,
        cgroup: record.cgroup,
        is_kernel_thread: record.flags & flag::KERNEL_THREAD != 0,
    });
    Ok(Event {
        time: Nanos(record.time_ns),
        sock: sock(record.cookie, record.sock)?,
        ends,
        netns: record.netns,
        protocol: record.protocol,
        what,
        task,
        is_kernel_socket: record.flags & flag::KERNEL_SOCKET != 0,
        lost: record.lost,
    })
}

/// The code segment of 32-bit programs on x86-64 (`__USER32_CS` of `arch/x86/include/asm/segment.h`).
const USER32_CS: u16 = 0x23;

/// Reads one stack.
///
/// # Errors
/// Where the bytes are not a stack of this version with known tags and lengths.
pub fn stack(bytes: &[u8]) -> Result<Taken, DecodeError> {
    let record: StackRecord = read(bytes)?;
    if record.version != STACK_VERSION {
        return Err(DecodeError::Version(record.version));
    }
    let call = match record.kind {
        stack_kind::CONNECT => Call::Connect,
        stack_kind::ACCEPT => Call::Accept,
        stack_kind::READ => Call::Read,
        other => {
            return Err(DecodeError::Tag {
                what: "call",
                value: other.into(),
            });
        }
    };
    let length = |what, value: u16| DecodeError::Tag { what, value };
    let chain = record
        .chain
        .get(..usize::from(record.chain_bytes) / size_of::<u64>())
        .ok_or(length("length of a chain", record.chain_bytes))?;
    let stack = record
        .stack
        .get(..usize::from(record.stack_bytes))
        .ok_or(length("length of a stack", record.stack_bytes))?;
    Ok(Taken {
        cookie: record.cookie,
        process: ProcessKey {
            pid: record.tgid,
            start_ns: record.start_ns,
        },
        call,
        registers: Registers {
            ip: record.ip,
            sp: record.sp,
            fp: record.fp,
        },
        is_32_bit: record.cs == USER32_CS,
        chain: chain.to_vec(),
        stack: stack.to_vec(),
    })
}

fn what(record: &Record) -> Result<What, DecodeError> {
    Ok(match record.kind {
        kind::STATE => What::State {
            old: state(record.old)?,
            new: state(record.new)?,
            error: record.error,
            fin_received: record.flags & flag::FIN_RECEIVED != 0,
            is_orphan: record.flags & flag::ORPHAN != 0,
            bytes: Bytes {
                acked: record.bytes_acked,
                received: record.bytes_received,
            },
        },
        kind::RESET_RECEIVED => What::ResetReceived,
        kind::RESET_SENT => What::ResetSent,
        kind::TIMEWAIT_START => What::TimewaitStart(state(record.new)?),
        kind::TIMEWAIT_FULL => What::TimewaitFull,
        kind::TIMEWAIT_SEGMENT => What::TimewaitSegment {
            substate: state(record.new)?,
            is_reset: record.detail & TCP_RST != 0,
        },
        kind::TIMEWAIT_END => What::TimewaitEnd {
            substate: state(record.new)?,
            how: how(record.detail)?,
        },
        kind::TIMEWAIT_TIMER_START => timewait_timer(TimerStep::Start, record)?,
        kind::TIMEWAIT_TIMER_CANCEL => timewait_timer(TimerStep::Cancel, record)?,
        kind::TIMEWAIT_TIMER_EXPIRE => timewait_timer(TimerStep::Expire, record)?,
        kind::REQUEST_START => What::RequestStart {
            listener: record.listener,
        },
        kind::REQUEST_END => What::RequestEnd,
        kind::REQUEST_TIMER_START => request_timer(TimerStep::Start, record),
        kind::REQUEST_TIMER_CANCEL => request_timer(TimerStep::Cancel, record),
        kind::REQUEST_TIMER_EXPIRE => request_timer(TimerStep::Expire, record),
        kind::ACCEPT => What::Accept,
        kind::TASK_RENAME => What::Renamed,
        other => {
            return Err(DecodeError::Tag {
                what: "record kind",
                value: other.into(),
            });
        }
    })
}

fn timewait_timer(step: TimerStep, record: &Record) -> Result<What, DecodeError> {
    Ok(What::TimewaitTimer {
        step,
        substate: state(record.new)?,
    })
}

fn request_timer(step: TimerStep, record: &Record) -> What {
    What::RequestTimer {
        step,
        listener: record.listener,
    }
}

fn how(number: u8) -> Result<How, DecodeError> {
    Ok(match number {
        how::EXPIRED => How::Expired,
        how::RESET => How::Reset,
        how::REUSED_BY_SYN => How::ReusedBySyn,
        how::ANSWERED_BY_RESET => How::AnsweredByReset,
        how::OTHER => How::Other,
        other => {
            return Err(DecodeError::Tag {
                what: "end of a sock",
                value: other.into(),
            });
        }
    })
}

/// What kind of sock a snapshot's row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum SockKind {
    Full,
    Timewait,
    Request,
}

/// One socket of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was read, at the earliest.
    pub time: Nanos,
    /// When it had been read: netlink hands over many sockets at a time. Equal to `time` where that is exact.
    pub read_by: Nanos,
    /// Which socket.
    pub sock: SockRef,
    /// Its ends.
    pub ends: Ends,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Full, timewait or request.
    pub kind: SockKind,
    /// State, for a timewait sock its substate.
    pub state: TcpState,
    /// Owner's uid.
    pub uid: u32,
    /// Whether no process holds it: given up, or never accepted.
    pub is_orphan: bool,
    /// Whether it is known that the kernel made it for itself. Netlink shows that of the paths of multipath sockets alone.
    pub is_kernel_socket: bool,
    /// Bytes that the program has not read; for a listener, connections not accepted.
    pub unread: u32,
    /// Bytes that the peer has not acknowledged; for a listener, the backlog.
    pub unsent: u32,
    /// Cookie of a request's listener, or 0.
    pub listener: u64,
    /// `tw_entry_stamp`, low 32 bits of the kernel's milliseconds, or 0.
    pub entry_stamp_ms: u32,
    /// Nanoseconds until the timer of a timewait or request sock runs out, negative where it is overdue. At most so
    /// many: at least this less two ticks of the kernel's clock. `None` where it is not known.
    pub expires_in_ns: Option<i64>,
    /// Full sockets that are connected: how long ago the last segment came from the peer, at least. Request socks: how
    /// long ago their first SYN came, at least. `None` where that is not known, and for others.
    pub idle: Option<Nanos>,
    /// Inode number of the socket's file, or 0.
    pub inode: u32,
}

/// Nanoseconds until a timer that has been set to a time `jiffies` ahead, at most: a tick may only just have begun.
fn until(jiffies: u64, tick: Nanos) -> i64 {
    let ticks = jiffies.cast_signed().saturating_add(1);
    ticks.saturating_mul(tick.0.cast_signed())
}

/// Reads one row of the `tcp` iterator. A `tick` is what the kernel's timers count in.
///
/// # Errors
/// As [`event`].
pub fn row(bytes: &[u8], tick: Nanos) -> Result<Row, DecodeError> {
    let row: SockRow = read(bytes)?;
    if row.version != ROW_VERSION {
        return Err(DecodeError::Version(row.version));
    }
    let kind = match row.kind {
        row_kind::FULL => SockKind::Full,
        row_kind::TIMEWAIT => SockKind::Timewait,
        row_kind::REQUEST => SockKind::Request,
        other => {
            return Err(DecodeError::Tag {
                what: "sock kind",
                value: other.into(),
            });
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rcv_tstamp is the low half of jiffies"
    )]
    let idle_ticks = (row.jiffies as u32).wrapping_sub(row.received_jiffies);
    // The first of them had only just ended, or began as the segment came.
    let idle = Nanos(u64::from(idle_ticks.saturating_sub(1)).saturating_mul(tick.0));
    Ok(Row {
        time: Nanos(row.time_ns),
        read_by: Nanos(row.time_ns),
        sock: sock(row.cookie, row.sock)?,
        ends: Ends::from_wire(
            is_ipv4(row.family)?,
            row.local_addr,
            row.remote_addr,
            row.local_port,
            row.remote_port,
        ),
        netns: row.netns,
        kind,
        state: state(row.state)?,
        uid: row.uid,
        is_orphan: row.flags & flag::ORPHAN != 0,
        is_kernel_socket: row.flags & flag::KERNEL_SOCKET != 0,
        unread: row.unread,
        unsent: row.unsent,
        listener: row.listener,
        entry_stamp_ms: row.entry_stamp_ms,
        expires_in_ns: (kind != SockKind::Full)
            .then(|| until(row.expires_jiffies.wrapping_sub(row.jiffies), tick)),
        idle: (row.received_jiffies != 0).then_some(idle),
        inode: row.inode,
    })
}

/// One open file that is a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The socket's cookie.
    pub cookie: u64,
    /// Who has it open.
    pub process: ProcessKey,
    /// `comm` of the thread group's leader.
    pub comm: [u8; 16],
    /// cgroup v2 id, 0 where unknown.
    pub cgroup: u64,
    /// File descriptor.
    pub fd: u32,
    /// State of the socket.
    pub state: TcpState,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Ends of a socket that is CLOSE, which no other snapshot shows; else unspecified.
    pub ends: Ends,
    /// The same socket's pending errno, or 0.
    pub error: u32,
}

/// Reads one row of the `task_file` iterator.
///
/// # Errors
/// As [`event`].
pub fn holder(bytes: &[u8]) -> Result<Holder, DecodeError> {
    let row: HolderRow = read(bytes)?;
    if row.version != HOLDER_VERSION {
        return Err(DecodeError::Version(row.version));
    }
    Ok(Holder {
        cookie: row.cookie,
        process: ProcessKey {
            pid: row.tgid,
            start_ns: row.start_ns,
        },
        comm: row.comm,
        cgroup: row.cgroup,
        fd: row.fd,
        state: state(row.state)?,
        netns: row.netns,
        ends: Ends::from_wire(
            is_ipv4(row.family)?,
            row.local_addr,
            row.remote_addr,
            row.local_port,
            row.remote_port,
        ),
        error: row.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = event(&bytes);
            let _ = row(&bytes, Nanos::from_millis(4));
            let _ = holder(&bytes);
        }

        #[test]
        fn arbitrary_records_of_the_right_size_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), size_of::<Record>()),
            kind in 0u8..20,
        ) {
            bytes[80] = kind;
            bytes[81] = RECORD_VERSION;
            let _ = event(&bytes);
        }
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let mut bytes = [0u8; size_of::<Record>()];
        bytes[81] = RECORD_VERSION + 1;
        assert_eq!(event(&bytes), Err(DecodeError::Version(RECORD_VERSION + 1)));
        assert_eq!(
            event(&bytes[1..]),
            Err(DecodeError::Length(size_of::<Record>() - 1))
        );
    }
}
