//! How handshakes end, on the client's and on the server's side. Pure.

use super::{change::Change, lifetime::Role, row::TCP, since::Since};
use crate::event::{EndReason, Event, Nanos, TcpState};
use serde::Serialize;

/// A `connect` that fails within this time may have failed in the call itself: no segment was sent.
const AT_ONCE: Nanos = Nanos::from_millis(1);

/// Why the end of SYN_SENT that `event` reports is the program's own, or the `connect` call's. The kernel sets an error
/// before every other end (`tcp_reset`, `tcp_write_err`, `tcp_v4_err`, `tcp_abort`; Linux 6.18). `since` is when the
/// state began.
pub(super) fn given_up(event: &Event, error: u32, since: Since) -> Option<EndReason> {
    if event.protocol != TCP {
        return None;
    }
    // `tcp_v4_connect` goes to SYN_SENT first, and back to CLOSE if `inet_hash_connect` finds no port; otherwise that has
    // chosen one before the socket is unlocked.
    if event.endpoints.local_port == 0 {
        return Some(EndReason::NoPort);
    }
    // The classic tracepoint, without cookies, reports no errors.
    let has_no_error = error == 0 && event.sock.cookie != 0;
    // `close` shuts down both directions first, which the kernel side answers with the task. `shutdown`, and `connect` to
    // AF_UNSPEC, come from `tcp_disconnect`, which shows nothing; and so does a `connect` that fails in the call.
    let is_closed = event.task.is_some();
    (has_no_error && (is_closed || since.age(event.time).span() >= AT_ONCE)).then_some(EndReason::Cancelled)
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandshakeEnd {
    /// A client's: ESTABLISHED.
    Connected,
    /// The peer answered the SYN with a RST.
    Refused,
    /// No answer to any SYN.
    TimedOut,
    /// An ICMP error, or no route.
    Unreachable,
    /// The program gave it up before there was an answer.
    Cancelled,
    /// There was no local port.
    NoPort,
    /// A server's: ESTABLISHED.
    Completed,
    /// The last ACK never came, or was dropped until the kernel gave up, since the accept queue was full.
    Abandoned,
    /// A RST ended it.
    Reset,
}

impl HandshakeEnd {
    pub(crate) const COUNT: usize = 9;

    /// Every one, in the order of their indices.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Connected,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Cancelled,
        Self::NoPort,
        Self::Completed,
        Self::Abandoned,
        Self::Reset,
    ];

    /// How the change ended a handshake; `None` if it did not, or the kernel's evidence does not show how.
    pub(crate) const fn of(change: &Change) -> Option<Self> {
        match (change.old, change.new, change.role) {
            (TcpState::SynSent, TcpState::Established, _) => Some(Self::Connected),
            (TcpState::SynRecv, TcpState::Established, Role::Server) => Some(Self::Completed),
            (TcpState::SynSent, TcpState::Close, _) => match change.reason {
                Some(EndReason::ResetReceived) => Some(Self::Refused),
                Some(EndReason::Timeout) => Some(Self::TimedOut),
                Some(EndReason::Unreachable(_)) => Some(Self::Unreachable),
                Some(EndReason::Cancelled) => Some(Self::Cancelled),
                Some(EndReason::NoPort) => Some(Self::NoPort),
                _ => None,
            },
            (TcpState::SynRecv, TcpState::Close, Role::Server) => match change.reason {
                Some(EndReason::HandshakeAbandoned) => Some(Self::Abandoned),
                Some(EndReason::HandshakeReset | EndReason::ResetReceived) => Some(Self::Reset),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether there is no connection.
    pub(crate) const fn is_failure(self) -> bool {
        !matches!(self, Self::Connected | Self::Completed)
    }

    /// The state that it was in before.
    pub(crate) const fn state(self) -> TcpState {
        match self {
            Self::Connected
            | Self::Refused
            | Self::TimedOut
            | Self::Unreachable
            | Self::Cancelled
            | Self::NoPort => TcpState::SynSent,
            Self::Completed | Self::Abandoned | Self::Reset => TcpState::SynRecv,
        }
    }

    /// Its word in outputs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable",
            Self::Cancelled => "cancelled",
            Self::NoPort => "no-port",
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
            Self::Reset => "reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        ProcessKey,
        fixture::{comm, of_client, task},
    };
    use TcpState::{Close, SynSent};

    const SENT: Since = Since::at(Nanos::from_secs(1));

    /// A `connect` that ends `after` the SYN.
    fn end(after: Nanos) -> Event {
        let process = ProcessKey::new(7, 1);
        let at = Nanos::from_secs(1).plus(after);
        of_client(process, comm("client"), 9, at, (SynSent, Close))
    }

    #[test]
    fn a_connect_is_cancelled_where_nothing_but_its_program_can_have_ended_it() {
        let slow = end(Nanos::from_secs(2));
        let by_close = Event {
            task: Some(task(ProcessKey::new(7, 1), comm("client"))),
            ..end(Nanos(900))
        };
        let mut without_errors = slow;
        without_errors.sock.cookie = 0;
        let another_protocol = Event {
            protocol: 132,
            ..slow
        };
        for (what, event, error, expected) in [
            (
                "a timeout of the program's own",
                slow,
                0,
                Some(EndReason::Cancelled),
            ),
            (
                "a close right after connect",
                by_close,
                0,
                Some(EndReason::Cancelled),
            ),
            ("in the call, or right after it", end(Nanos(900)), 0, None),
            ("an answer", slow, 111, None),
            ("a hook that reports no errors", without_errors, 0, None),
            ("SCTP", another_protocol, 0, None),
        ] {
            assert_eq!(given_up(&event, error, SENT), expected, "{what}");
        }
    }

    #[test]
    fn a_connect_without_a_port_had_none_to_choose() {
        let mut event = end(Nanos::from_millis(40));
        event.endpoints.local_port = 0;
        assert_eq!(given_up(&event, 0, SENT), Some(EndReason::NoPort));
    }
}
