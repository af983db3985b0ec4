//! Why one socket is in CLOSE_WAIT, by the kernel's own counters. Pure.

use super::scene::{Peer, Socket};
use crate::{event::TcpState, socket::HeldUp};
use serde::Serialize;
use std::fmt;

/// The state of a connection that the peer has closed.
///
/// The kernel counts the peer's FIN as one byte that is yet to be read (`tcp_sock.rcv_nxt` less `copied_seq`, measured
/// on Linux 6.18), and as read together with the last byte where it was queued behind data. So "has read everything"
/// does not say that the program has seen the end of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has read everything and has not closed.
    ReadAll,
    /// It has read all data and not the end of file: nothing reads this socket.
    EofUnread,
    /// Data is waiting before the end of file: its reader has stalled.
    DataUnread,
    /// A few bytes and the end of file arrived long after the program had last sent: a last message to an idle pool.
    LateDataUnread,
    /// The same for an accepted connection: a last message, or a request.
    ShortDataUnread,
    /// Another process listens on its port, and no holder reads it: it was inherited, or passed on.
    Inherited,
    /// A reset has ended it since, and the program has not closed it.
    Reset,
    /// Its file is open, but is no process's descriptor.
    NoHolder,
    /// It never accepted the connection.
    NeverAccepted,
    /// The counters are unknown, as in a recording.
    Unknown,
    /// Not leaked: everything was read, and the peer, on this host, is open and waits.
    PeerWaits,
    /// Not leaked: data waits to be sent, and the peer has closed its window.
    WindowClosed,
    /// Not leaked: data was retransmitted, and the peer does not acknowledge it.
    Unacknowledged,
}

/// Most bytes of a last message, including the FIN: a TLS `close_notify` has 24 to 69, the timeout notice of a database
/// or proxy some 200.
const LAST_MESSAGE_BYTES: u32 = 256;

/// Data that arrives this long after the program last sent is not an answer, milliseconds.
const UNASKED_MS: u32 = 1_000;

impl Verdict {
    /// Every verdict, in the order of declaration.
    pub const ALL: [Self; 13] = [
        Self::ReadAll,
        Self::EofUnread,
        Self::DataUnread,
        Self::LateDataUnread,
        Self::ShortDataUnread,
        Self::Inherited,
        Self::Reset,
        Self::NoHolder,
        Self::NeverAccepted,
        Self::Unknown,
        Self::PeerWaits,
        Self::WindowClosed,
        Self::Unacknowledged,
    ];

    /// The verdict on a socket that is in CLOSE_WAIT or left it by a reset; `came_in`: it was accepted from a listener.
    #[must_use]
    pub fn on(socket: &Socket, came_in: bool) -> Self {
        if socket.state == TcpState::Close {
            return Self::Reset;
        }
        let by_count = Self::of(socket.unread, socket.accepted());
        if by_count == Self::NeverAccepted {
            return by_count;
        }
        if socket.is_unheld {
            return Self::NoHolder;
        }
        if socket.unsent.is_some_and(|unsent| unsent > 0) {
            match socket.flow.held_up {
                HeldUp::Window => return Self::WindowClosed,
                HeldUp::Unanswered => return Self::Unacknowledged,
                HeldUp::No => {}
            }
        }
        match by_count {
            Self::ReadAll if socket.peer.is_some_and(Peer::waits) => Self::PeerWaits,
            Self::EofUnread if socket.accepted_by.is_some() => Self::Inherited,
            Self::DataUnread if is_late_data(socket) && came_in => Self::ShortDataUnread,
            Self::DataUnread if is_late_data(socket) => Self::LateDataUnread,
            Self::ReadAll
            | Self::EofUnread
            | Self::DataUnread
            | Self::LateDataUnread
            | Self::ShortDataUnread
            | Self::Inherited
            | Self::Reset
            | Self::NoHolder
            | Self::NeverAccepted
            | Self::Unknown
            | Self::PeerWaits
            | Self::WindowClosed
            | Self::Unacknowledged => by_count,
        }
    }

    /// Whether the program leaks the socket, else it waits for its peer.
    #[must_use]
    pub const fn is_leaked(self) -> bool {
        match self {
            Self::ReadAll
            | Self::EofUnread
            | Self::DataUnread
            | Self::LateDataUnread
            | Self::ShortDataUnread
            | Self::Inherited
            | Self::Reset
            | Self::NoHolder
            | Self::NeverAccepted
            | Self::Unknown => true,
            Self::PeerWaits | Self::WindowClosed | Self::Unacknowledged => false,
        }
    }

