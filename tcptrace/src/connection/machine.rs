//! Decides a connection's next state: (state, input, time) → what changed. Knows no clock, no output, no kernel,
//! and no other connection.

use super::{
    since::Since,
    state::{ConnectionState, PendingEnd},
};
use crate::event::{Age, EndCause, EndReason, EventData, Nanos, NetworkError, TcpState, TimerStep};

/// `errno`s that `sk_err` holds when a connection ends, asm-generic/errno.h.
mod errno {
    pub(super) const CONNECTION_ABORTED: u32 = 103;
    pub(super) const TIMED_OUT: u32 = 110;
    pub(super) const CONNECTION_REFUSED: u32 = 111;
}

/// What can be known about a connection from its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Events from before this time were lost, and no snapshot has made up for them yet.
    pub(crate) lost_until: Option<Nanos>,
    /// Whether the hooks report timewait sockets.
    pub(crate) timewaits: bool,
}

impl Sight {
    /// Whether events may have been lost since `since`; several may have one time.
    fn has_lost_since(self, since: Since) -> bool {
        self.lost_until.is_some_and(|until| since.time() <= until)
    }
}

/// What the state machine of one connection takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A hook's report.
    Event {
        data: EventData,
        /// Why a timewait sock or a `connect` ended, where the report is of an end that nothing else explains.
        otherwise: Option<EndReason>,
        /// Where no hook reports the segments of timewait socks: when these were polled last.
        polled: Option<Nanos>,
    },
    /// A new request for the same four-tuple was queued.
    Superseded,
    /// The wait for an explanation is over.
    Release,
}

impl From<EventData> for Input {
    #[inline(always)]
    fn from(data: EventData) -> Self {
        Self::Event {
            data,
            otherwise: None,
            polled: None,
        }
    }
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No change of state.
    Same,
    /// It is in another state now.
    Moved {
        at: Nanos,
        old: TcpState,
        new: TcpState,
        /// How long it was in `old`.
        dwell: Age,
    },
    Ended {
        at: Nanos,
        old: TcpState,
        /// How long it was in `old`.
        dwell: Age,
        reason: Option<EndReason>,
        /// The state that it was known to be in before, where it went on to `old` unseen.
        before: Option<TcpState>,
    },
    /// It seems to have ended; [`Input::Release`] is owed [`RESOLVE_WINDOW`](super::state::RESOLVE_WINDOW) later.
    Pending,
    /// An impossible order of events; the state is now that of the event.
    Impossible {
        at: Nanos,
        old: TcpState,
        /// What the event says.
        new: TcpState,
    },
}

/// Applies one input. A dwell time that lost events may have cut or joined is a lower bound.
#[inline(always)]
pub(crate) fn step(state: &mut ConnectionState, input: Input, time: Nanos, sight: Sight) -> Outcome {
    let has_lost = sight.has_lost_since(state.since);
    let mut outcome = advance(state, input, time, has_lost, sight.timewaits);
    if let (true, Outcome::Moved { dwell, .. } | Outcome::Ended { dwell, .. }) = (has_lost, &mut outcome) {
        *dwell = Age::AtLeast(dwell.span());
    }
    outcome
}

