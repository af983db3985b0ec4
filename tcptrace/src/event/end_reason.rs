//! Why connections end.

use serde::{Serialize, Serializer};
use std::fmt;

/// Why a connection ended, as far as the kernel's evidence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    Unreachable(NetworkError),
    /// The owner of a `connect` gave it up before there was an answer.
    Cancelled,
    /// There was no local port for a `connect`.
    NoPort,
    /// Somebody had the kernel destroy the socket, as `ss -K` does.
    Destroyed,
    /// An orphaned FIN_WAIT2 ran out of `tcp_fin_timeout`.
    FinTimeout,
    /// The last ACK never came, or was dropped until the kernel gave up, since the accept queue was full.
    HandshakeAbandoned,
    /// The handshake was reset.
    HandshakeReset,
    /// The network namespace went away.
    Purged,
    /// The end was not seen: events were lost, and a snapshot no longer has the socket.
    Unseen,
}

impl EndReason {
    pub(crate) const COUNT: usize = 16;

    /// One of each, in the order of [`Self::index`].
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::ResetReceived,
        Self::ResetSent,
        Self::TimewaitExpired,
        Self::TimewaitReused,
        Self::TimewaitReset,
        Self::TimewaitOverflow,
        Self::Timeout,
        Self::Unreachable(NetworkError::Host),
        Self::Cancelled,
        Self::NoPort,
        Self::Destroyed,
        Self::FinTimeout,
        Self::HandshakeAbandoned,
        Self::HandshakeReset,
        Self::Purged,
        Self::Unseen,
    ];

    /// Its place in [`Self::ALL`], whatever the error of an unreachable peer.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::ResetReceived => 0,
            Self::ResetSent => 1,
            Self::TimewaitExpired => 2,
            Self::TimewaitReused => 3,
            Self::TimewaitReset => 4,
            Self::TimewaitOverflow => 5,
            Self::Timeout => 6,
            Self::Unreachable(_) => 7,
            Self::Cancelled => 8,
            Self::NoPort => 9,
            Self::Destroyed => 10,
            Self::FinTimeout => 11,
            Self::HandshakeAbandoned => 12,
            Self::HandshakeReset => 13,
            Self::Purged => 14,
            Self::Unseen => 15,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ResetReceived => "reset-received",
            Self::ResetSent => "reset-sent",
            Self::TimewaitExpired => "timewait-expired",
            Self::TimewaitReused => "timewait-reused",
            Self::TimewaitReset => "timewait-reset",
            Self::TimewaitOverflow => "timewait-overflow",
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Cancelled => "cancelled",
            Self::NoPort => "no-port",
            Self::Destroyed => "destroyed",
            Self::FinTimeout => "fin-timeout",
            Self::HandshakeAbandoned => "handshake-abandoned",
            Self::HandshakeReset => "handshake-reset",
            Self::Purged => "purged",
            Self::Unseen => "unseen",
        }
    }
    /// The kernel's error, where it says more than the reason: its name in errno(3).
    pub(crate) const fn error(self) -> Option<&'static str> {
        match self {
            Self::Unreachable(error) => Some(error.name()),
            _ => None,
        }
    }
}

/// The reason, and the error in parentheses.
impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.error().map_or(Ok(()), |error| write!(f, " ({error})"))
    }
}

impl Serialize for EndReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What the kernel converts ICMP errors to (`icmp_err_convert`, `icmpv6_err_convert`), and what a missing route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkError {
    /// `EACCES`: ICMPv6 administratively prohibited, policy, reject route.
    Access,
    /// `ENONET`: source host isolated.
    HostIsolated,
    /// `EPROTO`: parameter problem.
    Parameter,
    /// `ENOPROTOOPT`: protocol unreachable.
    Protocol,
    /// `EOPNOTSUPP`: source route failed.
    SourceRoute,
    /// `ENETUNREACH`: network unreachable, unknown or prohibited; ICMPv6 no route.
    Network,
    /// `ECONNREFUSED`: port unreachable.
    Port,
    /// `EHOSTDOWN`: host unknown.
    HostUnknown,
    /// `EHOSTUNREACH`: host unreachable or prohibited, communication administratively prohibited, time exceeded.
    Host,
}

impl NetworkError {
    /// Of an errno of asm-generic/errno.h; `None` where the network does not cause it.
    pub(crate) const fn from_errno(errno: u32) -> Option<Self> {
        Some(match errno {
            13 => Self::Access,
            64 => Self::HostIsolated,
            71 => Self::Parameter,
            92 => Self::Protocol,
            95 => Self::SourceRoute,
            101 => Self::Network,
            111 => Self::Port,
            112 => Self::HostUnknown,
            113 => Self::Host,
            _ => return None,
        })
    }

    /// Its name in errno(3).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Access => "EACCES",
            Self::HostIsolated => "ENONET",
            Self::Parameter => "EPROTO",
            Self::Protocol => "ENOPROTOOPT",
            Self::SourceRoute => "EOPNOTSUPP",
            Self::Network => "ENETUNREACH",
            Self::Port => "ECONNREFUSED",
            Self::HostUnknown => "EHOSTDOWN",
            Self::Host => "EHOSTUNREACH",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_at_its_index() {
        for (index, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
