//! Properties of the table under traffic as the kernel reports it, with events that are lost, doubled and out of order.

mod ends;
mod handshakes;
mod timewaits;

use super::Table;
use crate::{
    connection::{blindspots::Blindspots, change::Change, state::RESOLVE_WINDOW, workload::*},
    engine::{Engine, Input},
    event::{
        Age, ConnectionId, EndReason, Endpoints, Event, EventData, Nanos, SockRef, TcpState,
        fixture::transition,
    },
    socket::{Row, SockKind, snapshot::Snapshot},
};
use TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, Listen, SynRecv, SynSent};
use hashbrown::HashMap;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

/// An engine, and what it has said so far.
struct Run {
    engine: Engine,
    changes: Vec<Change>,
}

impl Run {
    fn new(capacity: usize) -> Self {
        Self {
            engine: Engine::new(capacity),
            changes: Vec::new(),
        }
    }

    /// As a session does: a batch of events, then what waited long enough.
    fn ingest(&mut self, events: &[Event]) {
        for event in events {
            self.apply(Input::Events(&[*event]));
            self.apply(Input::Settle(event.time));
        }
    }

    fn settle(&mut self, now: Nanos) {
        self.apply(Input::Settle(now));
    }

    fn merge(&mut self, snapshot: &Snapshot) -> &[Change] {
        let before = self.changes.len();
        self.apply(Input::Snapshot(snapshot, &[]));
        &self.changes[before..]
    }

    fn apply(&mut self, input: Input<'_>) {
        self.changes.extend_from_slice(self.engine.apply(input));
        self.engine.finish_batch();
    }

    fn table(&self) -> &Table {
        &self.engine.table
    }

    /// The books balance.
    fn check_totals(&self) -> Result<(), TestCaseError> {
        let tally = &self.table().tally;
        let count =
            |test: fn(&Change) -> bool| self.changes.iter().filter(|change| test(change)).count() as u64;
        prop_assert_eq!(tally.changes, self.changes.len() as u64);
        let unknown = tally.unknown + tally.unknown_expected;
        let begun = count(|change| change.dwell.is_none()) + unknown + tally.shown;
        let ended = count(|change| change.new == Close);
        prop_assert_eq!(self.table().len() as u64 + ended + tally.evicted, begun);
        prop_assert_eq!(self.table().len(), self.table().iter().count());
        let unseen = count(|change| change.reason == Some(EndReason::Unseen));
        prop_assert_eq!(tally.unseen, unseen);
        Ok(())
    }

    /// From a connection's beginning to its end, time does not run backwards and each change starts where the
    /// last one ended.
    fn check_order(&self) -> Result<(), TestCaseError> {
        let mut known: HashMap<(ConnectionId, IpAddr), (Nanos, TcpState)> = HashMap::new();
        for change in &self.changes {
            prop_assert!(change.old != change.new, "{:?}", change);
            let name = (change.id, change.endpoints.remote());
            if let Some((time, state)) = known.get(&name)
                && change.dwell.is_some()
            {
                prop_assert!(change.time >= *time, "{:?} after {:?}", change, time);
                prop_assert_eq!(change.old, *state, "{:?}", change);
            }
            if change.new == Close {
                known.remove(&name);
            } else {
                known.insert(name, (change.time, change.new));
            }
        }
        Ok(())
    }

    /// The table holds what the kernel's does, no more and no less.
    fn check_equals(&self, truth: &[Row]) -> Result<(), TestCaseError> {
        for row in truth {
            let slot = self.table().find_row(row);
            let found = slot.and_then(|slot| self.table().row(slot));
            prop_assert_eq!(
                found.map(|found| (found.state.tcp, found.endpoints.remote())),
                Some((row.state, row.endpoints.remote())),
                "{:?}",
                row
            );
        }
        let held: Vec<_> = self.table().iter().map(|row| (row.id(), row.state)).collect();
        prop_assert_eq!(held.len(), truth.len(), "{:?}", held);
        Ok(())
    }
}

