//! The kernel's struct fields that the programs read. The loader looks each up in the running kernel's BTF and
//! passes the byte offsets in this order; a program reads them as constants.

/// Offset of a field that the kernel does not have.
pub const ABSENT: u16 = u16::MAX;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $strukt:literal . $path:literal, $need:ident;)+) => {
        /// A field whose offset the programs need. The discriminant is its index in the table of offsets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Field { $($(#[$doc])* $name),+ }

        impl Field {
            /// Every field, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
            /// Number of fields.
            pub const COUNT: usize = Self::ALL.len();

            /// The kernel's struct that holds it.
            #[must_use]
            pub const fn of_struct(self) -> &'static str {
                match self { $(Self::$name => $strukt),+ }
            }

            /// The path inside the struct, with dots between nested names.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path),+ }
            }

            /// Whether it is required by every program.
            #[must_use]
            pub const fn is_required(self) -> bool {
                match self { $(Self::$name => fields!(@$need)),+ }
            }
        }
    };
    (@required) => { true };
    (@optional) => { false };
}

fields! {
    /// Remote IPv4 address, followed by the local one.
    RemoteV4 = "sock_common"."skc_daddr", required;
    /// Local IPv4 address.
    LocalV4 = "sock_common"."skc_rcv_saddr", required;
    /// Remote port, network order.
    RemotePort = "sock_common"."skc_dport", required;
    /// Local port, host order, 0 once the port is released.
    LocalPort = "sock_common"."skc_num", required;
    /// Address family.
    Family = "sock_common"."skc_family", required;
    /// State.
    State = "sock_common"."skc_state", required;
    /// Network namespace.
    Net = "sock_common"."skc_net", required;
    /// Remote IPv6 address.
    RemoteV6 = "sock_common"."skc_v6_daddr", optional;
    /// Local IPv6 address.
    LocalV6 = "sock_common"."skc_v6_rcv_saddr", optional;
    /// Cookie, 0 until it is first requested.
    Cookie = "sock_common"."skc_cookie", required;
    /// `sk_flags`, in a union with a field of request sockets.
    SkFlags = "sock_common"."skc_flags", required;
    /// A request socket's listener, in a union with `skc_flags`.
    Listener = "sock_common"."skc_listener", required;
    /// Protocol.
    Protocol = "sock"."sk_protocol", required;
    /// Pending error.
    Error = "sock"."sk_err", required;
    /// Which directions are shut down: 3 for both.
    Shutdown = "sock"."sk_shutdown", optional;
    /// Whether the kernel created it for itself: the byte of that bit.
    KernSock = "sock"."sk_kern_sock", optional;
    /// Whether it is a subflow of an MPTCP socket.
    IsMptcp = "tcp_sock"."is_mptcp", optional;
    /// Data of the protocol above TCP.
    UlpData = "inet_connection_sock"."icsk_ulp_data", optional;
    /// The MPTCP socket of a subflow.
    PathOf = "mptcp_subflow_context"."conn", optional;
    /// `struct socket` of a full socket; null if no process has it open.
    Socket = "sock"."sk_socket", optional;
    /// Accept queue length.
    AcceptQueue = "sock"."sk_ack_backlog", optional;
    /// Backlog.
    Backlog = "sock"."sk_max_ack_backlog", optional;
    /// Local port, network order, kept to the end.
    Sport = "inet_sock"."inet_sport", required;
    /// Next byte expected.
    RcvNxt = "tcp_sock"."rcv_nxt", optional;
    /// First byte that the program has not read.
    CopiedSeq = "tcp_sock"."copied_seq", optional;
    /// Next byte that the program will write.
    WriteSeq = "tcp_sock"."write_seq", optional;
    /// First byte that the peer has not acknowledged.
    SndUna = "tcp_sock"."snd_una", optional;
    /// Bytes that the peer has acknowledged, SYN and FIN included.
    BytesAcked = "tcp_sock"."bytes_acked", optional;
    /// Bytes received in order, FIN included.
    BytesReceived = "tcp_sock"."bytes_received", optional;
    /// When `tcp_ack` last took an acknowledgement, jiffies: data in order that acknowledges nothing new passes it by.
    RcvTstamp = "tcp_sock"."rcv_tstamp", optional;
    /// When the last data arrived, jiffies.
    LrcvTime = "inet_connection_sock"."icsk_ack.lrcvtime", optional;
    /// Smoothed round-trip time, microseconds times 8.
    SrttUs = "tcp_sock"."srtt_us", optional;
    /// Mean deviation of the round-trip time, microseconds times 4.
    MdevUs = "tcp_sock"."mdev_us", optional;
    /// Retransmitted segments since the connection was made.
    TotalRetrans = "tcp_sock"."total_retrans", optional;
    /// Segments in flight.
    PacketsOut = "tcp_sock"."packets_out", optional;
    /// Retransmitted segments in flight.
    RetransOut = "tcp_sock"."retrans_out", optional;
    /// Next byte to be sent.
    SndNxt = "tcp_sock"."snd_nxt", optional;
    /// The window that the peer advertises, bytes.
    SndWnd = "tcp_sock"."snd_wnd", optional;
    /// The window advertised to the peer, bytes.
    RcvWnd = "tcp_sock"."rcv_wnd", optional;
    /// Maximum segment size for sending, bytes.
    MssCache = "tcp_sock"."mss_cache", optional;
    /// Memory of the data to send, bytes.
    WmemQueued = "sock"."sk_wmem_queued", optional;
    /// Memory of the data received, bytes.
    RmemAlloc = "sock"."sk_backlog.rmem_alloc", optional;
    /// Segments dropped at the socket.
    Drops = "sock"."sk_drops", optional;
    /// Retransmission timeout, jiffies.
    Rto = "inet_connection_sock"."icsk_rto", optional;
    /// State of congestion control in the low bits of a byte: `enum tcp_ca_state`.
    CaState = "inet_connection_sock"."icsk_ca_state", optional;
    /// Timeouts of the first unacknowledged segment.
    Retransmits = "inet_connection_sock"."icsk_retransmits", optional;
    /// Number of times that the retransmission timeout has been doubled.
    Backoff = "inet_connection_sock"."icsk_backoff", optional;
    /// Unanswered probes of a closed window or of keep-alive.
    ProbesOut = "inet_connection_sock"."icsk_probes_out", optional;
    /// What the retransmission timer is set for, or 0.
    Pending = "inet_connection_sock"."icsk_pending", optional;
    /// When the retransmission timer expires, up to Linux 6.18.
    RetransmitExpires = "inet_connection_sock"."icsk_retransmit_timer.expires", optional;
    /// The same from Linux 6.19 on, where it is in a union with `sk_timer`.
    SockRetransmitExpires = "sock"."tcp_retransmit_timer.expires", optional;
    /// Timer of keep-alive, from Linux 6.19 on.
    KeepaliveTimer = "inet_connection_sock"."icsk_keepalive_timer", optional;
    /// The same up to Linux 6.18.
    SockTimer = "sock"."sk_timer", optional;
    /// `TCP_USER_TIMEOUT`, milliseconds, or 0.
    UserTimeout = "inet_connection_sock"."icsk_user_timeout", optional;
    /// The longest retransmission timeout, jiffies. Since Linux 6.15.
    RtoMax = "inet_connection_sock"."icsk_rto_max", optional;
    /// `TCP_KEEPIDLE`, jiffies, or 0.
    KeepaliveTime = "tcp_sock"."keepalive_time", optional;
    /// `TCP_KEEPINTVL`, jiffies, or 0.
    KeepaliveIntvl = "tcp_sock"."keepalive_intvl", optional;
    /// `TCP_KEEPCNT`, or 0.
    KeepaliveProbes = "tcp_sock"."keepalive_probes", optional;
    /// `IP_LOCAL_PORT_RANGE`, the upper end in the high 16 bits, or 0. Since Linux 6.3.
    LocalPortRange = "inet_sock"."local_port_range", optional;
    /// Namespace's inode number.
    NetInum = "net"."ns.inum", required;
    /// Leader of the thread group.
    GroupLeader = "task_struct"."group_leader", required;
    /// Task flags, including `PF_KTHREAD`.
    TaskFlags = "task_struct"."flags", required;
    /// Name.
    Comm = "task_struct"."comm", required;
    /// Start time.
    StartBoottime = "task_struct"."start_boottime", required;
    /// Thread group.
    Tgid = "task_struct"."tgid", required;
    /// Thread.
    Pid = "task_struct"."pid", required;
    /// Credentials of the task.
    Cred = "task_struct"."cred", optional;
    /// Real user ID in them.
    CredUid = "cred"."uid.val", optional;
    /// The task's cgroups.
    Cgroups = "task_struct"."cgroups", optional;
    /// Its cgroup of the unified hierarchy (cgroup v2).
    DefaultCgroup = "css_set"."dfl_cgrp", optional;
    /// A cgroup's directory.
    CgroupNode = "cgroup"."kn", optional;
    /// The directory's ID, which is that of the cgroup.
    NodeId = "kernfs_node"."id", optional;
    /// Substate of a timewait sock.
    TwSubstate = "inet_timewait_sock"."tw_substate", optional;
    /// Local port of a timewait sock, network order.
    TwSport = "inet_timewait_sock"."tw_sport", optional;
    /// Timer of a timewait sock.
    TwTimer = "inet_timewait_sock"."tw_timer", optional;
    /// When it entered TIME_WAIT.
    TwEntryStamp = "inet_timewait_sock"."tw_entry_stamp", optional;
    /// Timer of a request sock.
    ReqTimer = "request_sock"."rsk_timer", optional;
    /// A timer's entry in the wheel; its second word is null if the timer is not pending.
    TimerEntry = "timer_list"."entry", optional;
    /// The function that a timer calls.
    TimerFunction = "timer_list"."function", optional;
    /// When the timer expires, jiffies.
    TimerExpires = "timer_list"."expires", optional;
    /// Start of a packet's buffer.
    SkbHead = "sk_buff"."head", optional;
    /// Offset of the TCP header in it.
    SkbTransport = "sk_buff"."transport_header", optional;
    /// The sock of a socket.
    SocketSk = "socket"."sk", optional;
    /// The file of a socket.
    SocketFile = "socket"."file", optional;
    /// Operations of a file: `socket_file_ops` for a socket.
    FileOps = "file"."f_op", optional;
    /// The socket of a socket's file.
    FilePrivate = "file"."private_data", optional;
    /// Inode of a file.
    FileInode = "file"."f_inode", optional;
    /// Open files of the task.
    Files = "task_struct"."files", optional;
    /// Their table.
    FileTable = "files_struct"."fdt", optional;
    /// The table's array, by file descriptor.
    FileArray = "fdtable"."fd", optional;
    /// Instruction pointer in user mode (x86-64, as those below).
    RegsIp = "pt_regs"."ip", optional;
    /// Stack pointer.
    RegsSp = "pt_regs"."sp", optional;
    /// Frame pointer.
    RegsBp = "pt_regs"."bp", optional;
    /// Code segment: shows whether the program is 32-bit.
    RegsCs = "pt_regs"."cs", optional;
    /// Number of the system call.
    RegsOrigAx = "pt_regs"."orig_ax", optional;
    /// Inode number.
    InodeNumber = "inode"."i_ino", optional;
}
