//! Timewait socks.

use super::*;
use crate::{
    engine::Input,
    event::{
        Age, EndReason, Endpoints, Event, EventData, Nanos, SockRef, Task, TcpState, TimerStep, fixture::comm,
    },
    socket::{SockKind, snapshot::Snapshot},
};
use TcpState::{Close, Closing, FinWait1, FinWait2, Listen, SynRecv, SynSent, TimeWait};
use hashbrown::HashSet;
use std::net::IpAddr;

/// The hooks for timewait socks were attached after those for transitions, and the start snapshot comes behind both.
#[test]
fn a_close_is_no_end_where_a_snapshot_shows_the_timewait_sock() {
    let steps =
        Lifecycle::new(0, Plan::Timers, 1_000 * MILLI).live(Script::SimultaneousClose, [10 * MILLI; 6]);
    let closed = steps
        .iter()
        .find(|step| moves(Closing, Close)(&step.event.data))
        .expect("it closes");
    let read = closed.event.time.plus(Nanos(10 * MILLI));
    let snapshot = Snapshot {
        started: read,
        rows: vec![row(closed, (SockKind::Timewait, TimeWait), read)],
        covered: HashSet::from([NETNS]),
        ..Snapshot::default()
    };
    let mut run = Run::new(10);
    run.apply(Input::Snapshot(&snapshot, &[closed.event]));
    run.settle(read.plus(RESOLVE_WINDOW));
    assert_eq!(paths(&run.changes), [(Closing, TimeWait, None)]);
    assert_eq!(run.table().len(), 1);
}

/// The child's events are lost, up to the cancelled timer of its timewait sock; then a SYN takes the four-tuple over.
#[test]
fn a_request_that_a_snapshot_showed_ends_once_where_a_syn_takes_its_timewait_sock_over() {
    let passive = Lifecycle::new(0, Plan::Timers, 1_000 * MILLI).live(Script::PassiveClose, [10 * MILLI; 6]);
    let shown = Workload {
        end: passive[0].event.time,
        steps: passive[..1].to_vec(),
    };
    let substate = TimeWait;
    let timer = |step, after: u64| Event {
        time: passive[0].event.time.plus(Nanos(after * MILLI)),
        sock: passive[1..]
            .iter()
            .map(|step| step.event.sock)
            .find(|sock| sock.cookie != 0)
            .expect("a child"),
        data: EventData::TimewaitTimer { step, substate },
        lost: 1,
        ..passive[0].event
    };
    let start = pick(Script::PassiveClose, Plan::Fentry, is_request_start);
    let mut run = Run::new(10);
    run.merge(&shown.snapshot(shown.end));
    run.ingest(&[
        timer(TimerStep::Start, 20),
        timer(TimerStep::Cancel, 30),
        Event {
            time: passive[0].event.time.plus(Nanos(30 * MILLI)),
            lost: 1,
            ..start
        },
    ]);
    assert_eq!(
        paths(&run.changes),
        [
            (SynRecv, TimeWait, None),
            (TimeWait, Close, Some(EndReason::TimewaitReused)),
            (Listen, SynRecv, None),
        ]
    );
    assert_eq!(run.table().len(), 1);
}

#[test]
fn a_timewait_start_that_comes_after_its_segment_reports_nothing_new() {
    let mut run = Run::new(10);
    let start = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(
            what,
            EventData::TimewaitTimer {
                step: TimerStep::Start,
                ..
            }
        )
    });
    let segment = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(what, EventData::TimewaitSegment { .. })
    });
    run.ingest(&[
        pick(Script::ActiveClose, Plan::Timers, moves(FinWait1, FinWait2)),
        segment,
        start,
    ]);
    assert_eq!(
        paths(&run.changes),
        [(FinWait1, FinWait2, None), (FinWait2, TimeWait, None)]
    );
}

#[test]
fn a_segment_proves_that_a_timewait_sock_took_over() {
    let mut run = Run::new(10);
    let close = pick(Script::ActiveClose, Plan::Timers, moves(FinWait2, Close));
    let segment = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(what, EventData::TimewaitSegment { .. })
    });
    let segment = Event {
        time: close.time.plus(Nanos::from_millis(1)),
        ..segment
    };
    run.ingest(&[
        pick(Script::ActiveClose, Plan::Timers, moves(FinWait1, FinWait2)),
        close,
        segment,
    ]);
    run.settle(Nanos(u64::MAX));
    assert_eq!(
        paths(&run.changes),
        [(FinWait1, FinWait2, None), (FinWait2, TimeWait, None)]
    );
}

