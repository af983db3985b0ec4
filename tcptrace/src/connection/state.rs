//! What is remembered of one connection: its state, and an end that is not certain yet.

use super::since::Since;
use crate::event::{EndReason, Nanos, TcpState};

/// An end that waits for the event that explains it, for [`RESOLVE_WINDOW`] at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingEnd {
    /// A full socket closed; `otherwise` is the reason if no reset follows.
    Close {
        /// Time of the event that is to be explained.
        at: Nanos,
        /// The reason where nothing explains it.
        otherwise: Option<EndReason>,
    },
    /// A timewait sock's timer was cancelled; a start or an expiry would explain it.
    TimerCancelled {
        /// Time of the event that is to be explained.
        at: Nanos,
        /// The substate then.
        substate: TcpState,
        /// The reason where nothing explains it, if there is one.
        otherwise: Option<EndReason>,
    },
    /// A request sock's timer ran out or was cancelled; a start would mean that the SYN-ACK was sent again, the
    /// child's ESTABLISHED that the handshake was done.
    Request {
        /// Time of the event that is to be explained.
        at: Nanos,
        /// The reason where nothing explains it.
        otherwise: EndReason,
    },
}

impl PendingEnd {
    /// When the end was reported.
    pub(crate) const fn at(self) -> Nanos {
        match self {
            Self::Close { at, .. } | Self::TimerCancelled { at, .. } | Self::Request { at, .. } => at,
        }
    }
}

/// How long an end may wait. What explains it comes within microseconds on the same CPU; the rest is for a CPU
/// that was interrupted in between.
pub(crate) const RESOLVE_WINDOW: Nanos = Nanos::from_millis(2);

/// What is remembered of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Its state.
    pub tcp: TcpState,
    /// Since when.
    pub since: Since,
    /// Whether it is represented by a timewait socket.
    pub is_timewait: bool,
    /// Whether the socket is orphaned: its file descriptor was closed.
    pub is_orphan: bool,
    /// An end that is not certain yet.
    pub pending: Option<PendingEnd>,
    /// What would explain an end that follows at once.
    pub(super) clue: Option<EndReason>,
    /// When that came, in [`ticks`].
    clue_at: u32,
}

impl ConnectionState {
    pub(crate) const fn new(tcp: TcpState, since: Since) -> Self {
        Self {
            tcp,
            since,
            is_timewait: false,
            is_orphan: false,
            pending: None,
            clue: None,
            clue_at: 0,
        }
    }

    /// Keeps what may explain an end. The kernel reports it in the same call as the end, before it.
    pub(super) const fn keep_clue(&mut self, reason: EndReason, time: Nanos) {
        self.clue = Some(reason);
        self.clue_at = ticks(time);
    }

    /// What explains an end at `time`: only what came right before it belongs to it.
    pub(super) fn take_clue(&mut self, time: Nanos) -> Option<EndReason> {
        let is_fresh = ticks(time).wrapping_sub(self.clue_at) <= ticks(RESOLVE_WINDOW);
        self.clue.take().filter(|_| is_fresh)
    }
}

/// Units of 1,024 ns, which begin anew after 73 minutes: a row has no room for more.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it wraps, and spans of 2 ms are compared"
)]
pub(super) const fn ticks(time: Nanos) -> u32 {
    (time.0 >> 10) as u32
}
