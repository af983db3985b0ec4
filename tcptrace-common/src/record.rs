//! The ring buffer record: one fixed size for every hook, so that the reader never needs a length.

/// Layout version, in every record. Readers count records of another version as unknown.
pub const RECORD_VERSION: u8 = 5;

/// One fact reported by one hook. Fields that a kind does not use are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The kernel's socket cookie, or 0 if the kernel has not assigned one.
    pub cookie: u64,
    /// Address of the kernel object. Reused within microseconds, so it only pairs neighbouring records.
    pub sock: u64,
    /// Cookie of the listener that a request socket belongs to, or 0.
    pub listener: u64,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    /// Remote address, like `local_addr`.
    pub remote_addr: [u8; 16],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`, as the kernel has it (a v4-mapped socket is `AF_INET6`).
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `sk_err` at the time of a transition, an errno; 0 if LAST_ACK ends with everything acknowledged, since an error cannot be the cause.
    pub error: u32,
    /// An [`EventKind`](crate::EventKind).
    pub kind: u8,
    /// [`RECORD_VERSION`].
    pub version: u8,
    /// State before, one of [`crate::state`].
    pub old: u8,
    /// State after; for a timewait socket its substate.
    pub new: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The [`TimerStep`](crate::TimerStep) of a timer, the [`EndCause`](crate::EndCause) of an end.
    pub detail: u8,
    /// The kernel's reason for sending a reset (`enum sk_rst_reason`, Linux 6.10), or 0: not specified.
    pub reason: u16,
    /// Thread group of the current task, if [`flag::TASK`] is set.
    pub tgid: u32,
    /// Differs from the value in the previous record if one between the two could not be delivered.
    pub lost: u32,
    /// `start_boottime` of the thread group's leader, nanoseconds.
    pub start_ns: u64,
    /// cgroup v2 ID of the current task.
    pub cgroup: u64,
    /// `comm` of the thread group's leader.
    pub comm: [u8; 16],
    /// `tcp_sock.bytes_acked` when a full TCP socket becomes CLOSE: SYN and FIN count as one each.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received` likewise; a FIN counts as one.
    pub bytes_received: u64,
    /// `tcp_sock.total_retrans` likewise, if [`flag::RETRANSMITS`] is set.
    pub total_retrans: u32,
    /// `tcp_sock.srtt_us` likewise, microseconds times 8; 0 if the round-trip time was never measured.
    pub srtt_us: u32,
    /// Real user ID of the current task, if [`flag::USER`] is set.
    pub uid: u32,
    /// Padding to a multiple of 8 bytes: zeroes.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Record>() == 160 && align_of::<Record>() == 8);

/// Bits of [`Record::flags`], and of the column `flags` of recordings.
pub mod flag {
    /// `SOCK_DONE`: the peer's FIN has been received.
    pub const FIN_RECEIVED: u8 = 1 << 0;
    /// `SOCK_DEAD`: no process holds the socket any more.
    pub const ORPHAN: u8 = 1 << 1;
    /// `sk_kern_sock`: the kernel created the socket for itself.
    pub const KERNEL_SOCKET: u8 = 1 << 2;
    /// The segment that a timewait socket handled was a RST.
    pub const RESET: u8 = 1 << 3;
    /// The current task is a kernel thread.
    pub const KERNEL_THREAD: u8 = 1 << 4;
    /// The retransmitted segments of the socket were read, [`super::Record::total_retrans`].
    pub const RETRANSMITS: u8 = 1 << 5;
    /// The user of the task is known: [`super::Record::uid`], and the column `uid` of recordings.
    pub const USER: u8 = 1 << 6;
    /// The record has the current task, which caused the transition itself. Recordings number tasks instead.
    pub const TASK: u8 = 1 << 7;
}
