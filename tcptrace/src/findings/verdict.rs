//! Why one socket is in CLOSE_WAIT, by the kernel's own counters. Pure.

use serde::Serialize;
use std::fmt;

/// What the program did with a connection that its peer has closed.
///
/// The kernel counts the peer's FIN as one byte that is yet to be read (`tcp_sock.rcv_nxt` less `copied_seq`, measured
/// on Linux 6.18), and as read together with the last byte where it was queued behind data. So "has read everything"
/// does not say that the program has seen the end of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has read everything and has not closed.
    ReadAll,
    /// It has read all data and not the end of file: nobody reads this socket.
    EndUnread,
    /// Data is waiting before the end of file: its reader has stalled.
    DataUnread,
    /// It never accepted the connection.
    NeverAccepted,
    /// The counters are not known, as in a recording.
    NotKnown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 5] = [
        Self::ReadAll,
        Self::EndUnread,
        Self::DataUnread,
        Self::NeverAccepted,
        Self::NotKnown,
    ];

    /// The verdict on a socket in CLOSE_WAIT: `unread` as in `Recv-Q` of `ss`, `accepted` false where no process has
    /// ever held it.
    #[must_use]
    pub const fn of(unread: Option<u32>, accepted: Option<bool>) -> Self {
        match (accepted, unread) {
            (Some(false), _) => Self::NeverAccepted,
            (_, None) => Self::NotKnown,
            (_, Some(0)) => Self::ReadAll,
            (_, Some(1)) => Self::EndUnread,
            (_, Some(_)) => Self::DataUnread,
        }
    }

    /// What happened, with the program as its subject.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ReadAll => "read everything and has not closed",
            Self::EndUnread => "end of file never read",
            Self::DataUnread => "data unread",
            Self::NeverAccepted => "never accepted",
            Self::NotKnown => "not closed",
        }
    }

    /// What to look for in the program.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ReadAll => {
                "find the path that reads to the end and returns without close(): an exception or an early return past \
                 it, a response body that is not closed, a missing `finally`, `with` or `defer`"
            }
            Self::EndUnread => {
                "nobody reads these sockets: a pool that keeps connections without testing them, or a thread that waits \
                 for something else; let the pool evict idle connections sooner than the peer does, and test them \
                 before use"
            }
            Self::DataUnread => {
                "their reader has stalled with data waiting: look where the threads are (jstack, py-spy, gdb, \
                 /proc/PID/stack), and give what they wait for a timeout"
            }
            Self::NeverAccepted => {
                "the program does not call accept() any more, or too seldom: look where the accepting thread is, and \
                 whether a pool of workers or descriptors is used up"
            }
            Self::NotKnown => "look at these sockets with `tcptrace leaks` on the machine itself",
        }
    }
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
    fn the_kernel_s_counters_decide() {
        assert_eq!(Verdict::of(Some(0), Some(true)), Verdict::ReadAll);
        assert_eq!(Verdict::of(Some(1), Some(true)), Verdict::EndUnread);
        assert_eq!(Verdict::of(Some(2), Some(true)), Verdict::DataUnread);
        assert_eq!(Verdict::of(Some(0), None), Verdict::ReadAll);
        assert_eq!(Verdict::of(None, None), Verdict::NotKnown);
        assert_eq!(Verdict::of(Some(1), Some(false)), Verdict::NeverAccepted);
        assert_eq!(Verdict::of(None, Some(false)), Verdict::NeverAccepted);
    }
}