proptest! {
    #[test]
    fn undisturbed_events_give_the_kernels_table(workload in any_workload()) {
        let mut run = Run::new(1_000);
        run.ingest(&workload.events());
        run.settle(workload.end.plus(RESOLVE_WINDOW));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
        run.check_order()?;
        prop_assert_eq!(run.table().tally.impossible, 0);
        prop_assert_eq!((run.table().tally.unknown, run.table().tally.unknown_expected), (0, 0));
        for change in &run.changes {
            prop_assert!(change.dwell.is_none_or(Age::is_exact), "{:?}", change);
        }
    }

    #[test]
    fn a_snapshot_of_what_is_known_changes_nothing(workload in any_workload()) {
        let mut run = Run::new(1_000);
        run.ingest(&workload.events());
        run.settle(workload.end.plus(RESOLVE_WINDOW));
        let snapshot = workload.snapshot(workload.end.plus(RESOLVE_WINDOW));
        prop_assert_eq!(run.merge(&snapshot).len(), 0);
        prop_assert_eq!(run.table().tally.shown, 0);
    }

    #[test]
    fn disturbed_events_keep_the_books_and_the_time(
        workload in any_workload(),
        fates in fates(3 * MILLI),
    ) {
        let mut run = Run::new(1_000);
        run.ingest(&perturbed(&workload.events(), &fates));
        run.settle(Nanos(u64::MAX));
        run.check_totals()?;
        run.check_order()?;
    }

    #[test]
    fn what_is_called_exact_is_so_whatever_was_lost(
        workload in any_workload(),
        is_lost in prop::collection::vec(prop::bool::weighted(0.3), 0..160),
    ) {
        let mut undisturbed = Run::new(1_000);
        undisturbed.ingest(&workload.events());
        undisturbed.settle(Nanos(u64::MAX));
        let name = |change: &Change| (change.endpoints.remote(), change.time, change.old, change.new, change.dwell);
        let real: Vec<_> = undisturbed.changes.iter().map(name).collect();
        let mut lossy = Run::new(1_000);
        lossy.ingest(&without(&workload.events(), &is_lost));
        lossy.settle(Nanos(u64::MAX));
        for change in &lossy.changes {
            let is_exact = change.dwell.is_some_and(Age::is_exact);
            prop_assert!(!is_exact || real.contains(&name(change)), "{:?}", change);
        }
    }

    #[test]
    fn a_snapshot_always_heals(
        workload in any_workload(),
        fates in fates(3 * MILLI),
    ) {
        let mut run = Run::new(1_000);
        run.ingest(&perturbed(&workload.events(), &fates));
        run.settle(Nanos(u64::MAX));
        // The kernel side counts what it loses.
        run.apply(Input::Lost { time: workload.end, total: 1 });
        run.merge(&workload.snapshot(workload.end.plus(Nanos(10 * MILLI))));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
    }

    #[test]
    fn a_snapshot_at_any_moment_does_no_harm(
        workload in any_workload(),
        share in 0..100usize,
    ) {
        let events = workload.events();
        let begin = workload.steps.first().map_or(0, |step| step.event.time.0);
        let moment = Nanos(begin + (workload.end.0 - begin.min(workload.end.0)) / 100 * share as u64);
        let before = events.partition_point(|event| event.time <= moment);
        // Everything that happened before is missed, as by a tracer that starts then.
        let mut run = Run::new(1_000);
        run.merge(&workload.snapshot(moment));
        run.ingest(&events[before..]);
        run.settle(workload.end.plus(RESOLVE_WINDOW));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
        run.check_order()?;
    }

    #[test]
    fn a_full_table_evicts_and_counts(
        workload in any_workload(),
        fates in fates(3 * MILLI),
        capacity in 1..6usize,
    ) {
        let mut run = Run::new(capacity);
        for event in perturbed(&workload.events(), &fates) {
            run.ingest(&[event]);
            prop_assert!(run.table().len() <= capacity);
        }
        run.settle(Nanos(u64::MAX));
        run.check_totals()?;
        run.merge(&workload.snapshot(workload.end.plus(Nanos(10 * MILLI))));
        prop_assert!(run.table().len() <= capacity);
        run.check_totals()?;
    }
}

/// The only step of the life of connection 0 by `script` that `what` picks.
fn pick(script: Script, plan: Plan, what: impl Fn(&EventData) -> bool) -> Event {
    let gaps = [10 * MILLI; 6];
    let steps = Lifecycle::new(0, plan, 1_000 * MILLI).live(script, gaps);
    let mut found = steps.iter().filter(|step| what(&step.event.data));
    found.next().expect("the script has such a step").event
}

fn moves(old: TcpState, new: TcpState) -> impl Fn(&EventData) -> bool {
    move |what| matches!(what, EventData::State { old: from, new: to, .. } if *from == old && *to == new)
}

fn is_request_start(what: &EventData) -> bool {
    matches!(what, EventData::RequestStart { .. })
}

fn paths(changes: &[Change]) -> Vec<(TcpState, TcpState, Option<EndReason>)> {
    changes
        .iter()
        .map(|change| (change.old, change.new, change.reason))
        .collect()
}

#[test]
fn an_end_that_was_overtaken_is_not_before_its_beginning() {
    let mut run = Run::new(10);
    let start = pick(Script::Abandoned, Plan::Fentry, is_request_start);
    let late = Event {
        time: Nanos(start.time.0 - 1),
        data: EventData::RequestEnd,
        ..start
    };
    run.ingest(&[start, late]);
    run.settle(Nanos(u64::MAX));
    let times: Vec<Nanos> = run.changes.iter().map(|change| change.time).collect();
    assert_eq!(times, [start.time, start.time]);
}

