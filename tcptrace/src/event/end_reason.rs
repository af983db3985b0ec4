//! Why connections end.

use serde::Serialize;

/// Why a connection ended, as far as the kernel's evidence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The peer sent a RST.
    ResetReceived,
    /// This host sent a RST.
    ResetSent,
    /// TIME_WAIT ran its 60 seconds.
    TimewaitExpired,
    /// A new connection took over the four-tuple.
    TimewaitReused,
    /// A RST ended TIME_WAIT.
    TimewaitReset,
    /// The timewait table was full: the state was skipped.
    TimewaitOverflow,
    /// Retransmission or keep-alive gave up.
    Timeout,
    /// No route, or an ICMP error.
    Unreachable,
    /// Somebody had the kernel destroy the socket, as `ss -K` does.
    Destroyed,
    /// An orphaned FIN_WAIT2 ran out of `tcp_fin_timeout`.
    FinTimeout,
    /// The final ACK never came.
    HandshakeAbandoned,
    /// The handshake was reset.
    HandshakeReset,
    /// The network namespace went away.
    Purged,
    /// The end was not seen: events were lost, and a snapshot no longer has the socket.
    Unseen,
}

impl EndReason {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ResetReceived => "reset-received",
            Self::ResetSent => "reset-sent",
            Self::TimewaitExpired => "timewait-expired",
            Self::TimewaitReused => "timewait-reused",
            Self::TimewaitReset => "timewait-reset",
            Self::TimewaitOverflow => "timewait-overflow",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Destroyed => "destroyed",
            Self::FinTimeout => "fin-timeout",
            Self::HandshakeAbandoned => "handshake-abandoned",
            Self::HandshakeReset => "handshake-reset",
            Self::Purged => "purged",
            Self::Unseen => "unseen",
        }
    }
}
