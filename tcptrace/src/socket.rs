//! Sockets as the kernel lists them: one row per socket, one per open file that is a socket. Plain data.

pub mod network;
pub mod patience;
pub mod scan;
pub mod snapshot;

use self::network::{Network, SocketOptions};
use crate::event::{Endpoints, Nanos, ProcessKey, SockRef, TcpState};
use hashbrown::HashMap;
pub use tcptrace_common::SockKind;

/// One socket of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was read, at the earliest.
    pub time: Nanos,
    /// When it had been read: netlink hands over many sockets at a time. Equal to `time` where that is exact.
    pub read_by: Nanos,
    /// Cookie or address of the socket.
    pub sock: SockRef,
    /// The local and remote endpoint.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Full, timewait or request.
    pub kind: SockKind,
    /// State, for a timewait sock its substate.
    pub state: TcpState,
    /// Owner's uid.
    pub uid: u32,
    /// Whether no process holds it: orphaned, or not accepted yet.
    pub is_orphan: bool,
    /// Whether it is known that the kernel made it for itself. Netlink shows that of the paths of MPTCP sockets alone.
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
    /// What else the kernel keeps of a connection's traffic.
    pub flow: Flow,
    /// Inode number of the socket's file, or 0.
    pub inode: u32,
}

/// A row with what the network does to its socket, which whoever only needs the row drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The socket.
    pub row: Row,
    /// Empty for what is no full socket.
    pub network: Network,
}

/// What the network does to sockets, by cookie, of those of which it is worth keeping ([`Network::is_notable`]).
pub type Networks = HashMap<u64, Network>;

impl Row {
    /// Whether a full socket that came from a listener was accepted; `None` where that is no question.
    #[must_use]
    pub fn accepted(&self) -> Option<bool> {
        match (self.kind, self.state) {
            (SockKind::Full, TcpState::Listen) | (SockKind::Timewait, _) => None,
            (SockKind::Request, _) => Some(false),
            (SockKind::Full, TcpState::Established | TcpState::CloseWait) => {
                (!self.is_kernel_socket).then_some(!self.is_orphan)
            }
            (SockKind::Full, _) => None,
        }
    }

    /// Whether its handshake is complete, and no program has accepted it yet.
    #[must_use]
    pub fn waits_for_accept(&self) -> bool {
        self.kind == SockKind::Full && self.accepted() == Some(false)
    }

    /// A socket that was read at this time; all else is unknown.
    #[must_use]
    pub fn bare(
        time: Nanos,
        sock: SockRef,
        endpoints: Endpoints,
        netns: u32,
        kind: SockKind,
        state: TcpState,
    ) -> Self {
        Self {
            time,
            read_by: time,
            sock,
            endpoints,
            netns,
            kind,
            state,
            uid: 0,
            is_orphan: false,
            is_kernel_socket: false,
            unread: 0,
            unsent: 0,
            listener: 0,
            entry_stamp_ms: 0,
            expires_in_ns: None,
            idle: None,
            flow: Flow::default(),
            inode: 0,
        }
    }
}

/// Traffic of a connected full socket, and options that netlink reports with it; of a request, `held_up` alone. By the
/// iterator, and in recordings, it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Milliseconds since data was last sent, again or for the first time; of none, since the connection was made.
    /// Probes of keep-alive and of a closed window do not count.
    pub sent_ms: Option<u32>,
    /// Milliseconds since data last came. A FIN alone, and answers to probes, do not count.
    pub received_ms: Option<u32>,
    /// What keeps data from being sent.
    pub held_up: HeldUp,
    /// Whether keep-alive probes the peer while the connection is idle.
    pub has_keepalive: bool,
    /// Whether `connect` chooses the port of a socket that was bound to an address: `IP_BIND_ADDRESS_NO_PORT`. `None`
    /// before Linux 5.9.
    pub binds_late: Option<bool>,
}

/// What keeps data that waits in a socket from being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeldUp {
    /// Nothing: of a request, its SYN-ACK was not sent again. Also where it is not known.
    #[default]
    No,
    /// The peer's window is closed, and is probed.
    Window,
    /// It, or the SYN-ACK of a request, was sent again, and the peer has not acknowledged it.
    Unanswered,
}

/// One open file that is a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The socket's cookie; 0 of an MPTCP socket whose first path is not found yet, and then that path's.
    pub cookie: u64,
    /// Whether it is an MPTCP socket.
    pub is_mptcp: bool,
    /// Who has it open.
    pub process: ProcessKey,
    /// `comm` of the thread group's leader.
    pub comm: [u8; 16],
    /// cgroup v2 id, 0 where unknown.
    pub cgroup: u64,
    /// Real user ID, if known.
    pub uid: Option<u32>,
    /// Number of the file descriptor.
    pub fd: u32,
    /// State of the socket.
    pub state: TcpState,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Endpoints of a socket that is CLOSE, which no other snapshot shows, and of one of MPTCP; else unspecified.
    pub endpoints: Endpoints,
    /// The same socket's pending errno, or 0.
    pub error: u32,
    /// Options of the socket, as the iterator reads them; `/proc` and recordings do not have them.
    pub options: Option<SocketOptions>,
}