/// `has_lost`: whether events may have been lost since it entered its state, so that what was not reported may have
/// happened all the same.
#[inline(always)]
fn advance(
    state: &mut ConnectionState,
    input: Input,
    time: Nanos,
    has_lost: bool,
    sees_timewaits: bool,
) -> Outcome {
    let (data, otherwise, polled) = match input {
        Input::Event {
            data,
            otherwise,
            polled,
        } => (data, otherwise, polled),
        Input::Superseded => {
            return match state.pending {
                Some(PendingEnd::TimerCancelled { at, substate, .. }) => {
                    timewait_ended(state, at, substate, EndCause::ReusedBySyn, None)
                }
                Some(PendingEnd::Close { .. } | PendingEnd::Request { .. }) | None => Outcome::Same,
            };
        }
        Input::Release => return release(state, has_lost),
    };
    match data {
        EventData::State {
            old,
            new,
            error,
            fin_received,
            is_orphan,
            ..
        } => {
            state.is_orphan |= is_orphan;
            if new == TcpState::Close {
                let closed = Closed {
                    old,
                    error,
                    fin_received,
                    otherwise,
                };
                close(state, closed, has_lost, sees_timewaits, time)
            } else {
                moved(state, old, new, time)
            }
        }
        EventData::ResetReceived => reset(state, EndReason::ResetReceived, time),
        EventData::ResetSent(_) => reset(state, EndReason::ResetSent, time),
        EventData::TimewaitStart(substate) => timewait_start(state, substate, true, time),
        EventData::TimewaitFull => {
            // The socket's CLOSE follows on the same CPU; this explains it.
            state.keep_clue(EndReason::TimewaitOverflow, time);
            Outcome::Same
        }
        EventData::TimewaitSegment { substate, is_reset } => {
            timewait_segment(state, substate, is_reset, !has_lost, time)
        }
        EventData::TimewaitEnd { substate, cause } => timewait_ended(state, time, substate, cause, otherwise),
        EventData::TimewaitTimer { step, substate } => match step {
            TimerStep::Start => timer_started(state, substate, polled, !has_lost, time),
            TimerStep::Cancel => {
                state.is_timewait = true;
                state.pending = Some(PendingEnd::TimerCancelled {
                    at: time,
                    substate,
                    otherwise,
                });
                Outcome::Pending
            }
            TimerStep::Expire => timewait_ended(state, time, substate, EndCause::Expired, otherwise),
        },
        EventData::RequestTimer { step, .. } => request_timer(state, step, time),
        EventData::RequestEnd => hold_request(state, EndReason::HandshakeReset, time),
        EventData::RequestStart { .. } | EventData::Accept | EventData::TaskRename => Outcome::Same,
    }
}

#[inline(always)]
fn moved(state: &mut ConnectionState, old: TcpState, new: TcpState, time: Nanos) -> Outcome {
    if old == new {
        // Only the file descriptor was closed: the dwell time continues.
        return Outcome::Same;
    }
    // An event that was overtaken by a newer one, or by a snapshot's row, adds nothing.
    if state.tcp == new || time < state.since.time() {
        return Outcome::Same;
    }
    let was = state.tcp;
    let dwell = state.since.age(time);
    state.tcp = new;
    state.since = Since::at(time);
    state.clue = None;
    if was == old {
        Outcome::Moved {
            at: time,
            old,
            new,
            dwell,
        }
    } else {
        Outcome::Impossible {
            at: time,
            old: was,
            new,
        }
    }
}

/// A full socket's end.
#[derive(Clone, Copy)]
struct Closed {
    old: TcpState,
    error: u32,
    fin_received: bool,
    otherwise: Option<EndReason>,
}

#[inline(always)]
fn close(
    state: &mut ConnectionState,
    closed: Closed,
    has_lost: bool,
    sees_timewaits: bool,
    time: Nanos,
) -> Outcome {
    let Closed {
        old,
        error,
        fin_received,
        otherwise,
    } = closed;
    if state.is_timewait {
        // The full socket is gone, its timewait socket continues.
        return Outcome::Same;
    }
    let known = state.tcp;
    if known != old {
        // Events in between were lost: how long it was in the state that it closed from is not known.
        state.since = Since::before(time.max(state.since.time()));
    }
    let clue = state.take_clue(time);
    let reason = match error {
        // `tcp_abort` sets it in the call that ends the socket; it may have sent a RST before.
        errno::CONNECTION_ABORTED => Some(EndReason::Destroyed),
        // `tcp_write_err` likewise.
        errno::TIMED_OUT => Some(EndReason::Timeout),
        _ => clue,
    };
    if state.is_orphan && reason == Some(EndReason::ResetReceived) {
        // `tcp_reset` runs for data that arrives after the close too, and a RST of ours answers that.
        return hold_close(state, reason, time);
    }
    if reason.is_some() {
        return ended(state, time, reason);
    }
    let unreachable = NetworkError::from_errno(error).map(EndReason::Unreachable);
    // `tcp_close` and `tcp_disconnect` set the state first and send the reset after. From FIN_WAIT2 and CLOSING a
    // socket that got its FIN, or that nobody holds, goes to a timewait sock unless their table is full.
    match old {
        TcpState::FinWait2 | TcpState::Closing if !sees_timewaits => {
            let mut outcome = ended(state, time, None);
            // A timewait sock may be in FIN_WAIT2 from now on.
            if let (TcpState::FinWait2, Outcome::Ended { dwell, .. }) = (old, &mut outcome) {
                *dwell = Age::AtLeast(dwell.span());
            }
            outcome
        }
        TcpState::FinWait2 | TcpState::Closing if has_lost => {
            // The beginning of its timewait sock may have been lost. Later events or a snapshot will show.
            state.is_timewait = true;
            state.tcp = old;
            if known == old {
                Outcome::Same
            } else {
                Outcome::Impossible {
                    at: time,
                    old: known,
                    new: old,
                }
            }
        }
        TcpState::FinWait2 | TcpState::Closing => {
            let skipped = fin_received || state.is_orphan || old == TcpState::Closing;
            hold_close(state, skipped.then_some(EndReason::TimewaitOverflow), time)
        }
        // Nothing else ends these with an error of the network: they have given up, or an ICMP error ended the
        // handshake. Where the error is an old one (IP_RECVERR), the owner's close ends them, with a RST of ours.
        TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::SynRecv => {
            hold_close(state, unreachable, time)
        }
        // A RST would have come with the same error, and may be among what was lost.
        TcpState::SynSent if error == errno::CONNECTION_REFUSED && has_lost => ended(state, time, None),
        // The kernel side reports no error of a LAST_ACK whose FIN was acknowledged.
        TcpState::SynSent | TcpState::LastAck => ended(state, time, unreachable.or(otherwise)),
        TcpState::Listen | TcpState::TimeWait | TcpState::Close => ended(state, time, None),
    }
}