    /// The name of the evidence that counts its sockets.
    #[must_use]
    pub const fn evidence_name(self) -> &'static str {
        match self {
            Self::ReadAll => "read_all",
            Self::EofUnread => "eof_unread",
            Self::DataUnread => "data_unread",
            Self::LateDataUnread => "late_data_unread",
            Self::ShortDataUnread => "short_data_unread",
            Self::Inherited => "inherited",
            Self::Reset => "reset",
            Self::NoHolder => "no_holder",
            Self::NeverAccepted => "never_accepted",
            Self::Unknown => "verdict_unknown",
            Self::PeerWaits => "peer_waits",
            Self::WindowClosed => "window_closed",
            Self::Unacknowledged => "unacknowledged",
        }
    }

    /// The verdict on a socket in CLOSE_WAIT: `unread` as in `Recv-Q` of `ss`, `accepted` false where no process has
    /// ever held it.
    #[must_use]
    pub const fn of(unread: Option<u32>, accepted: Option<bool>) -> Self {
        match (accepted, unread) {
            (Some(false), _) => Self::NeverAccepted,
            (_, None) => Self::Unknown,
            (_, Some(0)) => Self::ReadAll,
            (_, Some(1)) => Self::EofUnread,
            (_, Some(_)) => Self::DataUnread,
        }
    }

    /// The verdict as a clause with the program as its subject.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ReadAll => "read everything and has not closed",
            Self::EofUnread => "end of file never read",
            Self::DataUnread => "data unread",
            Self::LateDataUnread => "late data unread",
            Self::ShortDataUnread => "short data and end of file unread",
            Self::Inherited => "inherited, never accepted by this program",
            Self::Reset => "since reset, and still open",
            Self::NoHolder => "no process has it open",
            Self::NeverAccepted => "never accepted",
            Self::Unknown => "not closed",
            Self::PeerWaits => "the peer, on this host, is open and waits for the answer",
            Self::WindowClosed => "cannot send: the peer has closed its window",
            Self::Unacknowledged => "the peer does not acknowledge the data sent",
        }
    }

    /// What to do, depending on whether the program accepted these connections or opened them.
    #[must_use]
    pub const fn remedy(self, is_accepted: bool) -> &'static str {
        match self {
            Self::ReadAll => {
                "find the path that reads to the end and returns without close(): an exception or an early return past \
                 it, a response body that is not closed, a missing `finally`, `with` or `defer`"
            }
            Self::EofUnread if is_accepted => {
                "nothing reads these sockets: the thread or task that serves them waits for something else or has ended, or an \
                 event loop no longer polls them; close connections after some idle time"
            }
            Self::EofUnread => {
                "nothing reads these sockets: a pool that keeps connections without testing them, or a thread that waits \
                 for something else; let the pool evict idle connections sooner than the peer does, and test them \
                 before use"
            }
            Self::DataUnread => {
                "their reader has stalled with data waiting: find out where the threads block (jstack, py-spy, gdb, \
                 /proc/PID/stack), and add a timeout there"
            }
            Self::LateDataUnread => {
                "nothing reads these sockets: the peer sent a last message, such as TLS's close_notify or a timeout notice, \
                 and closed; let the pool evict idle connections sooner than the peer does, and test them before use"
            }
            Self::ShortDataUnread => {
                "either nothing reads idle connections, and this is the peer's last message, such as TLS's close_notify: close \
                 them after some idle time; or it is a request and its reader has stalled: find out where the threads \
                 block (jstack, py-spy, gdb, /proc/PID/stack)"
            }
            Self::Inherited => {
                "the program that accepted them started this one, or passed them on: open them with SOCK_CLOEXEC (accept4), \
                 or set FD_CLOEXEC, so that child programs do not inherit them; if they are intended for this program, \
                 it must close them"
            }
            Self::Reset => {
                "the peer had closed, and its kernel has since answered a keep-alive probe, or data, by RST: `ss` no longer shows \
                 these sockets, but they keep their descriptors; find the path that returns without close()"
            }
            Self::NoHolder => {
                "they were accepted, and no process has a descriptor of them: they wait in a Unix socket (SCM_RIGHTS) whose \
                 receiver does not receive them, or in an io_uring; look at the process that should receive them (or the kernel \
                 uses them itself, as for NFS)"
            }
            Self::NeverAccepted => {
                "the program no longer calls accept(), or too rarely: find out where the accepting thread blocks, and \
                 whether workers or descriptors are exhausted"
            }
            Self::Unknown => {
                "find the path that returns without close(); whether they were read is unknown: no kernel reports that for MPTCP, and \
                 recordings do not contain it (run `tcptrace leaks` on the machine itself)"
            }
            Self::PeerWaits => "if the answer takes too long, find out what this program waits for",
            Self::WindowClosed => {
                "the peer's program does not read: look there; this one blocks in send(), or has queued the data and forgotten \
                 the socket: give sending a timeout (SO_SNDTIMEO, TCP_USER_TIMEOUT)"
            }
            Self::Unacknowledged => {
                "the peer's host is gone or unreachable: the kernel gives up after net.ipv4.tcp_retries2, or \
                 TCP_USER_TIMEOUT, and the socket then stays open until the program closes it"
            }
        }
    }
}

