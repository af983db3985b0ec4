//! The domain's words: states, ends, times, and what the kernel reported. Knows no bytes and no output.

use serde::{Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Nanoseconds of `CLOCK_MONOTONIC`, or a span of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The span from `earlier` to `self`; zero where `earlier` is later, as clocks of two CPUs may be apart.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// A span of milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }
}

/// A TCP state of RFC 9293 in the kernel's spelling and order (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// Every state, in the kernel's order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The order in which a connection may pass through its states (RFC 9293 section 3.3.2).
    pub const IN_ORDER: [Self; Self::COUNT - 1] = [
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
    ];

    /// The state of the kernel's number; `TCP_NEW_SYN_RECV` is SYN_RECV. `None` for any other number.
    #[must_use]
    pub fn from_kernel(number: u8) -> Option<Self> {
        match number {
            12 => Some(Self::SynRecv),
            1..=11 => Some(Self::ALL[usize::from(number) - 1]),
            _ => None,
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The kernel's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for TcpState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no TCP state is called \"{0}\"; the states are ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING, or as ss spells them"
)]
pub struct UnknownState(String);

impl FromStr for TcpState {
    type Err = UnknownState;

    /// Takes the kernel's spelling and that of `ss`, in any case.
    fn from_str(word: &str) -> Result<Self, UnknownState> {
        let plain: String = word
            .chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        Ok(match plain.as_str() {
            "ESTABLISHED" | "ESTAB" => Self::Established,
            "SYNSENT" => Self::SynSent,
            "SYNRECV" | "SYNRCV" | "SYNRECEIVED" => Self::SynRecv,
            "FINWAIT1" => Self::FinWait1,
            "FINWAIT2" => Self::FinWait2,
            "TIMEWAIT" => Self::TimeWait,
            "CLOSE" | "CLOSED" | "UNCONN" => Self::Close,
            "CLOSEWAIT" => Self::CloseWait,
            "LASTACK" => Self::LastAck,
            "LISTEN" | "LISTENING" => Self::Listen,
            "CLOSING" => Self::Closing,
            _ => return Err(UnknownState(word.to_owned())),
        })
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// The word in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// The two ends of a socket. Addresses are kept as IPv6, IPv4 as v4-mapped (RFC 4291 section 2.5.5.2), so that
/// an IPv4 connection on an IPv6 socket is the same as on an IPv4 one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    local_addr: [u8; 16],
    remote_addr: [u8; 16],
    /// Port of this host, 0 where the kernel has not chosen one yet.
    pub local_port: u16,
    /// Port of the other host, 0 for a listener.
    pub remote_port: u16,
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Ends {
    /// From the two addresses in network order: IPv6 as they are, IPv4 in the first four bytes.
    #[must_use]
    pub fn from_wire(
        is_ipv4: bool,
        local_addr: [u8; 16],
        remote_addr: [u8; 16],
        local_port: u16,
        remote_port: u16,
    ) -> Self {
        let widen = |addr: [u8; 16]| {
            if !is_ipv4 {
                return addr;
            }
            let mut mapped = [0; 16];
            mapped[..12].copy_from_slice(&V4_MAPPED);
            mapped[12..].copy_from_slice(&addr[..4]);
            mapped
        };
        Self {
            local_addr: widen(local_addr),
            remote_addr: widen(remote_addr),
            local_port,
            remote_port,
        }
    }

    /// From addresses and ports.
    #[must_use]
    pub fn new(local: (IpAddr, u16), remote: (IpAddr, u16)) -> Self {
        let octets = |addr: IpAddr| match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self {
            local_addr: octets(local.0),
            remote_addr: octets(remote.0),
            local_port: local.1,
            remote_port: remote.1,
        }
    }

    /// The two addresses as they are kept, local first.
    #[must_use]
    pub const fn octets(&self) -> ([u8; 16], [u8; 16]) {
        (self.local_addr, self.remote_addr)
    }

    /// IPv4 for v4-mapped addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.local_addr[..12] == V4_MAPPED || self.remote_addr[..12] == V4_MAPPED {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }

    /// This host's address.
    #[must_use]
    pub fn local(&self) -> IpAddr {
        self.shown(self.local_addr)
    }

    /// The other host's address; unspecified for a listener.
    #[must_use]
    pub fn remote(&self) -> IpAddr {
        self.shown(self.remote_addr)
    }

    /// Whether the other end is the same, address and port.
    #[must_use]
    pub fn has_remote_of(&self, other: &Self) -> bool {
        self.remote_port == other.remote_port && self.remote_addr == other.remote_addr
    }

    /// Whether no address is known, as of a socket that was only just made.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        self.local_port == 0 && self.remote_port == 0
    }

    fn shown(&self, addr: [u8; 16]) -> IpAddr {
        if addr[..12] == V4_MAPPED {
            IpAddr::V4(Ipv4Addr::new(addr[12], addr[13], addr[14], addr[15]))
        } else if self.family() == Family::Ipv4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::from(addr))
        }
    }
}

