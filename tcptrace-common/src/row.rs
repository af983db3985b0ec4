//! Rows that the iterators write: one per socket, and one per open file that is a socket.

/// Layout version of [`SockRow`].
pub const ROW_VERSION: u8 = 4;
/// Layout version of [`HolderRow`].
pub const HOLDER_VERSION: u8 = 7;

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
    /// The later of `tcp_sock.rcv_tstamp` and `icsk_ack.lrcvtime`, as in `keepalive_time_elapsed`: low 32 bits of jiffies
    /// when the last acknowledgement or data arrived.
    pub received_jiffies: u32,
    /// Inode number of the socket's file, or 0 if it has none.
    pub inode: u32,
    /// Options of a full socket.
    pub options: OptionsRow,
    /// Padding to a multiple of 8 bytes: zeroes.
    pub reserved: u32,
    /// What the network does to a full socket that does not listen.
    pub network: NetworkRow,
}

const _: () = assert!(size_of::<SockRow>() == 224 && align_of::<SockRow>() == 8);

/// What the network does to a full socket, as the kernel counts it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkRow {
    /// When the retransmission timer expires, jiffies; meaningful while `pending` is not 0.
    pub retransmit_expires: u64,
    /// When the keep-alive timer expires, jiffies, or 0 if it is not running.
    pub keepalive_expires: u64,
    /// `tcp_sock.srtt_us`: microseconds times 8.
    pub srtt: u32,
    /// `tcp_sock.mdev_us`: microseconds times 4.
    pub mdev: u32,
    /// `icsk_rto`, jiffies.
    pub rto: u32,
    /// `tcp_sock.total_retrans`, segments.
    pub total_retrans: u32,
    /// `tcp_sock.packets_out`, segments.
    pub packets_out: u32,
    /// `tcp_sock.retrans_out`, segments.
    pub retrans_out: u32,
    /// `write_seq - snd_nxt`, bytes.
    pub unsent: u32,
    /// `snd_nxt - snd_una`, bytes.
    pub unacknowledged: u32,
    /// `tcp_sock.snd_wnd`, bytes.
    pub snd_wnd: u32,
    /// `tcp_sock.rcv_wnd`, bytes.
    pub rcv_wnd: u32,
    /// `tcp_sock.mss_cache`, bytes.
    pub mss: u32,
    /// `sk_wmem_queued`, bytes.
    pub wmem_queued: u32,
    /// `sk_rmem_alloc`, bytes.
    pub rmem_alloc: u32,
    /// `sk_drops`, segments.
    pub drops: u32,
    /// The byte of `icsk_ca_state`, which is its low bits.
    pub ca_state: u8,
    /// `icsk_retransmits`.
    pub retransmits: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_probes_out`.
    pub probes_out: u8,
    /// `icsk_pending`.
    pub pending: u8,
    /// Bits of [`known`]: the other fields are 0 without them.
    pub known: u8,
    /// Padding to a multiple of 8 bytes: zeroes.
    pub reserved: u16,
}

const _: () = assert!(size_of::<NetworkRow>() == 80 && align_of::<NetworkRow>() == 8);

/// Bits of [`NetworkRow::known`]: what this kernel has the fields of.
pub mod known {
    /// The counters.
    pub const COUNTERS: u8 = 1;
    /// `pending` and both expiry times.
    pub const TIMERS: u8 = 2;
}

/// The options of a full TCP socket that decide how long it waits for its peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionsRow {
    /// `icsk_user_timeout`, milliseconds.
    pub user_timeout_ms: u32,
    /// `icsk_rto_max`, jiffies, or 0 if the kernel does not have it.
    pub rto_max: u32,
    /// `tcp_sock.keepalive_time`, jiffies.
    pub keepalive_time: u32,
    /// `tcp_sock.keepalive_intvl`, jiffies.
    pub keepalive_interval: u32,
    /// `tcp_sock.keepalive_probes`.
    pub keepalive_probes: u8,
    /// Bits of [`option`].
    pub flags: u8,
    /// Padding to a multiple of 4 bytes: zeroes.
    pub reserved: u16,
}

const _: () = assert!(size_of::<OptionsRow>() == 20 && align_of::<OptionsRow>() == 4);

/// Bits of [`OptionsRow::flags`].
pub mod option {
    /// The socket is one of TCP, and this kernel has the fields.
    pub const KNOWN: u8 = 1;
    /// `SO_KEEPALIVE` is set.
    pub const KEEPALIVE: u8 = 2;
}

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
    /// Padding to a multiple of 4 bytes: zeroes.
    pub reserved: u16,
    /// Real user ID of the task, `u32::MAX` if the kernel does not provide it.
    pub uid: u32,
    /// `IP_LOCAL_PORT_RANGE`, the upper end in the high 16 bits; 0 if it is not set, or the kernel does not have it.
    pub port_range: u32,
    /// The socket's options.
    pub options: OptionsRow,
}

const _: () = assert!(size_of::<HolderRow>() == 128 && align_of::<HolderRow>() == 8);