#[inline]
fn hold_close(state: &mut ConnectionState, otherwise: Option<EndReason>, time: Nanos) -> Outcome {
    state.pending = Some(PendingEnd::Close { at: time, otherwise });
    Outcome::Pending
}

fn reset(state: &mut ConnectionState, reason: EndReason, time: Nanos) -> Outcome {
    match state.pending {
        Some(PendingEnd::Close { at, .. }) => return ended(state, at, Some(reason)),
        Some(PendingEnd::TimerCancelled { .. } | PendingEnd::Request { .. }) => {}
        None if state.is_timewait || state.tcp == TcpState::Listen => {}
        // The answer to a SYN-ACK that fits no SYN of ours: the socket goes on (`tcp_rcv_synsent_state_process`).
        None if state.tcp == TcpState::SynSent && reason == EndReason::ResetSent => {}
        None => state.keep_clue(reason, time),
    }
    Outcome::Same
}

fn timewait_start(state: &mut ConnectionState, substate: TcpState, is_first: bool, time: Nanos) -> Outcome {
    state.is_timewait = true;
    state.is_orphan = true;
    state.pending = None;
    state.clue = None;
    enter(state, substate, is_first, time)
}

/// Moves to `substate` unless it is there already. A timewait sock never goes back to FIN_WAIT2: an event that
/// says so was overtaken. `is_first`: no event before this one can have told of the substate.
fn enter(state: &mut ConnectionState, substate: TcpState, is_first: bool, time: Nanos) -> Outcome {
    if state.tcp == substate || state.tcp == TcpState::TimeWait || time < state.since.time() {
        return Outcome::Same;
    }
    let old = state.tcp;
    // A timewait sock takes over from these two alone (`tcp_rcv_state_process`, `tcp_fin`: from FIN_WAIT1 a socket goes
    // to FIN_WAIT2 first, if only for a moment). From elsewhere, events in between were lost.
    let dwell = match old {
        TcpState::FinWait2 | TcpState::Closing if is_first => state.since.age(time),
        _ => Age::AtLeast(Nanos(0)),
    };
    state.tcp = substate;
    state.since = Since::at(time);
    Outcome::Moved {
        at: time,
        old,
        new: substate,
        dwell,
    }
}

fn timewait_segment(
    state: &mut ConnectionState,
    substate: TcpState,
    is_reset: bool,
    is_first: bool,
    time: Nanos,
) -> Outcome {
    if let Some(PendingEnd::TimerCancelled { at, otherwise, .. }) = state.pending {
        let cause = if is_reset {
            EndCause::Reset
        } else {
            EndCause::AnsweredByReset
        };
        return timewait_ended(state, at, substate, cause, otherwise);
    }
    // Where a timewait sock handles segments, the full socket's CLOSE was no end.
    state.pending = None;
    state.is_timewait = true;
    enter(state, substate, is_first, time)
}