/// Whether the unread data is short and unsolicited.
fn is_late_data(socket: &Socket) -> bool {
    let is_short = socket.unread.is_some_and(|unread| unread <= LAST_MESSAGE_BYTES);
    let came_unasked = match (socket.flow.sent_ms, socket.flow.received_ms) {
        (Some(sent), Some(received)) => sent.saturating_sub(received) >= UNASKED_MS,
        _ => false,
    };
    is_short && came_unasked
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_that_came_by_itself_is_late_data() {
        let unread = |unread, sent_ms, received_ms| Socket {
            unread: Some(unread),
            flow: crate::socket::Flow {
                sent_ms: Some(sent_ms),
                received_ms: Some(received_ms),
                ..crate::socket::Flow::default()
            },
            ..crate::findings::fixture::socket(
                TcpState::CloseWait,
                "10.0.0.1:4000",
                "10.0.0.2:443",
                70,
                Some(0),
            )
        };
        // TLS's close_notify and the FIN, two seconds after the answer to the last request.
        let pool = unread(25, 72_000, 70_000);
        assert_eq!(Verdict::on(&pool, false), Verdict::LateDataUnread);
        assert_eq!(Verdict::on(&pool, true), Verdict::ShortDataUnread);
        // An answer that nobody has read, however short, and much that came by itself.
        assert_eq!(
            Verdict::on(&unread(25, 70_020, 70_000), false),
            Verdict::DataUnread
        );
        assert_eq!(
            Verdict::on(&unread(5_000, 72_000, 70_000), false),
            Verdict::DataUnread
        );
        let unknown = Socket {
            flow: crate::socket::Flow::default(),
            ..pool
        };
        assert_eq!(Verdict::on(&unknown, false), Verdict::DataUnread);
    }

    #[test]
    fn what_waits_to_be_sent_says_why() {
        let held_up = |held_up| Socket {
            unsent: Some(9),
            flow: crate::socket::Flow {
                held_up,
                ..crate::socket::Flow::default()
            },
            ..crate::findings::fixture::socket(
                TcpState::CloseWait,
                "10.0.0.1:80",
                "10.0.0.2:4000",
                70,
                Some(0),
            )
        };
        assert_eq!(Verdict::on(&held_up(HeldUp::Window), true), Verdict::WindowClosed);
        assert_eq!(
            Verdict::on(&held_up(HeldUp::Unanswered), true),
            Verdict::Unacknowledged
        );
        assert_eq!(Verdict::on(&held_up(HeldUp::No), true), Verdict::ReadAll);
        let unheld = Socket {
            is_unheld: true,
            ..held_up(HeldUp::No)
        };
        assert_eq!(Verdict::on(&unheld, true), Verdict::NoHolder);
    }

    #[test]
    fn the_kernel_s_counters_decide() {
        assert_eq!(Verdict::of(Some(0), Some(true)), Verdict::ReadAll);
        assert_eq!(Verdict::of(Some(1), Some(true)), Verdict::EofUnread);
        assert_eq!(Verdict::of(Some(2), Some(true)), Verdict::DataUnread);
        assert_eq!(Verdict::of(Some(0), None), Verdict::ReadAll);
        assert_eq!(Verdict::of(None, None), Verdict::Unknown);
        assert_eq!(Verdict::of(Some(1), Some(false)), Verdict::NeverAccepted);
        assert_eq!(Verdict::of(None, Some(false)), Verdict::NeverAccepted);
    }
}
