//! What the kernel reports of a socket before its connection ends is in the change that ends it.

use super::*;
use crate::{
    event::{EndCause, PathStats, ResetReason, fixture::endpoints},
    socket::snapshot::Snapshot,
};
use hashbrown::HashSet;
use std::num::NonZeroU32;

const TIMED_OUT: u32 = 110;

fn at(ms: u64, data: EventData) -> Event {
    Event {
        time: Nanos::from_millis(1_000 + ms),
        sock: SockRef::new(7, 0),
        netns: NETNS,
        protocol: 6,
        data,
        ..Event::default()
    }
}

fn measured() -> PathStats {
    PathStats {
        retransmits_total: Some(3),
        srtt: NonZeroU32::new(361),
    }
}

fn closed(from: TcpState, errno: u32) -> EventData {
    let EventData::State {
        old,
        new,
        fin_received,
        is_orphan,
        bytes,
        ..
    } = transition(from, Close)
    else {
        unreachable!("a transition is one of a full socket");
    };
    EventData::State {
        old,
        new,
        error: errno,
        fin_received,
        is_orphan,
        bytes,
        path: measured(),
    }
}

fn ends(events: &[Event]) -> Vec<Change> {
    let mut run = Run::new(10);
    run.ingest(events);
    run.settle(Nanos(u64::MAX));
    run.changes
        .into_iter()
        .filter(|change| change.new == Close)
        .collect()
}

fn reset_sent() -> EventData {
    EventData::ResetSent(ResetReason::from_kernel(15))
}

#[test]
fn a_reset_has_its_reason_before_and_behind_the_end() {
    let why = ResetReason::from_kernel(15);
    for order in [[1, 2], [2, 1]] {
        let mut events = [at(order[0], reset_sent()), at(order[1], closed(Established, 0))];
        events.sort_by_key(|event| event.time);
        let ends = ends(&[&[at(0, transition(Close, Established))], &events[..]].concat());
        let end = ends.last().expect("it ends");
        assert_eq!((end.reason, end.reset_reason), (Some(EndReason::ResetSent), why));
        assert_eq!(end.path, measured());
    }
}

#[test]
fn giving_up_has_the_reason_of_the_reset_that_is_part_of_it() {
    for (sent, expected) in [(9, ResetReason::from_kernel(15)), (5, None)] {
        let ends = ends(&[
            at(0, transition(Close, Established)),
            at(sent, reset_sent()),
            at(10, closed(Established, TIMED_OUT)),
        ]);
        assert_eq!(ends[0].reason, Some(EndReason::Timeout));
        assert_eq!(ends[0].reset_reason, expected, "sent at {sent} ms");
    }
}

#[test]
fn a_reset_received_has_no_reason_of_one_sent_before() {
    let ends = ends(&[
        at(0, transition(Close, SynSent)),
        at(1, reset_sent()),
        at(2, EventData::ResetReceived),
        at(2, closed(SynSent, 111)),
    ]);
    assert_eq!(ends[0].reason, Some(EndReason::ResetReceived));
    assert_eq!(ends[0].reset_reason, None);
}

#[test]
fn a_connect_that_is_choosing_its_port_is_not_missing() {
    let unseen = |after: Nanos, lost: bool| {
        let begin = Event {
            endpoints: endpoints("10.0.0.1:0", "10.0.0.2:80"),
            ..pick(Script::ActiveClose, Plan::Timers, moves(Close, SynSent))
        };
        let mut run = Run::new(10);
        run.ingest(&[begin]);
        if lost {
            let time = begin.time.plus(Nanos(1));
            run.apply(Input::Lost { time, total: 1 });
        }
        let empty = Snapshot {
            started: begin.time.plus(after),
            covered: HashSet::from([NETNS]),
            ..Snapshot::default()
        };
        let ends = run.merge(&empty).iter();
        ends.filter(|change| change.reason == Some(EndReason::Unseen))
            .count()
    };
    let millis = Nanos::from_millis;
    assert_eq!(unseen(millis(100), false), 0);
    // It ended, and that was not reported.
    assert_eq!(unseen(millis(100), true), 1);
    assert_eq!(unseen(millis(2_000), false), 1);
}

#[test]
fn what_the_full_socket_had_measured_is_kept_through_time_wait_and_not_beyond() {
    let ends = ends(&[
        at(0, transition(Close, Established)),
        at(1, transition(Established, FinWait1)),
        at(2, transition(FinWait1, FinWait2)),
        at(3, EventData::TimewaitStart(TcpState::TimeWait)),
        at(3, closed(FinWait2, 0)),
        at(
            60_003,
            EventData::TimewaitEnd {
                substate: TcpState::TimeWait,
                cause: EndCause::Expired,
            },
        ),
        // The next row has the slot of the one before.
        at(70_000, transition(Close, SynSent)),
        at(70_001, EventData::ResetReceived),
        at(70_001, transition(SynSent, Close)),
    ]);
    let paths: Vec<PathStats> = ends.iter().map(|change| change.path).collect();
    assert_eq!(paths, [measured(), PathStats::default()]);
    assert_eq!(ends[0].reason, Some(EndReason::TimewaitExpired));
}
