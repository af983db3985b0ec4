//! One live connection, as the table keeps it.

use super::{lifetime::Role, since::Since, table::cookie_of};
use crate::{
    connection::state::ConnectionState,
    event::{ConnectionId, Endpoints},
    owner::policy::Owner,
};

/// `IPPROTO_TCP`.
pub(super) const TCP: u16 = 6;

/// One live connection: two cache lines of which the processor fetches both.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub struct Connection {
    /// Its cookie, or what it is found by where it has none.
    pub(super) key: u64,
    pub(super) incarnation: u32,
    /// The local and remote endpoint.
    pub endpoints: Endpoints,
    /// Network namespace.
    pub netns: u32,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// State, since when, and what is pending.
    pub state: ConnectionState,
    /// The owner and its evidence; `None` if unknown.
    pub owner: Option<Owner>,
    /// Cookie of the listener that it came to, or 0.
    pub listener: u64,
    /// When it began: the first SYN, or `listen`.
    pub began: Since,
    /// Who opened it, where its beginning was seen.
    pub(super) role: Option<Role>,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
    /// Whether it stands for a request sock, and is found by its endpoints.
    pub(super) is_request: bool,
    /// Whether its timer was cancelled a moment ago, so that a SYN may take it over.
    pub(super) is_cancelled: bool,
}

const _: () = assert!(size_of::<Connection>() == 128, "a field more costs a cache line");

impl Connection {
    #[inline]
    pub(crate) const fn id(&self) -> ConnectionId {
        ConnectionId {
            cookie: cookie_of(self.key),
            incarnation: self.incarnation,
        }
    }

    /// Whether it is TCP's, and not SCTP's or MPTCP's own.
    pub(crate) const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether it is known to be a program's, and not the kernel's own.
    pub(super) const fn is_a_program_s(&self) -> bool {
        self.owner.is_some() && !self.is_kernel_socket
    }

    /// Whether a process may have it open: a full socket that is not known to be orphaned.
    pub(crate) const fn may_be_held(&self) -> bool {
        !self.is_request && !self.state.is_timewait && !self.state.is_orphan && !self.is_kernel_socket
    }
}