#[test]
fn a_connection_is_at_least_as_old_as_its_state() {
    let step = Step {
        event: pick(Script::OrphanedFinWait2, Plan::Timers, moves(FinWait1, FinWait2)),
        connection: 0,
        truth: None,
    };
    let now = Nanos::from_secs(100);
    let silent_for = Nanos::from_secs(65);
    let seen = Row {
        idle: Some(silent_for),
        ..row(&step, (SockKind::Full, CloseWait), now)
    };
    let mut run = Run::new(10);
    run.apply(Input::Poll {
        begun: now,
        rows: &[seen],
        events: &[],
    });
    let row = run.engine.table.iter().next().expect("it was shown");
    assert_eq!(row.state.since.age(now), Age::AtLeast(silent_for));
    assert_eq!(row.began.age(now), Age::AtLeast(silent_for));
}

#[test]
fn where_sockets_have_no_cookie_a_new_one_s_address_ends_the_one_before() {
    let shared = SockRef::new(0, address(5, 0));
    let without_cookie = |event: Event| Event {
        sock: shared,
        ..event
    };
    // A client whose CLOSE waits for its explanation, or was lost; then a child of a listener has its address.
    let client = Lifecycle::new(1, Plan::Timers, 1_000 * MILLI).live(Script::HalfClose, [1_000; 6]);
    let client: Vec<Event> = client
        .iter()
        .map(|step| without_cookie(step.event))
        .filter(|event| matches!(event.data, EventData::State { .. }))
        .collect();
    for (lost, reason) in [(0, None), (1, Some(EndReason::Unseen))] {
        let mut run = Run::new(10);
        run.engine.table.blindspots = Blindspots {
            timewaits: true,
            requests: true,
            segments: false,
        };
        let seen = &client[..client.len() - lost];
        run.ingest(seen);
        let at = client.last().expect("it has a life").time.plus(Nanos(5_000));
        let [made, done] = fast_open(transition(SynRecv, Established));
        run.ingest(&[
            Event {
                time: at,
                ..without_cookie(made)
            },
            Event {
                time: at.plus(Nanos(5_000)),
                ..without_cookie(done)
            },
        ]);
        run.settle(Nanos(u64::MAX));
        let endpoints: Vec<_> = paths(&run.changes)
            .into_iter()
            .filter(|path| path.1 == Close)
            .collect();
        assert_eq!(endpoints, [(FinWait2, Close, reason)]);
        assert_eq!(run.table().tally.impossible, 0);
        assert_eq!(run.table().len(), 1);
    }
}

#[test]
fn nothing_that_a_loss_may_have_touched_is_exact_until_it_is_seen_again() {
    let script = pick(Script::ActiveClose, Plan::Timers, moves(SynSent, Established));
    let begin = pick(Script::ActiveClose, Plan::Timers, moves(Close, SynSent));
    let mut run = Run::new(10);
    run.ingest(&[begin, script]);
    let is_exact = |run: &Run| {
        let row = run.table().iter().next().expect("it is there");
        (row.state.since.is_exact(), row.began.is_exact())
    };
    assert_eq!(is_exact(&run), (true, true));
    let lost_until = script.time.plus(Nanos::from_millis(1));
    run.engine.table.note_loss(lost_until);
    assert_eq!(is_exact(&run), (false, false));
    let closes = Event {
        time: lost_until.plus(Nanos::from_millis(1)),
        ..pick(Script::ActiveClose, Plan::Timers, moves(Established, FinWait1))
    };
    run.ingest(&[closes]);
    let last = run.changes.last().expect("it is reported");
    assert_eq!(
        (last.old, last.dwell.is_some_and(Age::is_exact)),
        (Established, false)
    );
    assert_eq!(is_exact(&run), (true, false));
}

/// The listener's LISTEN, by [`task`], at `time`, and its CLOSE.
fn listener(time: Nanos) -> [Event; 2] {
    let local = (Ipv4Addr::new(10, 9, 9, 9).into(), SERVER_PORT);
    let mut life = Lifecycle::new(0, Plan::Timers, time.0);
    life.sock = SockRef::new(LISTENER_COOKIE, address(3, 0));
    life.endpoints = Endpoints::new(local, (Ipv4Addr::UNSPECIFIED.into(), 0));
    life.state(Close, Listen);
    life.wait(1_000 * MILLI);
    life.state(Listen, Close);
    [life.steps[0].event, life.steps[1].event]
}

/// A Fast Open child that is made, and what comes next for it 10 µs later.
fn fast_open(then: EventData) -> [Event; 2] {
    let made = pick(Script::PassiveClose, Plan::Timers, moves(Listen, SynRecv));
    let done = pick(Script::PassiveClose, Plan::Timers, moves(SynRecv, Established));
    let next = Event {
        time: made.time.plus(Nanos(10_000)),
        data: then,
        ..done
    };
    [made, next]
}