#[test]
fn where_segments_are_not_shown_a_timer_that_is_set_anew_shows_a_fin_before_it() {
    let starts = |what: &EventData| {
        matches!(
            what,
            EventData::TimewaitTimer {
                step: TimerStep::Start,
                ..
            }
        )
    };
    let closed = pick(Script::OrphanedFinWait2, Plan::Timers, moves(FinWait1, FinWait2));
    let started = pick(Script::OrphanedFinWait2, Plan::Timers, starts);
    let set_anew = Event {
        time: closed.time.plus(Nanos::from_millis(600)),
        data: EventData::TimewaitTimer {
            step: TimerStep::Start,
            substate: TimeWait,
        },
        ..started
    };
    for (segments, expected) in [
        (false, Age::Exact(Nanos::from_millis(600))),
        (true, Age::AtLeast(Nanos::from_millis(20))),
    ] {
        let mut run = Run::new(10);
        run.engine.table.blindspots.segments = segments;
        run.engine.table.polled_before = closed.time.plus(Nanos::from_millis(20));
        run.ingest(&[closed, started, set_anew]);
        let last = run.changes.last().expect("it is reported");
        assert_eq!(
            (last.old, last.new, last.dwell),
            (FinWait2, TimeWait, Some(expected))
        );
    }
}

#[test]
fn who_cancels_the_timer_of_a_timewait_sock_shows_why_it_ends() {
    let is_start = |what: &EventData| {
        matches!(
            what,
            EventData::TimewaitTimer {
                step: TimerStep::Start,
                ..
            }
        )
    };
    let started = pick(Script::SimultaneousClose, Plan::Timers, is_start);
    let by = |is_kernel_thread: bool, name: &[u8]| Task {
        comm: comm(name),
        is_kernel_thread,
        ..task()
    };
    // A connect, and the end a microsecond after `at`.
    let why_at = |task: Task, has_listener: bool, connects: Option<(IpAddr, Nanos)>, at: Nanos| {
        let mut run = Run::new(10);
        if has_listener {
            run.ingest(&listener(Nanos(500 * MILLI))[..1]);
        }
        let mut events = vec![started];
        if let Some((remote, time)) = connects {
            let connect = pick(Script::ActiveClose, Plan::Timers, moves(Close, SynSent));
            events.push(Event {
                time,
                sock: SockRef::new(9, address(6, 0)),
                endpoints: Endpoints::new(
                    (remote, 0),
                    (started.endpoints.remote(), started.endpoints.remote_port),
                ),
                ..connect
            });
        }
        events.push(Event {
            time: at.plus(Nanos(1_000)),
            data: EventData::TimewaitTimer {
                step: TimerStep::Cancel,
                substate: TimeWait,
            },
            task: Some(task),
            ..started
        });
        events.sort_by_key(|event| event.time);
        run.ingest(&events);
        run.settle(Nanos(u64::MAX));
        let ended = run.changes.iter().find(|change| change.old == TimeWait);
        ended.expect("it ends").reason
    };
    let later = started.time.plus(Nanos::from_secs(1));
    let why = |task: Task, has_listener: bool, remote: Option<IpAddr>| {
        why_at(task, has_listener, remote.map(|remote| (remote, later)), later)
    };
    let ss = by(false, b"ss");
    assert_eq!(why(ss, false, None), Some(EndReason::Destroyed));
    // A SYN that was answered with a cookie, or dropped, may have done it while some process ran.
    assert_eq!(why(ss, true, None), None);
    let here = started.endpoints.local();
    assert_eq!(why(ss, true, Some(here)), Some(EndReason::TimewaitReused));
    // The connect that opened it takes nothing over.
    let opened = (here, Nanos(started.time.0 - MILLI / 2));
    assert_eq!(why_at(ss, true, Some(opened), started.time), None);
    assert_eq!(
        why(by(true, b"kworker/u8:2"), false, None),
        Some(EndReason::Purged)
    );
    assert_eq!(why(by(true, b"swapper/1"), false, None), None);
}
