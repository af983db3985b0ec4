use super::*;
use crate::engine::Input;
use crate::event::{Event, fixture};

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
