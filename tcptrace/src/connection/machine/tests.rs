mod properties;
mod reasons;

use super::*;
use crate::event::{Bytes, PathStats, fixture::transition};
use TcpState::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynRecv, SynSent, TimeWait};

/// Every event is seen.
const FULL: Sight = Sight {
    lost_until: None,
    timewaits: true,
};

const fn at(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

fn request(step: TimerStep) -> Input {
    EventData::RequestTimer { step, listener: 0 }.into()
}

fn event_of(old: TcpState, new: TcpState) -> Input {
    transition(old, new).into()
}

fn state_event(old: TcpState, new: TcpState, error: u32, fin_received: bool, is_orphan: bool) -> Input {
    Input::from(EventData::State {
        old,
        new,
        error,
        fin_received,
        is_orphan,
        bytes: Bytes::default(),
        path: PathStats::default(),
    })
}

/// Events from before `until` were lost.
const fn lossy(until: Nanos) -> Sight {
    Sight {
        lost_until: Some(until),
        ..FULL
    }
}

fn open() -> ConnectionState {
    ConnectionState::new(Established, Since::at(at(0)))
}

fn run(state: &mut ConnectionState, inputs: &[(u64, Input)]) -> Vec<Outcome> {
    inputs
        .iter()
        .map(|(millis, input)| step(state, *input, at(*millis), FULL))
        .filter(|outcome| !matches!(outcome, Outcome::Same | Outcome::Pending))
        .collect()
}

fn path(outcomes: &[Outcome]) -> Vec<(TcpState, u64)> {
    outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Moved { new, dwell, .. } => Some((*new, dwell.span().0 / 1_000_000)),
            Outcome::Ended { dwell, .. } => Some((TcpState::Close, dwell.span().0 / 1_000_000)),
            Outcome::Same | Outcome::Pending | Outcome::Impossible { .. } => None,
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
    Input::Event {
        data: EventData::TimewaitTimer { step, substate },
        otherwise: OTHERWISE,
        polled: None,
    }
}

#[test]
fn an_active_close_keeps_fin_wait2_through_the_timewait_sock() {
    let outcomes = run(
        &mut open(),
        &[
            (10, event_of(Established, FinWait1)),
            (11, event_of(FinWait1, FinWait2)),
            (11, timer(TimerStep::Start, FinWait2)),
            (11, event_of(FinWait2, TcpState::Close)),
            (
                1011,
                Input::from(EventData::TimewaitSegment {
                    substate: TimeWait,
                    is_reset: false,
                }),
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
    let mut state = ConnectionState::new(TimeWait, Since::at(at(0)));
    let outcomes = run(
        &mut state,
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
fn a_late_fin_that_no_hook_showed_is_reported_at_the_end() {
    for explanation in [
        timer(TimerStep::Expire, TimeWait),
        Input::Superseded,
        Input::Release,
    ] {
        let mut state = ConnectionState::new(FinWait2, Since::at(at(0)));
        state.is_timewait = true;
        let outcomes = run(
            &mut state,
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
fn a_reset_in_time_wait_is_distinguished_from_a_taken_over_one() {
    let begin = || {
        let mut state = ConnectionState::new(TimeWait, Since::at(at(0)));
        state.is_timewait = true;
        state
    };
    let cancelled = (10, timer(TimerStep::Cancel, TimeWait));
    let by_reset = Input::from(EventData::TimewaitSegment {
        substate: TimeWait,
        is_reset: true,
    });
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
    let mut state = ConnectionState::new(Closing, Since::at(at(0)));
    let outcomes = run(
        &mut state,
        &[(4, event_of(Closing, TcpState::Close)), (7, Input::Release)],
    );
    assert_eq!(path(&outcomes), [(TcpState::Close, 4)]);
    assert_eq!(reason(&outcomes), Some(EndReason::TimewaitOverflow));
}

#[test]
fn a_reset_that_is_sent_after_the_close_explains_it() {
    let outcomes = run(
        &mut open(),
        &[
            (4, event_of(Established, TcpState::Close)),
            (4, Input::from(EventData::ResetSent(None))),
            (7, Input::Release),
        ],
    );
    assert_eq!(outcomes.len(), 1);
    assert_eq!(reason(&outcomes), Some(EndReason::ResetSent));
}

#[test]
fn data_after_the_close_is_answered_by_a_reset_of_ours() {
    let mut state = ConnectionState::new(FinWait1, Since::at(at(0)));
    state.is_orphan = true;
    let outcomes = run(
        &mut state,
        &[
            (4, Input::from(EventData::ResetReceived)),
            (4, event_of(FinWait1, TcpState::Close)),
            (4, Input::from(EventData::ResetSent(None))),
            (7, Input::Release),
        ],
    );
    assert_eq!(reason(&outcomes), Some(EndReason::ResetSent));
}

#[test]
fn a_timewait_sock_whose_beginning_was_lost_is_not_taken_for_an_overflow() {
    let mut state = ConnectionState::new(FinWait2, Since::at(at(0)));
    let closed = state_event(FinWait2, TcpState::Close, 0, true, true);
    assert_eq!(step(&mut state, closed, at(5), lossy(at(5))), Outcome::Same);
    assert!(state.is_timewait);
}

#[test]
fn a_dwell_across_lost_events_is_a_lower_bound() {
    let is_lower_bound = |known: TcpState, input: Input| {
        let mut state = ConnectionState::new(known, Since::at(at(0)));
        match step(&mut state, input, at(5), lossy(at(5))) {
            Outcome::Moved { dwell, .. } | Outcome::Ended { dwell, .. } => !dwell.is_exact(),
            Outcome::Same | Outcome::Pending | Outcome::Impossible { .. } => false,
        }
    };
    let segment = Input::from(EventData::TimewaitSegment {
        substate: TimeWait,
        is_reset: false,
    });
    assert!(is_lower_bound(
        Established,
        Input::from(EventData::TimewaitStart(TimeWait))
    ));
    assert!(is_lower_bound(
        FinWait1,
        Input::from(EventData::TimewaitStart(FinWait2))
    ));
    assert!(is_lower_bound(
        FinWait2,
        Input::from(EventData::TimewaitStart(TimeWait))
    ));
    assert!(is_lower_bound(FinWait2, segment));
    assert!(is_lower_bound(FinWait2, timer(TimerStep::Start, TimeWait)));
    assert!(is_lower_bound(CloseWait, event_of(LastAck, TcpState::Close)));
}

#[test]
fn the_end_of_a_timewait_sock_is_no_end_of_fin_wait1() {
    for end in [
        Input::Event {
            data: EventData::TimewaitEnd {
                substate: TimeWait,
                cause: EndCause::ReusedBySyn,
            },
            otherwise: None,
            polled: None,
        },
        timer(TimerStep::Expire, TimeWait),
    ] {
        let mut state = ConnectionState::new(FinWait1, Since::at(at(0)));
        let outcome = step(&mut state, end, at(1049), lossy(at(1049)));
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
    for (sight, is_proof) in [
        (FULL, true),
        (lossy(at(16)), false),
        // What was lost before it began says nothing of it.
        (lossy(Nanos(at(10).0 - 1)), true),
    ] {
        let mut state = ConnectionState::new(SynRecv, Since::at(at(10)));
        let expired = request(TimerStep::Expire);
        assert_eq!(step(&mut state, expired, at(15), sight), Outcome::Pending);
        let outcome = step(&mut state, Input::Release, at(17), sight);
        let Outcome::Ended { dwell, reason, .. } = outcome else {
            panic!("{outcome:?}");
        };
        let known = is_proof.then_some(EndReason::HandshakeAbandoned);
        assert_eq!((dwell.span(), dwell.is_exact(), reason), (at(5), is_proof, known));
    }
}

#[test]
fn giving_up_the_descriptor_does_not_restart_the_dwell() {
    let mut state = ConnectionState::new(LastAck, Since::at(at(0)));
    let outcomes = run(
        &mut state,
        &[
            (5, event_of(LastAck, LastAck)),
            (9, event_of(LastAck, TcpState::Close)),
        ],
    );
    assert_eq!(path(&outcomes), [(TcpState::Close, 9)]);
}

#[test]
fn an_abandoned_handshake_is_distinguished_from_a_reset_one() {
    let begin = || ConnectionState::new(SynRecv, Since::at(at(0)));
    let gave_up = [
        (1000, request(TimerStep::Cancel)),
        (1000, request(TimerStep::Expire)),
        (1000, request(TimerStep::Start)),
        (3000, request(TimerStep::Cancel)),
        (3000, request(TimerStep::Expire)),
        (3002, Input::Release),
    ];
    let outcomes = run(&mut begin(), &gave_up);
    assert_eq!(path(&outcomes), [(TcpState::Close, 3000)]);
    assert_eq!(reason(&outcomes), Some(EndReason::HandshakeAbandoned));
    let reset = [(9, request(TimerStep::Cancel)), (11, Input::Release)];
    assert_eq!(
        reason(&run(&mut begin(), &reset)),
        Some(EndReason::HandshakeReset)
    );
}

#[test]
fn an_impossible_order_is_reported_and_the_event_believed() {
    let mut state = ConnectionState::new(CloseWait, Since::at(at(0)));
    let outcome = step(&mut state, event_of(Established, FinWait1), at(5), FULL);
    assert_eq!(
        outcome,
        Outcome::Impossible {
            at: at(5),
            old: CloseWait,
            new: FinWait1
        }
    );
    assert_eq!(state.tcp, FinWait1);
}

#[test]
fn where_timewait_socks_are_hidden_none_is_missed() {
    let blind = Sight {
        timewaits: false,
        ..FULL
    };
    for (old, is_exact) in [(FinWait2, false), (Closing, true)] {
        let mut state = ConnectionState::new(old, Since::at(at(0)));
        let closed = state_event(old, TcpState::Close, 0, true, true);
        let Outcome::Ended { dwell, reason, .. } = step(&mut state, closed, at(5), blind) else {
            panic!("it ends at once");
        };
        assert_eq!((dwell.is_exact(), reason), (is_exact, None));
    }
}
