//! One change of one connection: what everything behind the table is made of.

use super::{lifetime::Role, since::Since};
use crate::{
    event::{Age, ConnectionId, EndReason, Endpoints, Nanos, PathStats, ResetReason, TcpState},
    owner::policy::Owner,
};

/// One change of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Time of the transition.
    pub time: Nanos,
    /// Cookie and incarnation, which identify the connection.
    pub id: ConnectionId,
    /// The local and remote endpoint.
    pub endpoints: Endpoints,
    /// Network namespace.
    pub netns: u32,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Who opened the connection.
    pub role: Role,
    /// When it began: the first SYN, or `listen`.
    pub began: Since,
    /// State before; CLOSE or LISTEN for a connection that begins.
    pub old: TcpState,
    /// State after; CLOSE for one that ends.
    pub new: TcpState,
    /// How long it was in `old`; `None` where it begins.
    pub dwell: Option<Age>,
    /// The reason for the end, if there is evidence for one.
    pub reason: Option<EndReason>,
    /// Why this host sent a RST at its end, if it did and the kernel gives a reason.
    pub reset_reason: Option<ResetReason>,
    /// What the network did to it until its full socket closed, where `new` is CLOSE.
    pub path: PathStats,
    /// The owner and its evidence; `None` if unknown.
    pub owner: Option<Owner>,
    /// Whether the handshake was done by a SYN cookie, without SYN_RECV.
    pub by_syn_cookie: bool,
    /// Whether the handshake begins by Fast Open: the SYN itself made the socket.
    pub by_fast_open: bool,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
}

impl Change {
    /// The states that a filter matches: both, or `new` twice where the connection begins. LISTEN is then its listener's
    /// state, and CLOSE that of no connection.
    pub(crate) fn states(&self) -> [TcpState; 2] {
        let left = self.dwell.map_or(self.new, |_| self.old);
        [self.new, left]
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Changes for tests.

    use super::{Age, Change, ConnectionId, Endpoints, Nanos, PathStats, Role, Since, TcpState};

    /// The peer of a client has closed, which it had been connected to for `dwell`.
    pub(crate) fn change_of(endpoints: Endpoints, dwell: Age) -> Change {
        Change {
            time: Nanos(2_000),
            id: ConnectionId::first(1),
            endpoints,
            netns: 1,
            protocol: 6,
            role: Role::Client,
            began: Since::at(Nanos(500)),
            old: TcpState::Established,
            new: TcpState::CloseWait,
            dwell: Some(dwell),
            reason: None,
            reset_reason: None,
            path: PathStats::default(),
            owner: None,
            by_syn_cookie: false,
            by_fast_open: false,
            is_kernel_socket: false,
        }
    }
}
