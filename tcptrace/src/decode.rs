//! Decodes records to events: the only reader of wire types. Checks length, then version, then tags; unknown values are
//! errors, never guesses.

mod network;
mod stack;

pub use stack::{Registers, Taken, stack};

use crate::{
    event::{
        Bytes, Endpoints, Event, EventData, Nanos, ProcessKey, RawData, SockRef, Task, TcpState, Unknown,
    },
    socket::{Flow, Holder, Listed, Row, SockKind},
};
use tcptrace_common::{
    HOLDER_VERSION, HolderRow, RECORD_VERSION, ROW_VERSION, Record, SockRow, StackRecord, flag,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Why some bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the size of the record.
    #[error("a record has {0} bytes, which is no known size")]
    Length(usize),
    /// Another layout.
    #[error("unknown layout version {0}")]
    Version(u8),
    /// A tag, state or family that is not known.
    #[error("unknown {what} {value}")]
    Tag {
        /// Name of the field.
        what: &'static str,
        /// The value found.
        value: u16,
    },
    /// A cookie or an address that no kernel gives a socket.
    #[error("{0:?} has no socket")]
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
/// If the bytes are not a record of this version with known tags.
pub fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let record: Record = read(bytes)?;
    if record.version != RECORD_VERSION {
        return Err(DecodeError::Version(record.version));
    }
    let data = data(&record)?;
    let endpoints = if data == EventData::TaskRename {
        Endpoints::default()
    } else {
        Endpoints::from_wire(
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
        uid: (record.flags & flag::USER != 0).then_some(record.uid),
        is_kernel_thread: record.flags & flag::KERNEL_THREAD != 0,
    });
    Ok(Event {
        time: Nanos(record.time_ns),
        sock: sock(record.cookie, record.sock)?,
        endpoints,
        netns: record.netns,
        protocol: record.protocol,
        data,
        task,
        is_kernel_socket: record.flags & flag::KERNEL_SOCKET != 0,
        lost: record.lost,
    })
}

fn data(record: &Record) -> Result<EventData, DecodeError> {
    EventData::from_raw(&RawData {
        kind: record.kind,
        old: record.old,
        new: record.new,
        error: record.error,
        flags: record.flags,
        detail: record.detail,
        listener: record.listener,
        bytes: Bytes {
            acked: record.bytes_acked,
            received: record.bytes_received,
        },
        retransmits_total: record.total_retrans,
        srtt: record.srtt_us,
        reset_reason: record.reason,
    })
    .map_err(|Unknown { what, value }| DecodeError::Tag {
        what,
        value: value.into(),
    })
}

/// Reads one row of the `tcp` iterator. A `tick` is what the kernel's timers count in.
///
/// # Errors
/// As [`event`].
pub fn socket(bytes: &[u8], tick: Nanos) -> Result<Listed, DecodeError> {
    let row: SockRow = read(bytes)?;
    if row.version != ROW_VERSION {
        return Err(DecodeError::Version(row.version));
    }
    let kind = SockKind::try_from(row.kind).map_err(|value| DecodeError::Tag {
        what: "sock kind",
        value: value.into(),
    })?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rcv_tstamp is the low half of jiffies"
    )]
    let idle_ticks = (row.jiffies as u32).wrapping_sub(row.received_jiffies);
    // The first of them had only just ended, or began as the segment came.
    let idle = Nanos(u64::from(idle_ticks.saturating_sub(1)).saturating_mul(tick.0));
    let network = network::of(&row, tick);
    let row = Row {
        time: Nanos(row.time_ns),
        read_by: Nanos(row.time_ns),
        sock: sock(row.cookie, row.sock)?,
        endpoints: Endpoints::from_wire(
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
        flow: Flow::default(),
        inode: row.inode,
    };
    Ok(Listed { row, network })
}

/// Reads one row of the `task_file` iterator. A `tick` is as above.
///
/// # Errors
/// As [`event`].
pub fn holder(bytes: &[u8], tick: Nanos) -> Result<Holder, DecodeError> {
    let row: HolderRow = read(bytes)?;
    if row.version != HOLDER_VERSION {
        return Err(DecodeError::Version(row.version));
    }
    let is_mptcp = i32::from(row.protocol) == libc::IPPROTO_MPTCP;
    Ok(Holder {
        cookie: if is_mptcp { 0 } else { row.cookie },
        is_mptcp,
        process: ProcessKey {
            pid: row.tgid,
            start_ns: row.start_ns,
        },
        comm: row.comm,
        cgroup: row.cgroup,
        uid: (row.uid != u32::MAX).then_some(row.uid),
        fd: row.fd,
        state: state(row.state)?,
        netns: row.netns,
        endpoints: Endpoints::from_wire(
            is_ipv4(row.family)?,
            row.local_addr,
            row.remote_addr,
            row.local_port,
            row.remote_port,
        ),
        error: row.error,
        options: network::holder_options(&row, tick),
    })
}

/// Nanoseconds until a timer that has been set to a time `jiffies` ahead, at most: a tick may only just have begun.
fn until(jiffies: u64, tick: Nanos) -> i64 {
    let ticks = jiffies.cast_signed().saturating_add(1);
    ticks.saturating_mul(tick.0.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = event(&bytes);
            let _ = socket(&bytes, Nanos::from_millis(4));
            let _ = holder(&bytes, Nanos::from_millis(4));
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
