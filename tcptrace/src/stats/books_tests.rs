//! The books balance: of connections that live, end, stay, and were there before, each is counted once, and the sums
//! by key are those of everybody.

use super::{
    bins::Bins,
    key::By,
    measure::{Kind, Measure},
    report::{Report, Who},
};
use crate::{
    engine::{Engine, Input, collector::Collector},
    event::{
        Bytes, EndCause, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task, TcpState,
        fixture::{comm, task},
    },
    filter::Filter,
    socket::{Row, SockKind, snapshot::Snapshot},
};
use TcpState::{
    Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
};
use hashbrown::HashSet;
use proptest::prelude::*;

const NETNS: u32 = 7;
const GAP: Nanos = Nanos(3_000_000);

fn endpoints(number: u16, is_client: bool) -> Endpoints {
    let (here, there) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    if is_client {
        Endpoints::new((here, 40_000 + number), (there, 443))
    } else {
        Endpoints::new((here, 80), (there, 40_000 + number))
    }
}

fn sock(number: u16) -> SockRef {
    SockRef::new(
        100 + u64::from(number),
        0xffff_8880_0000_0000 + (u64::from(number) << 12),
    )
}

fn state(old: TcpState, new: TcpState) -> EventData {
    EventData::State {
        old,
        new,
        error: 0,
        fin_received: matches!(new, CloseWait | LastAck),
        is_orphan: new == Close,
        bytes: Bytes::default(),
        path: PathStats::default(),
    }
}

/// What the kernel tells of a client that closes first, and of a server that closes second, step by step.
fn step(is_client: bool, number: u8) -> Option<Vec<EventData>> {
    Some(match (is_client, number) {
        (true, 0) => vec![state(Close, SynSent)],
        (true, 1) => vec![state(SynSent, Established)],
        (true, 2) => vec![state(Established, FinWait1)],
        (true, 3) => vec![
            state(FinWait1, FinWait2),
            EventData::TimewaitStart(FinWait2),
            state(FinWait2, Close),
        ],
        (true, 4) => vec![EventData::TimewaitSegment {
            substate: TimeWait,
            is_reset: false,
        }],
        (true, 5) => vec![EventData::TimewaitEnd {
            substate: TimeWait,
            cause: EndCause::Expired,
        }],
        (false, 0) => vec![EventData::RequestStart { listener: 1 }],
        (false, 1) => vec![state(Listen, SynRecv), state(SynRecv, Established)],
        (false, 2) => vec![state(Established, CloseWait)],
        (false, 3) => vec![state(CloseWait, LastAck)],
        (false, 4) => vec![state(LastAck, Close)],
        _ => return None,
    })
}

fn event(number: u16, is_client: bool, what: EventData, time: Nanos) -> Event {
    let is_request = matches!(what, EventData::RequestStart { .. });
    let is_nameless = matches!(what, EventData::State { old: Listen, .. }) || is_request;
    let mut sock = sock(number);
    if is_nameless {
        sock.cookie = 0;
    }
    if is_request {
        sock.address += 64;
    }
    let is_by_owner = matches!(
        what,
        EventData::State {
            new: SynSent | FinWait1 | LastAck,
            ..
        }
    );
    Event {
        time,
        sock,
        endpoints: endpoints(number, is_client),
        netns: NETNS,
        protocol: 6,
        data: what,
        task: is_by_owner.then(|| Task {
            cgroup: u64::from(number) % 3,
            ..task(ProcessKey::new(1_000 + u32::from(number) % 5, 1), comm("program"))
        }),
        ..Event::default()
    }
}

/// A socket that was there before.
fn row(number: u16, state: TcpState, time: Nanos) -> Row {
    let is_client = number.is_multiple_of(2);
    Row::bare(
        time,
        sock(number),
        endpoints(number, is_client),
        NETNS,
        SockKind::Full,
        state,
    )
}

/// How many connections there were, how often each state was entered, and what was reported of it.
fn play(visits: &[u16], before: u16, by: By) -> (u64, [u64; TcpState::COUNT], Report) {
    let mut engine = Engine::new(10_000);
    let mut time = Nanos::from_secs(100);
    let snapshot = Snapshot {
        started: time,
        // Even ones are clients, which are where `step` 2 and 3 find them.
        rows: (0..before).map(|number| row(number, Established, time)).collect(),
        covered: HashSet::from([NETNS]),
        ..Snapshot::default()
    };
    let mut entered = [0; TcpState::COUNT];
    entered[Established.index()] += u64::from(before);
    engine.apply(Input::Snapshot(&snapshot, &[]));
    engine.finish_batch();
    let mut collector = Collector::new(&Filter::default(), by, time);
    let mut steps = [0_u8; 64];
    steps[..usize::from(before)].fill(2);
    let mut seen = HashSet::new();
    seen.extend(0..before);
    for visit in visits {
        let is_client = visit.is_multiple_of(2);
        let at = &mut steps[usize::from(*visit)];
        for what in step(is_client, *at).unwrap_or_default() {
            seen.insert(*visit);
            time = time.plus(Nanos(1_000));
            let event = event(*visit, is_client, what, time);
            engine.apply(Input::Events(&[event]));
        }
        *at += 1;
        time = time.plus(GAP);
        engine.apply(Input::Settle(time));
        for change in engine.batch() {
            entered[change.new.index()] += 1;
        }
        collector.count(&engine);
        engine.finish_batch();
    }
    let mut report = collector.report(&engine, time);
    report.sort();
    (seen.len() as u64, entered, report)
}

/// Finished, still open, and lower bounds of both.
fn all_of(cells: &Bins, measure: Measure) -> u64 {
    [Kind::Finished, Kind::Open, Kind::LowerBound, Kind::OpenLowerBound]
        .map(|kind| cells.count(measure, kind))
        .iter()
        .sum()
}

proptest! {
    #[test]
    fn finished_open_and_lower_bounds_are_all_that_were_seen(
        visits in prop::collection::vec(0..40_u16, 0..300),
        before in 0..12_u16,
        by in prop::sample::select(vec![By::State, By::Process, By::Endpoint, By::Tuple, By::Cgroup]),
    ) {
        let (connections, entered, report) = play(&visits, before, by);
        let everybody = report.everybody();
        prop_assert_eq!(all_of(&everybody, Measure::Lifetime), connections);
        for state in TcpState::ALL {
            if state != Close {
                let told = all_of(&everybody, Measure::Dwell(state));
                prop_assert_eq!(told, entered[state.index()], "{}", state);
            }
        }
        prop_assert!(everybody.count(Measure::Lifetime, Kind::OpenLowerBound) <= u64::from(before));
        let mut sum = Bins::default();
        for group in report.groups.iter().filter(|group| group.who != Who::All) {
            sum.merge(&group.cells);
        }
        let expected = if by == By::State { Bins::default() } else { everybody };
        prop_assert_eq!(sum, expected);
    }
}