/// A socket as the kernel names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SockRef {
    /// The socket cookie, as `ss -e` prints it after `sk:`; 0 where the kernel has made none.
    pub cookie: u64,
    /// The kernel object's address. Recycled within microseconds, so it only pairs neighbouring events.
    pub address: u64,
}

impl SockRef {
    /// No cookie reaches it: they count up from 1 (`__sock_gen_cookie`).
    pub const COOKIE_END: u64 = 1 << 62;

    /// Whether a kernel may name a socket so: its objects are in the upper half of the address space.
    #[must_use]
    #[inline]
    pub const fn is_possible(self) -> bool {
        self.cookie < Self::COOKIE_END
            && (self.address == 0 || (self.address >> 63 == 1 && self.address != u64::MAX))
    }
}

/// One life of a socket. A cookie survives `disconnect` and `connect`; the incarnation counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConnectionId {
    /// The socket cookie, or 0 where the kernel has made none (a request sock that nobody asked about).
    pub cookie: u64,
    /// 0 for the socket's first connection.
    pub incarnation: u32,
}

/// How long something has lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Both ends of the span were seen.
    Exact(Nanos),
    /// It began before the tracer did, or while events were lost.
    AtLeast(Nanos),
}

impl Age {
    /// The span, whether exact or not.
    #[must_use]
    pub const fn span(self) -> Nanos {
        match self {
            Self::Exact(span) | Self::AtLeast(span) => span,
        }
    }

    /// Whether both ends were seen.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// A process: thread group, and start time because ids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Thread group id in the initial namespace.
    pub pid: u32,
    /// Start time since boot (`start_boottime`), nanoseconds.
    pub start_ns: u64,
}

/// The task that was running when a hook fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its process.
    pub process: ProcessKey,
    /// `comm` of the thread group's leader, zero-padded.
    pub comm: [u8; 16],
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Whether it is a kernel thread.
    pub is_kernel_thread: bool,
}

/// What happened to a kernel timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum TimerStep {
    Start,
    Cancel,
    Expire,
}

/// How a timewait or request sock ended, as far as one hook can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its timer ran out.
    Expired,
    /// A RST arrived.
    Reset,
    /// A SYN for a new connection arrived.
    ReusedBySyn,
    /// Data arrived that nobody can read, and a RST answered it.
    AnsweredByReset,
    /// Something else.
    Other,
}

