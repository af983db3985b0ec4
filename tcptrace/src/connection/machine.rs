//! Decides a connection's next state: (life, input, time) → what changed. Knows no clock, no output, no kernel,
//! and no other connection.

use super::since::Since;
use crate::event::{Age, EndReason, How, Nanos, TcpState, TimerStep};

/// `errno`s that `sk_err` holds when a connection ends, asm-generic/errno.h.
mod errno {
    pub(super) const TIMED_OUT: u32 = 110;
    pub(super) const NETWORK_UNREACHABLE: u32 = 101;
    pub(super) const HOST_DOWN: u32 = 112;
    pub(super) const HOST_UNREACHABLE: u32 = 113;
}

/// An end that waits for the event that explains it, for [`HOLD`] at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A full socket closed; `otherwise` is the reason if no reset follows.
    Close {
        /// When.
        at: Nanos,
        /// The reason where nothing explains it.
        otherwise: Option<EndReason>,
    },
    /// A timewait sock's timer was cancelled; a start or an expiry would explain it.
    TimerCancelled {
        /// When.
        at: Nanos,
        /// The substate then.
        substate: TcpState,
        /// The reason where nothing explains it, if there is one.
        otherwise: Option<EndReason>,
    },
    /// A request sock's timer ran out or was cancelled; a start would mean that the SYN-ACK was sent again, the
    /// child's ESTABLISHED that the handshake was done.
    Request {
        /// When.
        at: Nanos,
        /// The reason where nothing explains it.
        otherwise: EndReason,
    },
}

impl Held {
    /// When the end was reported.
    #[must_use]
    pub const fn at(self) -> Nanos {
        match self {
            Self::Close { at, .. } | Self::TimerCancelled { at, .. } | Self::Request { at, .. } => at,
        }
    }
}

/// How long an end may wait. What explains it comes within microseconds on the same CPU; the rest is for a CPU
/// that was interrupted in between.
pub const HOLD: Nanos = Nanos::from_millis(2);

/// What is remembered of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its state.
    pub state: TcpState,
    /// Since when.
    pub since: Since,
    /// Whether a timewait sock stands for it.
    pub is_timewait: bool,
    /// Whether the file descriptor was given up.
    pub is_orphan: bool,
    /// Whether the peer reset it, or a reset was sent.
    pub reset: Option<EndReason>,
    /// An end that is not certain yet.
    pub held: Option<Held>,
}

impl Life {
    /// One that is in `state` since `since`.
    #[must_use]
    pub const fn new(state: TcpState, since: Since) -> Self {
        Self {
            state,
            since,
            is_timewait: false,
            is_orphan: false,
            reset: None,
            held: None,
        }
    }
}

/// What a connection is told. Each comes from one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The full socket went from `old` to `new`.
    State {
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
        /// `sk_err`.
        error: u32,
        /// Whether the peer's FIN has come.
        fin_received: bool,
        /// Whether no process holds the socket.
        is_orphan: bool,
    },
    /// The peer sent a RST.
    ResetReceived,
    /// A RST was sent.
    ResetSent,
    /// A timewait sock took over.
    TimewaitStart(TcpState),
    /// No timewait sock could be made.
    TimewaitFull,
    /// The timewait sock handled a segment.
    TimewaitSegment {
        /// Substate afterwards.
        substate: TcpState,
        /// Whether it was a RST.
        is_reset: bool,
    },
    /// The timewait sock ended.
    TimewaitEnd {
        /// Its last substate.
        substate: TcpState,
        /// How.
        how: How,
        /// The reason where `how` does not say.
        otherwise: Option<EndReason>,
    },
    /// The timewait sock's timer.
    TimewaitTimer {
        /// What happened to it.
        step: TimerStep,
        /// The substate then.
        substate: TcpState,
        /// The reason if it was an end that nothing explains.
        otherwise: Option<EndReason>,
        /// Where no hook shows the segments of timewait socks, when these were last looked at.
        looked: Option<Nanos>,
    },
    /// A new request for the same four-tuple was queued.
    Superseded,
    /// The request sock's timer.
    RequestTimer(TimerStep),
    /// The request sock was dropped because of a segment.
    RequestDropped,
    /// The wait for an explanation is over.
    Release,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No change of state.
    Same,
    /// It is in another state now.
    Moved {
        /// When.
        at: Nanos,
        /// From here.
        old: TcpState,
        /// To there.
        new: TcpState,
        /// How long it was in `old`.
        dwell: Age,
    },
    /// It is gone.
    Ended {
        /// When.
        at: Nanos,
        /// From here.
        old: TcpState,
        /// How long it was in `old`.
        dwell: Age,
        /// Why.
        reason: Option<EndReason>,
        /// The state that it was known to be in before, where it went on to `old` unseen.
        before: Option<TcpState>,
    },
    /// It seems to have ended; [`Input::Release`] is owed [`HOLD`] later.
    Holding,
    /// An order of events that cannot happen; the state is now what the event says.
    Impossible {
        /// When.
        at: Nanos,
        /// What the table had.
        old: TcpState,
        /// What the event says.
        new: TcpState,
    },
}

