//! The ring buffer record: one fixed size for every hook, so that the reader never needs a length.

/// Layout version, in every record. A reader that meets another one counts the record as unknown.
pub const RECORD_VERSION: u8 = 2;

/// One fact reported by one hook. Fields that a kind does not use are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The kernel's socket cookie, or 0 where the kernel has not made one.
    pub cookie: u64,
    /// Address of the kernel object. Recycled within microseconds: it pairs neighbouring records, no more.
    pub sock: u64,
    /// Cookie of the listener that a request sock belongs to, or 0.
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
    /// `sk_err` at the time of a transition, an errno.
    pub error: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// [`RECORD_VERSION`].
    pub version: u8,
    /// State before, one of [`crate::state`].
    pub old: u8,
    /// State after; for a timewait sock its substate.
    pub new: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// What `kind` says it is: TCP header flags, or one of [`how`].
    pub detail: u8,
    /// The kernel's reason for a reset (`enum sk_rst_reason`) or 0.
    pub reason: u16,
    /// Thread group of the running task, where [`flag::TASK`] is set.
    pub tgid: u32,
    /// Another number than in the record before where one between the two could not be delivered.
    pub lost: u32,
    /// `start_boottime` of the thread group's leader, nanoseconds.
    pub start_ns: u64,
    /// cgroup v2 id of the running task.
    pub cgroup: u64,
    /// `comm` of the thread group's leader.
    pub comm: [u8; 16],
    /// `tcp_sock.bytes_acked` where a full TCP socket becomes CLOSE: SYN and FIN count as one each.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received` likewise; a FIN counts as one.
    pub bytes_received: u64,
}

const _: () = assert!(size_of::<Record>() == 144 && align_of::<Record>() == 8);

/// What a record reports.
pub mod kind {
    /// `inet_sock_set_state`: `old` → `new` of a full socket.
    pub const STATE: u8 = 1;
    /// `tcp_receive_reset`: the peer reset this socket.
    pub const RESET_RECEIVED: u8 = 2;
    /// `tcp_send_reset`: a reset was sent for this socket, why in `reason`.
    pub const RESET_SENT: u8 = 3;
    /// `inet_twsk_alloc` made a timewait sock in substate `new`.
    pub const TIMEWAIT_START: u8 = 4;
    /// `inet_twsk_alloc` failed: the timewait table is full.
    pub const TIMEWAIT_FULL: u8 = 5;
    /// A timewait sock handled a segment: substate after it in `new`, TCP header flags in `detail`.
    pub const TIMEWAIT_SEGMENT: u8 = 6;
    /// `inet_twsk_kill`, for the reason in `detail` ([`super::how`]).
    pub const TIMEWAIT_END: u8 = 7;
    /// `timer_start` of a timewait sock's timer.
    pub const TIMEWAIT_TIMER_START: u8 = 8;
    /// `timer_cancel` of a timewait sock's timer: a restart, an expiry or an end, as what follows tells.
    pub const TIMEWAIT_TIMER_CANCEL: u8 = 9;
    /// `timer_expire_entry` of a timewait sock's timer.
    pub const TIMEWAIT_TIMER_EXPIRE: u8 = 10;
    /// A request sock was queued: the SYN arrived.
    pub const REQUEST_START: u8 = 11;
    /// A request sock was dropped, for the reason in `detail` ([`super::how`]).
    pub const REQUEST_END: u8 = 12;
    /// `timer_start` of a request sock's timer.
    pub const REQUEST_TIMER_START: u8 = 13;
    /// `timer_cancel` of a request sock's timer.
    pub const REQUEST_TIMER_CANCEL: u8 = 14;
    /// `timer_expire_entry` of a request sock's timer.
    pub const REQUEST_TIMER_EXPIRE: u8 = 15;
    /// `inet_csk_accept` returned this socket to the running task.
    pub const ACCEPT: u8 = 16;
    /// The leader of a thread group, named in the task's fields, has another name from now on. No socket.
    pub const TASK_RENAME: u8 = 17;
}

/// Bits of [`Record::flags`].
pub mod flag {
    /// The record names the running task, which made the transition itself.
    pub const TASK: u8 = 1 << 0;
    /// The running task is a kernel thread.
    pub const KERNEL_THREAD: u8 = 1 << 1;
    /// `SOCK_DONE`: the peer's FIN has been received.
    pub const FIN_RECEIVED: u8 = 1 << 2;
    /// `SOCK_DEAD`: no process holds the socket any more.
    pub const ORPHAN: u8 = 1 << 3;
    /// `sk_kern_sock`: the kernel made the socket for itself.
    pub const KERNEL_SOCKET: u8 = 1 << 4;
}

/// How a timewait or request sock ended, in [`Record::detail`].
pub mod how {
    /// Its timer ran out.
    pub const EXPIRED: u8 = 1;
    /// A RST arrived for it.
    pub const RESET: u8 = 2;
    /// A SYN for a new connection arrived.
    pub const REUSED_BY_SYN: u8 = 3;
    /// Data arrived that nobody can read: it was answered with a RST.
    pub const ANSWERED_BY_RESET: u8 = 4;
    /// None of these: by `connect` with the same four-tuple, or the namespace went away.
    pub const OTHER: u8 = 5;
}