/// What a hook reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// A full socket's transition, `old` = `new` where only the file descriptor was given up.
    State {
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
        /// `sk_err`, an errno or 0.
        error: u32,
        /// Whether the peer's FIN has come.
        fin_received: bool,
        /// Whether no process holds the socket.
        is_orphan: bool,
        /// What it has carried, where `new` is CLOSE; else nothing.
        bytes: Bytes,
    },
    /// The peer reset the socket.
    ResetReceived,
    /// A reset was sent for it.
    ResetSent,
    /// A timewait sock was made, in this substate.
    TimewaitStart(TcpState),
    /// No timewait sock could be made: the table is full.
    TimewaitFull,
    /// A timewait sock handled a segment.
    TimewaitSegment {
        /// Substate afterwards.
        substate: TcpState,
        /// Whether the segment was a RST.
        is_reset: bool,
    },
    /// A timewait sock ended.
    TimewaitEnd {
        /// Its last substate.
        substate: TcpState,
        /// How.
        how: How,
    },
    /// A timewait sock's timer.
    TimewaitTimer {
        /// What happened to it.
        step: TimerStep,
        /// The substate at that time.
        substate: TcpState,
    },
    /// A request sock was queued: a SYN arrived at the listener with this cookie (0: unknown).
    RequestStart {
        /// The listener's cookie.
        listener: u64,
    },
    /// A request sock was dropped because of a segment.
    RequestEnd,
    /// A request sock's timer.
    RequestTimer {
        /// What happened to it.
        step: TimerStep,
        /// The listener's cookie.
        listener: u64,
    },
    /// `accept` returned the socket to the running task.
    Accept,
    /// The task has another name from now on. About no socket.
    #[default]
    Renamed,
}

/// What a connection has carried, as the kernel counts (RFC 4898, tcpEStatsAppHCThruOctetsAcked and -Received).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Acknowledged by the peer; SYN and FIN count as one each.
    pub acked: u64,
    /// Received in order; a FIN counts as one.
    pub received: u64,
}

/// One fact, at one time, about one socket. By default one that is about nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Nanos,
    /// Which socket.
    pub sock: SockRef,
    /// Its ends, as far as the kernel knew them.
    pub ends: Ends,
    /// Inode number of its network namespace, 0 where unknown.
    pub netns: u32,
    /// `IPPROTO_*`: 6 for TCP.
    pub protocol: u16,
    /// What.
    pub what: What,
    /// The running task, where it made the event itself.
    pub task: Option<Task>,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
    /// Another number than in the event before where one between the two could not be delivered.
    pub lost: u32,
}

/// Why a connection ended, where the kernel's evidence tells.
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
    /// The word in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResetReceived => "reset-received",
            Self::ResetSent => "reset-sent",
            Self::TimewaitExpired => "timewait-expired",
            Self::TimewaitReused => "timewait-reused",
            Self::TimewaitReset => "timewait-reset",
            Self::TimewaitOverflow => "timewait-overflow",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::FinTimeout => "fin-timeout",
            Self::HandshakeAbandoned => "handshake-abandoned",
            Self::HandshakeReset => "handshake-reset",
            Self::Purged => "purged",
            Self::Unseen => "unseen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_in_both_spellings() {
        for state in TcpState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.name().to_lowercase().replace('_', "-").parse(), Ok(state));
        }
        assert_eq!("estab".parse(), Ok(TcpState::Established));
        assert_eq!("unconn".parse(), Ok(TcpState::Close));
        assert!("TIME".parse::<TcpState>().is_err());
    }

    #[test]
    fn kernel_numbers_are_states() {
        assert_eq!(TcpState::from_kernel(8), Some(TcpState::CloseWait));
        assert_eq!(TcpState::from_kernel(12), Some(TcpState::SynRecv));
        assert_eq!(TcpState::from_kernel(0), None);
        assert_eq!(TcpState::from_kernel(13), None);
    }

    #[test]
    fn a_mapped_connection_is_ipv4() {
        let mapped = Ends::new(
            ("::ffff:10.0.0.1".parse().unwrap(), 80),
            ("::ffff:10.0.0.2".parse().unwrap(), 4242),
        );
        assert_eq!(mapped.family(), Family::Ipv4);
        assert_eq!(mapped.local().to_string(), "10.0.0.1");
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[10, 0, 0, 1]);
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[10, 0, 0, 2]);
        assert_eq!(mapped, Ends::from_wire(true, local, remote, 80, 4242));
    }
}