/// Applies one input. `after_loss`: events were lost that no snapshot has made up for yet, so that what was not told
/// may have happened all the same.
#[must_use]
#[inline(always)]
pub fn step(life: &mut Life, input: Input, time: Nanos, after_loss: bool) -> Outcome {
    match input {
        Input::State {
            old,
            new,
            error,
            fin_received,
            is_orphan,
        } => {
            life.is_orphan |= is_orphan;
            if new == TcpState::Close {
                close(life, old, error, fin_received, after_loss, time)
            } else {
                moved(life, old, new, time)
            }
        }
        Input::ResetReceived => reset(life, EndReason::ResetReceived),
        Input::ResetSent => reset(life, EndReason::ResetSent),
        Input::TimewaitStart(substate) => timewait_start(life, substate, true, time),
        Input::TimewaitFull => {
            // The socket's CLOSE follows on the same CPU; this explains it.
            life.reset = Some(EndReason::TimewaitOverflow);
            Outcome::Same
        }
        Input::TimewaitSegment { substate, is_reset } => {
            timewait_segment(life, substate, is_reset, !after_loss, time)
        }
        Input::TimewaitEnd {
            substate,
            how,
            otherwise,
        } => timewait_ended(life, time, substate, how, otherwise),
        Input::TimewaitTimer {
            step,
            substate,
            otherwise,
            looked,
        } => match step {
            TimerStep::Start => timer_started(life, substate, looked, !after_loss, time),
            TimerStep::Cancel => {
                life.is_timewait = true;
                life.held = Some(Held::TimerCancelled {
                    at: time,
                    substate,
                    otherwise,
                });
                Outcome::Holding
            }
            TimerStep::Expire => timewait_ended(life, time, substate, How::Expired, otherwise),
        },
        Input::Superseded => match life.held {
            Some(Held::TimerCancelled { at, substate, .. }) => {
                timewait_ended(life, at, substate, How::ReusedBySyn, None)
            }
            Some(Held::Close { .. } | Held::Request { .. }) | None => Outcome::Same,
        },
        Input::RequestTimer(step) => request_timer(life, step, time),
        Input::RequestDropped => hold_request(life, EndReason::HandshakeReset, time),
        Input::Release => release(life, after_loss),
    }
}