/// A timewait sock's timer was set, or set anew. That of a sock in FIN_WAIT2 is set anew by the FIN, and by any segment
/// after it; but only a timer that changes its slot in the wheel is seen to be. So where no hook shows the segments, the
/// FIN may have come at any time since these were last looked at.
fn timer_started(
    state: &mut ConnectionState,
    substate: TcpState,
    polled: Option<Nanos>,
    is_first: bool,
    time: Nanos,
) -> Outcome {
    let ConnectionState {
        is_timewait, since, ..
    } = *state;
    let mut outcome = timewait_start(state, substate, is_first, time);
    if let (
        true,
        Some(polled),
        Outcome::Moved {
            old: TcpState::FinWait2,
            dwell,
            ..
        },
    ) = (is_timewait, polled, &mut outcome)
    {
        *dwell = Age::AtLeast(polled.since(since.time()));
        state.since = Since::before(time);
    }
    outcome
}

/// Ends a timewait sock that was in `substate` then. Where no hook shows the segment of a late FIN, or where events were
/// lost, this may be the first that is known of that state.
fn timewait_ended(
    state: &mut ConnectionState,
    at: Nanos,
    substate: TcpState,
    cause: EndCause,
    otherwise: Option<EndReason>,
) -> Outcome {
    let known = state.tcp;
    let is_late = known != substate && known != TcpState::TimeWait;
    if is_late {
        state.tcp = substate;
        state.since = Since::before(at.max(state.since.time()));
    }
    let reason = timewait_reason(state, cause, otherwise);
    let mut outcome = ended(state, at, reason);
    if let Outcome::Ended { before, .. } = &mut outcome {
        *before = is_late.then_some(known);
    }
    outcome
}

fn timewait_reason(
    state: &ConnectionState,
    cause: EndCause,
    otherwise: Option<EndReason>,
) -> Option<EndReason> {
    let was_time_wait = state.tcp == TcpState::TimeWait;
    Some(match cause {
        EndCause::Expired if was_time_wait => EndReason::TimewaitExpired,
        EndCause::Expired => EndReason::FinTimeout,
        EndCause::Reset if was_time_wait => EndReason::TimewaitReset,
        EndCause::Reset => EndReason::ResetReceived,
        EndCause::ReusedBySyn => EndReason::TimewaitReused,
        EndCause::AnsweredByReset => EndReason::ResetSent,
        EndCause::Other => return otherwise,
    })
}

fn request_timer(state: &mut ConnectionState, step: TimerStep, time: Nanos) -> Outcome {
    match step {
        TimerStep::Start => {
            state.pending = None;
            Outcome::Same
        }
        // Every expiry is reported as a cancel first, so the expiry's reason is the one that stays.
        TimerStep::Cancel => hold_request(state, EndReason::HandshakeReset, time),
        TimerStep::Expire => hold_request(state, EndReason::HandshakeAbandoned, time),
    }
}

fn hold_request(state: &mut ConnectionState, otherwise: EndReason, time: Nanos) -> Outcome {
    state.pending = Some(PendingEnd::Request { at: time, otherwise });
    Outcome::Pending
}

/// The wait is over: nothing has explained the end. That proves something only where nothing was lost.
fn release(state: &mut ConnectionState, has_lost: bool) -> Outcome {
    let proven = |reason: Option<EndReason>| reason.filter(|_| !has_lost);
    match state.pending {
        None => Outcome::Same,
        Some(PendingEnd::Close { at, otherwise }) => ended(state, at, proven(otherwise)),
        Some(PendingEnd::TimerCancelled {
            at,
            substate,
            otherwise,
        }) => timewait_ended(state, at, substate, EndCause::Other, proven(otherwise)),
        Some(PendingEnd::Request { at, otherwise }) => ended(state, at, proven(Some(otherwise))),
    }
}

#[inline]
fn ended(state: &mut ConnectionState, at: Nanos, reason: Option<EndReason>) -> Outcome {
    let old = state.tcp;
    let at = at.max(state.since.time());
    let dwell = state.since.age(at);
    state.pending = None;
    state.tcp = TcpState::Close;
    state.since = Since::at(at);
    Outcome::Ended {
        at,
        old,
        dwell,
        reason,
        before: None,
    }
}

#[cfg(test)]
mod tests;
