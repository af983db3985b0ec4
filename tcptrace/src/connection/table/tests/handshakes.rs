//! Requests, children and listeners.

use super::*;
use crate::{
    event::{EndReason, Endpoints, Event, EventData, Nanos, SockRef, TcpState},
    socket::snapshot::Snapshot,
};
use TcpState::{Close, Established, Listen, SynRecv, SynSent};
use hashbrown::HashSet;

#[test]
fn a_request_whose_end_was_lost_is_retired() {
    let mut run = Run::new(10);
    let start = pick(Script::Abandoned, Plan::Fentry, is_request_start);
    run.ingest(&[start]);
    let empty = Snapshot {
        started: start.time.plus(Nanos::from_secs(100)),
        covered: HashSet::from([NETNS]),
        ..Snapshot::default()
    };
    let retired: Vec<Option<EndReason>> = run.merge(&empty).iter().map(|change| change.reason).collect();
    assert_eq!(retired, [Some(EndReason::Unseen)]);
    assert_eq!(run.table().len(), 0);
}

#[test]
fn a_request_that_a_snapshot_showed_becomes_its_child() {
    let steps = Lifecycle::new(0, Plan::Timers, 1_000 * MILLI).live(Script::PassiveClose, [10 * MILLI; 6]);
    let workload = Workload {
        end: steps[3].event.time,
        steps,
    };
    let events = workload.events();
    let mut run = Run::new(10);
    run.merge(&workload.snapshot(events[0].time));
    // LISTEN → SYN_RECV, SYN_RECV → ESTABLISHED, the request's timer is cancelled.
    run.ingest(&events[1..4]);
    run.settle(events[3].time.plus(RESOLVE_WINDOW));
    assert_eq!(paths(&run.changes), [(SynRecv, Established, None)]);
    assert_eq!(run.table().len(), 1);
}

/// A listener's child that takes `until_established` from its making, and no request before it.
fn child_without_request(
    blindspots: Blindspots,
    until_established: Nanos,
) -> Vec<(TcpState, TcpState, Option<EndReason>)> {
    let mut run = Run::new(10);
    run.engine.table.blindspots = blindspots;
    let made = pick(Script::PassiveClose, Plan::Timers, moves(Listen, SynRecv));
    let done = Event {
        time: made.time.plus(until_established),
        ..pick(Script::PassiveClose, Plan::Timers, moves(SynRecv, Established))
    };
    run.ingest(&[made, done]);
    paths(&run.changes)
}

#[test]
fn a_child_without_a_request_is_fast_open_s_after_a_while() {
    let all = Blindspots::default();
    let unshown = Blindspots {
        requests: true,
        ..all
    };
    let at_once = [(Listen, Established, None)];
    let after_a_while = [(Listen, SynRecv, None), (SynRecv, Established, None)];
    assert_eq!(child_without_request(all, Nanos(5_000)), at_once);
    assert_eq!(child_without_request(all, Nanos(100_000)), after_a_while);
    assert_eq!(child_without_request(unshown, Nanos(100_000)), at_once);
    assert_eq!(child_without_request(unshown, Nanos(5_000_000)), after_a_while);
}

#[test]
fn a_client_of_this_host_shows_what_its_child_was_made_of() {
    let [made, done] = fast_open(transition(SynRecv, Established));
    let (here, there) = (done.endpoints.local(), done.endpoints.remote());
    let client = |time: Nanos| Event {
        time,
        sock: SockRef::new(7, address(4, 0)),
        endpoints: Endpoints::new(
            (there, done.endpoints.remote_port),
            (here, done.endpoints.local_port),
        ),
        data: transition(SynSent, Established),
        ..done
    };
    let late = Event {
        time: made.time.plus(Nanos::from_millis(1)),
        ..done
    };
    let server = |events: &[Event]| {
        let mut run = Run::new(10);
        run.ingest(events);
        run.changes
            .retain(|change| change.endpoints.local_port == SERVER_PORT);
        paths(&run.changes)
    };
    // The SYN made the child, and its answer the client ESTABLISHED, however quick the ACK.
    let fast_open = [(Listen, SynRecv, None), (SynRecv, Established, None)];
    let between = client(made.time.plus(Nanos(5_000)));
    assert_eq!(server(&[made, between, done]), fast_open);
    // The ACK of a client that was ESTABLISHED made the child, however slow this host.
    let before = client(Nanos(made.time.0 - 5_000));
    assert_eq!(server(&[before, made, late]), [(Listen, Established, None)]);
}

#[test]
fn a_fast_open_child_that_is_reset_before_accept_has_that_reason() {
    let [made, reset] = fast_open(EventData::ResetReceived);
    let closed = Event {
        time: reset.time.plus(Nanos(16_000)),
        data: transition(SynRecv, Close),
        ..reset
    };
    let mut run = Run::new(10);
    run.ingest(&[made, reset, closed]);
    run.settle(Nanos(u64::MAX));
    assert_eq!(
        paths(&run.changes),
        [
            (Listen, SynRecv, None),
            (SynRecv, Close, Some(EndReason::ResetReceived))
        ]
    );
}

#[test]
fn a_child_of_a_listener_that_is_being_closed_is_its_owner_s() {
    let [made, closed] = fast_open(transition(SynRecv, Close));
    let [listens, endpoints] = listener(Nanos(made.time.0 - 1_000));
    let endpoints = Event {
        time: Nanos(closed.time.0 - 1_000),
        ..endpoints
    };
    let mut run = Run::new(10);
    run.ingest(&[listens, made, endpoints, closed]);
    run.settle(Nanos(u64::MAX));
    let last = run.changes.last().expect("it ends");
    assert_eq!((last.old, last.new), (SynRecv, Close));
    let owner = last.owner.expect("its listener had one");
    let process = run.table().processes.get(owner.process).expect("it is kept");
    assert_eq!(process.key, task().process);
}

#[test]
fn a_connection_stays_a_server_s_when_its_listener_is_closed() {
    use crate::connection::lifetime::Role;
    let steps = Lifecycle::new(0, Plan::Timers, 1_000 * MILLI).live(Script::PassiveClose, [10 * MILLI; 6]);
    let workload = Workload {
        end: steps[4].event.time,
        steps,
    };
    let [listens, closes] = listener(Nanos(500 * MILLI));
    let mut run = Run::new(10);
    run.ingest(&[listens]);
    run.merge(&workload.snapshot(workload.end));
    run.ingest(&[Event {
        time: workload.end.plus(Nanos::from_secs(1)),
        ..closes
    }]);
    let row = run.table().iter().next().expect("it is still there");
    assert_eq!((run.table().len(), run.table().role(row)), (1, Role::Server));
}

#[test]
fn what_comes_to_a_program_s_listener_is_not_the_kernel_s() {
    let children: Vec<Event> = Lifecycle::new(0, Plan::Timers, 1_000 * MILLI)
        .live(Script::PassiveClose, [10 * MILLI; 6])
        .iter()
        .map(|step| Event {
            is_kernel_socket: true,
            ..step.event
        })
        .collect();
    for is_kernel_s in [false, true] {
        let [listens, _] = listener(Nanos(500 * MILLI));
        let mut run = Run::new(10);
        run.ingest(&[Event {
            is_kernel_socket: is_kernel_s,
            ..listens
        }]);
        run.ingest(&children);
        run.settle(Nanos(u64::MAX));
        let last = run.changes.last().expect("it ends");
        assert_eq!(last.is_kernel_socket, is_kernel_s);
    }
}