#[inline(always)]
fn moved(life: &mut Life, old: TcpState, new: TcpState, time: Nanos) -> Outcome {
    if old == new {
        // Only the file descriptor was given up: the dwell goes on.
        return Outcome::Same;
    }
    // An event that was overtaken by a newer one, or by a snapshot's row, tells nothing new.
    if life.state == new || time < life.since.time() {
        return Outcome::Same;
    }
    let was = life.state;
    let dwell = life.since.age(time);
    life.state = new;
    life.since = Since::at(time);
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

#[inline(always)]
fn close(
    life: &mut Life,
    old: TcpState,
    error: u32,
    fin_received: bool,
    after_loss: bool,
    time: Nanos,
) -> Outcome {
    if life.is_timewait {
        // The full socket is gone, its timewait sock goes on.
        return Outcome::Same;
    }
    let known = life.state;
    if known != old {
        // Events in between were lost: how long it was in the state that it closed from is not known.
        life.since = Since::before(time.max(life.since.time()));
    }
    let by_error = match error {
        errno::TIMED_OUT => Some(EndReason::Timeout),
        errno::NETWORK_UNREACHABLE | errno::HOST_DOWN | errno::HOST_UNREACHABLE => {
            Some(EndReason::Unreachable)
        }
        _ => None,
    };
    let reason = by_error.or(life.reset);
    if life.is_orphan && reason == Some(EndReason::ResetReceived) {
        // `tcp_reset` runs for data that arrives after the close too, and a RST of ours answers that.
        return hold_close(life, reason, time);
    }
    if reason.is_some() {
        return ended(life, time, reason);
    }
    if after_loss && matches!(old, TcpState::FinWait2 | TcpState::Closing) {
        // The beginning of its timewait sock may be among what was lost. Events or a snapshot will tell.
        life.is_timewait = true;
        life.state = old;
        return if known == old {
            Outcome::Same
        } else {
            Outcome::Impossible {
                at: time,
                old: known,
                new: old,
            }
        };
    }
    // `tcp_close` and `tcp_disconnect` set the state first and send the reset after. From these two states a
    // socket that got its FIN, or that nobody holds, goes to a timewait sock unless their table is full.
    match old {
        TcpState::FinWait2 | TcpState::Closing => {
            let skipped = fin_received || life.is_orphan || old == TcpState::Closing;
            hold_close(life, skipped.then_some(EndReason::TimewaitOverflow), time)
        }
        TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::SynRecv => {
            hold_close(life, None, time)
        }
        TcpState::SynSent | TcpState::LastAck | TcpState::Listen | TcpState::TimeWait | TcpState::Close => {
            ended(life, time, None)
        }
    }
}

#[inline]
fn hold_close(life: &mut Life, otherwise: Option<EndReason>, time: Nanos) -> Outcome {
    life.held = Some(Held::Close { at: time, otherwise });
    Outcome::Holding
}

fn reset(life: &mut Life, reason: EndReason) -> Outcome {
    match life.held {
        Some(Held::Close { at, .. }) => ended(life, at, Some(reason)),
        Some(Held::TimerCancelled { .. } | Held::Request { .. }) => Outcome::Same,
        None if life.is_timewait || life.state == TcpState::Listen => Outcome::Same,
        None => {
            life.reset = Some(reason);
            Outcome::Same
        }
    }
}

fn timewait_start(life: &mut Life, substate: TcpState, is_first: bool, time: Nanos) -> Outcome {
    life.is_timewait = true;
    life.is_orphan = true;
    life.held = None;
    life.reset = None;
    enter(life, substate, is_first, time)
}

/// Moves to `substate` unless it is there already. A timewait sock never goes back to FIN_WAIT2: an event that
/// says so was overtaken. `is_first`: no event before this one can have told of the substate.
fn enter(life: &mut Life, substate: TcpState, is_first: bool, time: Nanos) -> Outcome {
    if life.state == substate || life.state == TcpState::TimeWait || time < life.since.time() {
        return Outcome::Same;
    }
    let old = life.state;
    // A timewait sock takes over from these two alone (`tcp_rcv_state_process`, `tcp_fin`: from FIN_WAIT1 a socket goes
    // to FIN_WAIT2 first, if only for a moment). From elsewhere, events in between were lost.
    let dwell = match old {
        TcpState::FinWait2 | TcpState::Closing if is_first => life.since.age(time),
        _ => Age::AtLeast(Nanos(0)),
    };
    life.state = substate;
    life.since = Since::at(time);
    Outcome::Moved {
        at: time,
        old,
        new: substate,
        dwell,
    }
}

fn timewait_segment(
    life: &mut Life,
    substate: TcpState,
    is_reset: bool,
    is_first: bool,
    time: Nanos,
) -> Outcome {
    if let Some(Held::TimerCancelled { at, otherwise, .. }) = life.held {
        let how = if is_reset {
            How::Reset
        } else {
            How::AnsweredByReset
        };
        return timewait_ended(life, at, substate, how, otherwise);
    }
    // Where a timewait sock handles segments, the full socket's CLOSE was no end.
    life.held = None;
    life.is_timewait = true;
    enter(life, substate, is_first, time)
}

/// A timewait sock's timer was set, or set anew. That of a sock in FIN_WAIT2 is set anew by the FIN, and by any segment
/// after it; but only a timer that changes its slot in the wheel is seen to be. So where no hook shows the segments, the
/// FIN may have come at any time since these were last looked at.
fn timer_started(
    life: &mut Life,
    substate: TcpState,
    looked: Option<Nanos>,
    is_first: bool,
    time: Nanos,
) -> Outcome {
    let Life {
        is_timewait, since, ..
    } = *life;
    let mut outcome = timewait_start(life, substate, is_first, time);
    if let (
        true,
        Some(looked),
        Outcome::Moved {
            old: TcpState::FinWait2,
            dwell,
            ..
        },
    ) = (is_timewait, looked, &mut outcome)
    {
        *dwell = Age::AtLeast(looked.since(since.time()));
        life.since = Since::before(time);
    }
    outcome
}

/// Ends a timewait sock that was in `substate` then. Where no hook shows the segment of a late FIN, or where events were
/// lost, this may be the first that is known of that state.
fn timewait_ended(
    life: &mut Life,
    at: Nanos,
    substate: TcpState,
    how: How,
    otherwise: Option<EndReason>,
) -> Outcome {
    let known = life.state;
    let is_late = known != substate && known != TcpState::TimeWait;
    if is_late {
        life.state = substate;
        life.since = Since::before(at.max(life.since.time()));
    }
    let reason = timewait_reason(life, how, otherwise);
    let mut outcome = ended(life, at, reason);
    if let Outcome::Ended { before, .. } = &mut outcome {
        *before = is_late.then_some(known);
    }
    outcome
}

fn timewait_reason(life: &Life, how: How, otherwise: Option<EndReason>) -> Option<EndReason> {
    let was_time_wait = life.state == TcpState::TimeWait;
    Some(match how {
        How::Expired if was_time_wait => EndReason::TimewaitExpired,
        How::Expired => EndReason::FinTimeout,
        How::Reset if was_time_wait => EndReason::TimewaitReset,
        How::Reset => EndReason::ResetReceived,
        How::ReusedBySyn => EndReason::TimewaitReused,
        How::AnsweredByReset => EndReason::ResetSent,
        How::Other => return otherwise,
    })
}

fn request_timer(life: &mut Life, step: TimerStep, time: Nanos) -> Outcome {
    match step {
        TimerStep::Start => {
            life.held = None;
            Outcome::Same
        }
        // Every expiry is reported as a cancel first, so the expiry's reason is the one that stays.
        TimerStep::Cancel => hold_request(life, EndReason::HandshakeReset, time),
        TimerStep::Expire => hold_request(life, EndReason::HandshakeAbandoned, time),
    }
}

fn hold_request(life: &mut Life, otherwise: EndReason, time: Nanos) -> Outcome {
    life.held = Some(Held::Request { at: time, otherwise });
    Outcome::Holding
}

/// The wait is over: nothing has explained the end. That proves something only where nothing was lost.
fn release(life: &mut Life, after_loss: bool) -> Outcome {
    let mut outcome = match life.held {
        None => Outcome::Same,
        Some(Held::Close { at, otherwise }) => ended(life, at, otherwise),
        Some(Held::TimerCancelled {
            at,
            substate,
            otherwise,
        }) => timewait_ended(life, at, substate, How::Other, otherwise),
        Some(Held::Request { at, otherwise }) => ended(life, at, Some(otherwise)),
    };
    if let (true, Outcome::Ended { dwell, .. }) = (after_loss, &mut outcome) {
        *dwell = Age::AtLeast(dwell.span());
    }
    outcome
}

#[inline]
fn ended(life: &mut Life, at: Nanos, reason: Option<EndReason>) -> Outcome {
    let old = life.state;
    let at = at.max(life.since.time());
    let dwell = life.since.age(at);
    life.held = None;
    life.state = TcpState::Close;
    life.since = Since::at(at);
    Outcome::Ended {
        at,
        old,
        dwell,
        reason,
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpState::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynRecv, TimeWait};
    use proptest::prelude::*;

    const fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn state(old: TcpState, new: TcpState) -> Input {
        Input::State {
            old,
            new,
            error: 0,
            fin_received: false,
            is_orphan: false,
        }
    }

    fn open() -> Life {
        Life::new(Established, Since::at(at(0)))
    }

    fn run(life: &mut Life, inputs: &[(u64, Input)]) -> Vec<Outcome> {
        inputs
            .iter()
            .map(|(millis, input)| step(life, *input, at(*millis), false))
            .filter(|outcome| !matches!(outcome, Outcome::Same | Outcome::Holding))
            .collect()
    }

    fn path(outcomes: &[Outcome]) -> Vec<(TcpState, u64)> {
        outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Moved { new, dwell, .. } => Some((*new, dwell.span().0 / 1_000_000)),
                Outcome::Ended { dwell, .. } => Some((TcpState::Close, dwell.span().0 / 1_000_000)),
                Outcome::Same | Outcome::Holding | Outcome::Impossible { .. } => None,
            })
            .collect()
    }

    fn reason(outcomes: &[Outcome]) -> Option<EndReason> {
        outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Ended { reason, .. } => *reason,
            _ => None,
        })
    }

    const OTHERWISE: Option<EndReason> = Some(EndReason::Purged);

    fn timer(step: TimerStep, substate: TcpState) -> Input {
        Input::TimewaitTimer {
            step,
            substate,
            otherwise: OTHERWISE,
            looked: None,
        }
    }

    #[test]
    fn an_active_close_keeps_fin_wait2_through_the_timewait_sock() {
        let outcomes = run(
            &mut open(),
            &[
                (10, state(Established, FinWait1)),
                (11, state(FinWait1, FinWait2)),
                (11, timer(TimerStep::Start, FinWait2)),
                (11, state(FinWait2, TcpState::Close)),
                (
                    1011,
                    Input::TimewaitSegment {
                        substate: TimeWait,
                        is_reset: false,
                    },
                ),
                (61_500, timer(TimerStep::Cancel, TimeWait)),
                (61_500, timer(TimerStep::Expire, TimeWait)),
            ],
        );
        assert_eq!(
            path(&outcomes),
            [
                (FinWait1, 10),
                (FinWait2, 1),
                (TimeWait, 1000),
                (TcpState::Close, 60_489)
            ]
        );
        assert_eq!(reason(&outcomes), Some(EndReason::TimewaitExpired));
    }

    #[test]
    fn a_restarted_timer_is_no_end() {
        let mut life = Life::new(TimeWait, Since::at(at(0)));
        let outcomes = run(
            &mut life,
            &[
                (5000, timer(TimerStep::Cancel, TimeWait)),
                (5000, timer(TimerStep::Start, TimeWait)),
                (5003, Input::Release),
                (65_000, timer(TimerStep::Cancel, TimeWait)),
                (65_000, timer(TimerStep::Expire, TimeWait)),
            ],
        );
        assert_eq!(path(&outcomes), [(TcpState::Close, 65_000)]);
    }

    #[test]
    fn a_late_fin_that_no_hook_showed_is_told_at_the_end() {
        for explanation in [
            timer(TimerStep::Expire, TimeWait),
            Input::Superseded,
            Input::Release,
        ] {
            let mut life = Life::new(FinWait2, Since::at(at(0)));
            life.is_timewait = true;
            let outcomes = run(
                &mut life,
                &[(100, timer(TimerStep::Cancel, TimeWait)), (100, explanation)],
            );
            let expected = Outcome::Ended {
                at: at(100),
                old: TimeWait,
                dwell: Age::AtLeast(at(0)),
                reason: reason(&outcomes),
                before: Some(FinWait2),
            };
            assert_eq!(outcomes, [expected]);
            assert_ne!(reason(&outcomes), Some(EndReason::FinTimeout));
        }
    }

    #[test]
    fn a_reset_in_time_wait_is_told_from_a_taken_over_one() {
        let begin = || {
            let mut life = Life::new(TimeWait, Since::at(at(0)));
            life.is_timewait = true;
            life
        };
        let cancelled = (10, timer(TimerStep::Cancel, TimeWait));
        let by_reset = Input::TimewaitSegment {
            substate: TimeWait,
            is_reset: true,
        };
        assert_eq!(
            reason(&run(&mut begin(), &[cancelled, (10, by_reset)])),
            Some(EndReason::TimewaitReset)
        );
        assert_eq!(
            reason(&run(&mut begin(), &[cancelled, (10, Input::Superseded)])),
            Some(EndReason::TimewaitReused)
        );
        assert_eq!(
            reason(&run(&mut begin(), &[cancelled, (12, Input::Release)])),
            OTHERWISE
        );
    }

    #[test]
    fn a_full_timewait_table_is_an_overflow() {
        let mut life = Life::new(Closing, Since::at(at(0)));
        let outcomes = run(
            &mut life,
            &[(4, state(Closing, TcpState::Close)), (7, Input::Release)],
        );
        assert_eq!(path(&outcomes), [(TcpState::Close, 4)]);
        assert_eq!(reason(&outcomes), Some(EndReason::TimewaitOverflow));
    }

    #[test]
    fn a_reset_that_is_sent_after_the_close_explains_it() {
        let outcomes = run(
            &mut open(),
            &[
                (4, state(Established, TcpState::Close)),
                (4, Input::ResetSent),
                (7, Input::Release),
            ],
        );
        assert_eq!(outcomes.len(), 1);
        assert_eq!(reason(&outcomes), Some(EndReason::ResetSent));
    }

    #[test]
    fn data_after_the_close_is_answered_by_a_reset_of_ours() {
        let mut life = Life::new(FinWait1, Since::at(at(0)));
        life.is_orphan = true;
        let outcomes = run(
            &mut life,
            &[
                (4, Input::ResetReceived),
                (4, state(FinWait1, TcpState::Close)),
                (4, Input::ResetSent),
                (7, Input::Release),
            ],
        );
        assert_eq!(reason(&outcomes), Some(EndReason::ResetSent));
    }

    #[test]
    fn a_timewait_sock_whose_beginning_was_lost_is_not_taken_for_an_overflow() {
        let mut life = Life::new(FinWait2, Since::at(at(0)));
        let closed = Input::State {
            old: FinWait2,
            new: TcpState::Close,
            error: 0,
            fin_received: true,
            is_orphan: true,
        };
        assert_eq!(step(&mut life, closed, at(5), true), Outcome::Same);
        assert!(life.is_timewait);
    }

    #[test]
    fn a_dwell_across_lost_events_is_a_lower_bound() {
        let is_lower_bound = |known: TcpState, input: Input| {
            let mut life = Life::new(known, Since::at(at(0)));
            match step(&mut life, input, at(5), true) {
                Outcome::Moved { dwell, .. } | Outcome::Ended { dwell, .. } => !dwell.is_exact(),
                Outcome::Same | Outcome::Holding | Outcome::Impossible { .. } => false,
            }
        };
        let segment = Input::TimewaitSegment {
            substate: TimeWait,
            is_reset: false,
        };
        assert!(is_lower_bound(Established, Input::TimewaitStart(TimeWait)));
        assert!(is_lower_bound(FinWait1, Input::TimewaitStart(FinWait2)));
        assert!(!is_lower_bound(FinWait2, Input::TimewaitStart(TimeWait)));
        assert!(is_lower_bound(FinWait2, segment));
        assert!(is_lower_bound(FinWait2, timer(TimerStep::Start, TimeWait)));
        assert!(is_lower_bound(CloseWait, state(LastAck, TcpState::Close)));
    }

    #[test]
    fn the_end_of_a_timewait_sock_is_no_end_of_fin_wait1() {
        for end in [
            Input::TimewaitEnd {
                substate: TimeWait,
                how: How::ReusedBySyn,
                otherwise: None,
            },
            timer(TimerStep::Expire, TimeWait),
        ] {
            let mut life = Life::new(FinWait1, Since::at(at(0)));
            let outcome = step(&mut life, end, at(1049), true);
            let expected = Outcome::Ended {
                at: at(1049),
                old: TimeWait,
                dwell: Age::AtLeast(at(0)),
                reason: reason(&[outcome]),
                before: Some(FinWait1),
            };
            assert_eq!(outcome, expected);
        }
    }

    #[test]
    fn an_end_that_was_not_explained_proves_nothing_after_a_loss() {
        for after_loss in [false, true] {
            let mut life = Life::new(SynRecv, Since::at(at(0)));
            let expired = Input::RequestTimer(TimerStep::Expire);
            assert_eq!(step(&mut life, expired, at(5), after_loss), Outcome::Holding);
            let outcome = step(&mut life, Input::Release, at(7), after_loss);
            let Outcome::Ended { dwell, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!((dwell.span(), dwell.is_exact()), (at(5), !after_loss));
        }
    }

    #[test]
    fn giving_up_the_descriptor_does_not_restart_the_dwell() {
        let mut life = Life::new(LastAck, Since::at(at(0)));
        let outcomes = run(
            &mut life,
            &[(5, state(LastAck, LastAck)), (9, state(LastAck, TcpState::Close))],
        );
        assert_eq!(path(&outcomes), [(TcpState::Close, 9)]);
    }

    #[test]
    fn an_abandoned_handshake_is_told_from_a_reset_one() {
        let begin = || Life::new(SynRecv, Since::at(at(0)));
        let gave_up = [
            (1000, Input::RequestTimer(TimerStep::Cancel)),
            (1000, Input::RequestTimer(TimerStep::Expire)),
            (1000, Input::RequestTimer(TimerStep::Start)),
            (3000, Input::RequestTimer(TimerStep::Cancel)),
            (3000, Input::RequestTimer(TimerStep::Expire)),
            (3002, Input::Release),
        ];
        let outcomes = run(&mut begin(), &gave_up);
        assert_eq!(path(&outcomes), [(TcpState::Close, 3000)]);
        assert_eq!(reason(&outcomes), Some(EndReason::HandshakeAbandoned));
        let reset = [(9, Input::RequestTimer(TimerStep::Cancel)), (11, Input::Release)];
        assert_eq!(
            reason(&run(&mut begin(), &reset)),
            Some(EndReason::HandshakeReset)
        );
    }

    #[test]
    fn an_impossible_order_is_said_and_the_event_believed() {
        let mut life = Life::new(CloseWait, Since::at(at(0)));
        let outcome = step(&mut life, state(Established, FinWait1), at(5), false);
        assert_eq!(
            outcome,
            Outcome::Impossible {
                at: at(5),
                old: CloseWait,
                new: FinWait1
            }
        );
        assert_eq!(life.state, FinWait1);
    }

    fn any_state() -> impl Strategy<Value = TcpState> {
        (0..TcpState::COUNT).prop_map(|index| TcpState::ALL[index])
    }

    fn any_input() -> impl Strategy<Value = Input> {
        let step = prop_oneof![
            Just(TimerStep::Start),
            Just(TimerStep::Cancel),
            Just(TimerStep::Expire)
        ];
        prop_oneof![
            (any_state(), any_state(), any::<bool>(), any::<bool>(),).prop_map(
                |(old, new, fin_received, is_orphan)| Input::State {
                    old,
                    new,
                    error: 0,
                    fin_received,
                    is_orphan,
                }
            ),
            Just(Input::ResetReceived),
            Just(Input::ResetSent),
            Just(Input::TimewaitFull),
            Just(Input::Superseded),
            Just(Input::RequestDropped),
            Just(Input::Release),
            any::<bool>().prop_map(|is_reset| Input::TimewaitSegment {
                substate: TimeWait,
                is_reset
            }),
            step.prop_map(|step| Input::TimewaitTimer {
                step,
                substate: TimeWait,
                otherwise: OTHERWISE,
                looked: None,
            }),
            Just(Input::RequestTimer(TimerStep::Start)),
        ]
    }

    proptest! {
        #[test]
        fn any_order_of_inputs_keeps_the_state_and_the_time_in_step(
            inputs in proptest::collection::vec((any_input(), 0u64..50), 1..60),
            after_loss: bool,
        ) {
            let mut life = open();
            let mut millis = 0;
            for (input, gap) in inputs {
                millis += gap;
                let known = life.state;
                let outcome = step(&mut life, input, at(millis), after_loss);
                match outcome {
                    Outcome::Moved { old, new, at: when, .. } => {
                        prop_assert_eq!(old, known);
                        prop_assert_eq!(new, life.state);
                        prop_assert!(old != new);
                        prop_assert!(when <= at(millis));
                    }
                    Outcome::Ended { old, at: when, before, .. } => {
                        prop_assert_eq!(before.unwrap_or(old), known);
                        prop_assert!(when <= at(millis));
                        prop_assert_eq!(life.held, None);
                    }
                    Outcome::Holding => prop_assert!(life.held.is_some()),
                    Outcome::Same => prop_assert_eq!(known, life.state),
                    Outcome::Impossible { old, .. } => prop_assert_eq!(old, known),
                }
                prop_assert!(life.since.time() <= at(millis));
            }
        }
    }
}
