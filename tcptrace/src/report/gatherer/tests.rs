//! Whose connections are counted, where losses are, and what exceeds the limits.

use super::*;
use crate::{
    engine::Input,
    event::{
        Event, EventData, SockRef,
        fixture::{self, comm, endpoints, of_client, transition},
    },
    report::over_time::{MOST_BUCKETS, total},
};
use TcpState::{Close, CloseWait, Established, Listen, SynRecv, SynSent};

fn play(engine: &mut Engine, gatherer: &mut Gatherer, pid: u32, at: Nanos, step: (TcpState, TcpState)) {
    let event = of_client(ProcessKey::new(pid, 1), comm("client"), pid.into(), at, step);
    engine.apply(Input::Events(&[event]));
    engine.finish_batch();
    gatherer.count(engine, at, Lost::default());
}

/// A connection is accepted in another process than that of the listener, which the first states are counted for.
#[test]
fn a_connection_is_counted_for_one_process_at_a_time() {
    let [parent, worker] = [10, 20].map(|pid| ProcessKey::new(pid, 1));
    let mut engine = Engine::new(64);
    let mut gatherer = Gatherer::new(&Filter::default(), Nanos(0), Nanos(0), Lost::default());
    let mut apply = |cookie: u64, remote: &str, at: u64, task: Option<ProcessKey>, data: EventData| {
        let event = Event {
            time: Nanos::from_millis(at),
            sock: SockRef::new(cookie, cookie << 12),
            endpoints: endpoints("10.0.0.1:80", remote),
            netns: 1,
            protocol: 6,
            data,
            task: task.map(|process| fixture::task(process, comm("server"))),
            ..Event::default()
        };
        engine.apply(Input::Events(&[event]));
        engine.finish_batch();
        gatherer.count(&engine, Nanos::from_millis(at), Lost::default());
    };
    apply(1, "0.0.0.0:0", 0, Some(parent), transition(Close, Listen));
    for number in 0..4 {
        let (cookie, remote) = (2 + number, format!("10.0.0.2:{}", 4_000 + number));
        let at = 1 + number;
        apply(cookie, &remote, at, None, transition(Listen, SynRecv));
        apply(cookie, &remote, at, None, transition(SynRecv, Established));
        apply(cookie, &remote, at + 10, Some(worker), EventData::Accept);
        // In the bucket of the accept, so that the table is not counted in between.
        apply(cookie, &remote, at + 20, None, transition(Established, CloseWait));
    }
    let now = |owner_key| {
        let scope: &Scope = &gatherer.by_process[&Some(owner_key)];
        let counts = scope.series.now();
        [Listen, Established, CloseWait].map(|state| counts[state.index()])
    };
    assert_eq!(now(parent), [1, 0, 0], "the listener alone");
    assert_eq!(now(worker), [0, 0, 4]);
    gatherer.finish(&engine, Nanos::from_millis(40));
    let all = gatherer.all.series.buckets();
    assert_eq!(all.len(), 1, "all in one bucket");
    for (owner_key, scope) in &gatherer.by_process {
        for (bucket, whole) in scope.series.buckets().iter().zip(all) {
            let is_within = bucket.most.iter().zip(whole.most).all(|(its, all)| *its <= all);
            assert!(is_within, "{owner_key:?}: {bucket:?} of {whole:?}");
        }
    }
}

#[test]
fn a_loss_is_somewhere_between_two_checks() {
    let engine = Engine::new(1);
    let before = Lost { records: 5, gaps: 1 };
    let began = Nanos::from_secs(100);
    let mut gatherer = Gatherer::new(&Filter::default(), began, began, before);
    let mut count = |after_ms: u64, records: u64| {
        let now = began.plus(Nanos::from_millis(after_ms));
        gatherer.count(&engine, now, Lost { records, gaps: 1 });
        gatherer.losses.clone()
    };
    let loss = |first, last, count| Loss { first, last, count };
    assert_eq!(count(100, 5), [], "what was lost before is none of it");
    assert_eq!(count(2_000, 5), []);
    // The counters are read four times in a second, and batches come more often.
    assert_eq!(count(2_100, 12), [loss(14, 16, 7)]);
    assert_eq!(count(9_900, 14), [loss(14, 16, 7), loss(16, 79, 2)]);
    // From now on the buckets are twice as wide, and then four times more.
    assert_eq!(count(30_000, 14), [loss(7, 8, 7), loss(8, 39, 2)]);
    let all = [loss(1, 2, 7), loss(2, 9, 2), loss(30, 200, 1)];
    assert_eq!(count(200_000, 15), all);
}

#[test]
fn processes_beyond_the_limit_are_added_up_and_nothing_is_counted_twice() {
    let processes = u32::try_from(3 * MOST_PROCESSES).expect("some hundreds");
    let mut engine = Engine::new(4_096);
    let mut gatherer = Gatherer::new(&Filter::default(), Nanos(0), Nanos(0), Lost::default());
    // Long enough for the buckets to be widened on the way.
    let second = |pid: u32| Nanos::from_secs(pid.into());
    for pid in 1..=processes {
        play(&mut engine, &mut gatherer, pid, second(pid), (Close, SynSent));
        if pid == 1 {
            play(
                &mut engine,
                &mut gatherer,
                pid,
                second(pid),
                (SynSent, Established),
            );
            play(
                &mut engine,
                &mut gatherer,
                pid,
                second(pid),
                (Established, CloseWait),
            );
        }
    }
    gatherer.finish(&engine, second(processes));
    assert!(gatherer.by_process.len() <= MOST_PROCESSES && gatherer.is_folded);
    assert!(
        gatherer.by_process.contains_key(&Some(ProcessKey::new(1, 1))),
        "the busiest stays"
    );
    let now = |scope: &Scope| total(scope.series.now());
    let apart: u64 = gatherer.by_process.values().map(now).sum();
    assert_eq!(now(&gatherer.all), u64::from(processes));
    assert_eq!(apart + now(&gatherer.rest), u64::from(processes));
    let changes = |scope: &Scope| scope.series.changes();
    let apart: u64 = gatherer.by_process.values().map(changes).sum();
    assert_eq!(apart + changes(&gatherer.rest), changes(&gatherer.all));
    let buckets = gatherer.all.series.buckets();
    assert!(
        buckets.len() <= MOST_BUCKETS && buckets.len() > MOST_BUCKETS / 2,
        "{}",
        buckets.len()
    );
    let longest = gatherer.all.longest.timelines();
    assert_eq!(
        longest[0].owner,
        Some(ProcessKey::new(1, 1)),
        "it is in CLOSE_WAIT"
    );
}
