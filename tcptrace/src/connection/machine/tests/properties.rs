//! Any order of any inputs.

use super::*;
use proptest::prelude::*;

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
            |(old, new, fin_received, is_orphan)| state_event(old, new, 0, fin_received, is_orphan)
        ),
        Just(Input::from(EventData::ResetReceived)),
        Just(Input::from(EventData::ResetSent(None))),
        Just(Input::from(EventData::TimewaitFull)),
        Just(Input::Superseded),
        Just(Input::from(EventData::RequestEnd)),
        Just(Input::Release),
        any::<bool>().prop_map(|is_reset| Input::from(EventData::TimewaitSegment {
            substate: TimeWait,
            is_reset
        })),
        step.prop_map(|step| Input::Event {
            data: EventData::TimewaitTimer {
                step,
                substate: TimeWait
            },
            otherwise: OTHERWISE,
            polled: None
        }),
        Just(request(TimerStep::Start)),
    ]
}

proptest! {
    #[test]
    fn no_exact_dwell_spans_a_lost_event(
        inputs in proptest::collection::vec((any_input(), 0u64..50, proptest::bool::weighted(0.2)), 1..60),
    ) {
        let mut state = open();
        let mut now = 0;
        let mut sight = FULL;
        for (input, gap, is_lost) in inputs {
            now += gap;
            if is_lost {
                // It is noticed by the next event, which is not before it.
                now += 1;
                sight = lossy(at(now));
                continue;
            }
            let entered = state.since.time();
            let outcome = step(&mut state, input, at(now), sight);
            if let Outcome::Moved { dwell, .. } | Outcome::Ended { dwell, .. } = outcome {
                let spans = sight.lost_until.is_some_and(|until| entered <= until);
                prop_assert!(!spans || !dwell.is_exact(), "{:?}", outcome);
            }
        }
    }

    #[test]
    fn any_order_of_inputs_keeps_the_state_and_the_time_in_step(
        inputs in proptest::collection::vec((any_input(), 0u64..50), 1..60),
        lost_until in proptest::option::of(0u64..3_000),
        timewaits: bool,
    ) {
        let sight = Sight { lost_until: lost_until.map(at), timewaits };
        let mut state = open();
        let mut millis = 0;
        for (input, gap) in inputs {
            millis += gap;
            let known = state.tcp;
            let outcome = step(&mut state, input, at(millis), sight);
            match outcome {
                Outcome::Moved { old, new, at: when, .. } => {
                    prop_assert_eq!(old, known);
                    prop_assert_eq!(new, state.tcp);
                    prop_assert!(old != new);
                    prop_assert!(when <= at(millis));
                }
                Outcome::Ended { old, at: when, before, .. } => {
                    prop_assert_eq!(before.unwrap_or(old), known);
                    prop_assert!(when <= at(millis));
                    prop_assert_eq!(state.pending, None);
                }
                Outcome::Pending => prop_assert!(state.pending.is_some()),
                Outcome::Same => prop_assert_eq!(known, state.tcp),
                Outcome::Impossible { old, .. } => prop_assert_eq!(old, known),
            }
            prop_assert!(state.since.time() <= at(millis));
        }
    }
}
