use super::*;
use crate::engine::Input;
use crate::event::{Event, EventData, SockRef, fixture};

const PROCESS: ProcessKey = ProcessKey { pid: 7, start_ns: 1 };

fn event(cookie: u64, second: u64, old: TcpState, new: TcpState) -> Event {
    let port = if cookie == 1 { 80 } else { 81 };
    Event {
        endpoints: Endpoints::new(
            (
                "10.0.0.1".parse().unwrap(),
                4_000 + u16::try_from(cookie).unwrap(),
            ),
            ("10.0.0.2".parse().unwrap(), port),
        ),
        ..fixture::of_client(PROCESS, [0; 16], cookie, Nanos::from_secs(second), (old, new))
    }
}

#[test]
fn growth_is_that_of_the_sockets_that_the_filter_selects() {
    use TcpState::{Close, CloseWait, Established, SynSent};
    let mut engine = Engine::new(16);
    let port_80 = Filter {
        remote_ports: vec![80],
        ..Filter::default()
    };
    let mut histories = [Filter::default(), port_80].map(|filter| History::of(&filter));
    for cookie in 1..=3 {
        for (old, new) in [(Close, SynSent), (SynSent, Established), (Established, CloseWait)] {
            engine.apply(Input::Events(&[event(cookie, 1, old, new)]));
        }
    }
    for history in &mut histories {
        history.count(&engine);
        history.sample(&engine, Nanos::from_secs(1));
    }
    for (history, count) in histories.iter_mut().zip([3, 1]) {
        history.sample(&engine, Nanos::from_secs(5));
        let of = history.of_process(PROCESS).unwrap();
        assert_eq!(of.close_wait.latest(), count);
        let opened: u64 = history.by_pool.values().map(|of| of.opened).sum();
        assert_eq!(opened, count);
    }
}

/// What is counted of connects to one destination that end after milliseconds, with an errno, on a local port.
fn of_connects(ends: &[(u64, u32, u16)]) -> OfDestination {
    use TcpState::{Close, SynSent};
    let mut engine = Engine::new(16);
    let mut history = History::default();
    for (cookie, (after_ms, error, port)) in (1..).zip(ends) {
        let sock = SockRef::new(cookie, cookie << 12);
        let mut begin = event(1, 1, Close, SynSent);
        begin.sock = sock;
        begin.endpoints.local_port = 0;
        let mut end = event(1, 1, SynSent, Close);
        end.sock = sock;
        end.time = end.time.plus(Nanos::from_millis(*after_ms));
        end.endpoints.local_port = *port;
        if let EventData::State { error: of_end, .. } = &mut end.data {
            *of_end = *error;
        }
        engine.apply(Input::Events(&[begin, end]));
    }
    history.count(&engine);
    history.by_destination.into_values().next().unwrap_or_default()
}

#[test]
fn connects_are_counted_by_how_they_end() {
    let of = of_connects(&[
        (3_000, 113, 4_000),
        (130_000, 110, 4_001),
        (2_000, 0, 4_002),
        (1_500, 0, 4_003),
        // Another attempt was faster.
        (300, 0, 4_004),
        // The range was scanned for that long.
        (5, 0, 0),
    ]);
    let expected = OfDestination {
        connects: 6,
        timeouts: 1,
        unreachable: 1,
        error: Some(NetworkError::Host),
        cancelled: 2,
        cancelled_after: Some((Nanos::from_millis(1_500), Nanos::from_secs(2))),
        without_port: 1,
        process: of.process,
        ..OfDestination::default()
    };
    assert_eq!(of, expected);
}

#[test]
fn drops_of_a_listener_count_from_when_it_was_first_read() {
    let mut history = History::default();
    history.note_drops(&[(1, u32::MAX)]);
    assert_eq!(history.drops_at(1), 0);
    history.note_drops(&[(1, 2), (3, 4)]);
    // The third was not there before.
    let drops = [1, 2, 3].map(|cookie| history.drops_at(cookie));
    assert_eq!(drops, [3, 0, 4]);
}
