//! Rows that the iterators write: one per socket, and one per open file that is a socket.

/// Layout version of [`SockRow`].
pub const ROW_VERSION: u8 = 2;
/// Layout version of [`HolderRow`].
pub const HOLDER_VERSION: u8 = 3;

/// One socket as the `tcp` iterator found it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockRow {
    /// When the row was written, `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Address of the kernel object, as in `Record`.
    pub sock: u64,
    /// Cookie of the listener, request sockets only.
    pub listener: u64,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    /// Remote address.
    pub remote_addr: [u8; 16],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Owner's UID as the iterator reports it.
    pub uid: u32,
    /// State, or a timewait socket's substate.
    pub state: u8,
    /// A [`SockKind`](crate::SockKind).
    pub kind: u8,
    /// [`ROW_VERSION`].
    pub version: u8,
    /// Bits of [`crate::flag`].
    pub flags: u8,
    /// `rcv_nxt - copied_seq`; for a listener the accept queue's length.
    pub unread: u32,
    /// `write_seq - snd_una`; for a listener the backlog.
    pub unsent: u32,
    /// `tw_entry_stamp`, low 32 bits of the kernel's millisecond clock, or 0.
    pub entry_stamp_ms: u32,
    /// `timer->expires`, jiffies, of timewait and request sockets; 0 for others.
    pub expires_jiffies: u64,
    /// `jiffies` when the row was written.
    pub jiffies: u64,
    /// `tcp_sock.rcv_tstamp`: low 32 bits of jiffies when the last segment arrived.
    pub received_jiffies: u32,
    /// Inode number of the socket's file, or 0 if it has none.
    pub inode: u32,
}

const _: () = assert!(size_of::<SockRow>() == 120 && align_of::<SockRow>() == 8);

/// One file descriptor that is a TCP socket, as the `task_file` iterator found it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderRow {
    /// The socket's cookie.
    pub cookie: u64,
    /// `start_boottime` of the thread group's leader, nanoseconds.
    pub start_ns: u64,
    /// cgroup v2 ID of the task, 0 if the kernel does not provide it.
    pub cgroup: u64,
    /// `comm` of the thread group's leader.
    pub comm: [u8; 16],
    /// Thread group.
    pub tgid: u32,
    /// File descriptor.
    pub fd: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `sk_err`, the pending error, an errno, or 0. State CLOSE only.
    pub error: u32,
    /// Local address, network order; IPv4 in the first four bytes. Endpoints are filled in for sockets in CLOSE
    /// and MPTCP sockets only: the `tcp` iterator shows the others.
    pub local_addr: [u8; 16],
    /// Remote address; zero if the socket was never connected.
    pub remote_addr: [u8; 16],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// State of the socket.
    pub state: u8,
    /// [`HOLDER_VERSION`].
    pub version: u8,
    /// `IPPROTO_TCP` or `IPPROTO_MPTCP`.
    pub protocol: u16,
    /// Padding to a multiple of 8 bytes: zeroes.
    pub reserved: [u16; 3],
}

const _: () = assert!(size_of::<HolderRow>() == 104 && align_of::<HolderRow>() == 8);
