use super::*;
use crate::{
    engine::Input,
    event::{
        Event, ProcessKey,
        TcpState::{self, Close, CloseWait, Established, SynSent},
        fixture,
    },
    filter::Pinned,
    view::{Context, Sort, View, build},
};

const SECOND: Nanos = Nanos::from_secs(1);

/// A client of process 1 in namespace 1 and one of process 2 in namespace 2: both connect in second 2, and are closed
/// by their peers in second 3.
fn engine(filter: &Filter) -> Engine {
    let mut engine = Engine::new(16);
    engine.stats.begin_frames(SECOND);
    engine.select(filter, SECOND);
    let steps = [
        (2_000, Close, SynSent),
        (2_001, SynSent, Established),
        (3_000, Established, CloseWait),
    ];
    for (millis, old, new) in steps {
        for number in [1, 2] {
            engine.apply(Input::Events(&[event(
                number,
                Nanos::from_millis(millis),
                old,
                new,
            )]));
        }
    }
    engine.count_selected();
    engine.finish_batch();
    engine
}

fn event(number: u32, time: Nanos, old: TcpState, new: TcpState) -> Event {
    let (process, comm) = (ProcessKey::new(number, 1), fixture::comm("client"));
    Event {
        netns: number,
        ..fixture::of_client(process, comm, number.into(), time, (old, new))
    }
}

fn view(engine: &Engine, now: Nanos, filter: &Filter) -> View {
    build(engine, now, Context::default(), filter, Sort::Pid)
}

fn by_netns(netns: u32) -> Filter {
    Filter {
        netns: vec![netns],
        ..Filter::default()
    }
}

#[test]
fn rates_and_dwells_are_of_what_the_filter_lets_pass() {
    let pid = Filter {
        pids: vec![Pinned { pid: 2, start: None }],
        ..Filter::default()
    };
    let closed = Filter {
        states: vec![Close],
        ..Filter::default()
    };
    let nobody = by_netns(3);
    let close_waits = Filter {
        states: vec![CloseWait],
        ..Filter::default()
    };
    for (filter, changes, dwells) in [
        (Filter::default(), 6, 2),
        (by_netns(1), 3, 1),
        (pid, 3, 1),
        (close_waits, 2, 2),
        (closed, 0, 0),
        (nobody, 0, 0),
    ] {
        let engine = engine(&filter);
        let view = view(&engine, Nanos::from_secs(5), &filter);
        assert_eq!(view.rate, Some(f64::from(changes) / 4.0), "{filter:?}");
        let of_processes: f64 = view.processes.iter().map(|row| row.rate).sum();
        assert_eq!(Some(of_processes), view.rate);
        assert_eq!(engine.shown().changes(), u64::try_from(changes).unwrap());
        let established = engine
            .shown()
            .dwells()
            .find(|(state, _)| *state == Established)
            .map_or(0, |(_, histogram)| histogram.len());
        assert_eq!(established, dwells, "{filter:?}");
    }
}

#[test]
fn rates_are_over_the_time_that_they_cover() {
    for filter in [Filter::default(), by_netns(1)] {
        let mut engine = Engine::new(16);
        engine.stats.begin_frames(SECOND);
        engine.select(&filter, SECOND);
        // Waited in the kernel's buffer while the table was read.
        for number in [1, 2] {
            engine.apply(Input::Events(&[event(
                number,
                Nanos::from_millis(500),
                Close,
                SynSent,
            )]));
        }
        engine.count_selected();
        assert_eq!(view(&engine, Nanos::from_millis(1_050), &filter).rate, None);
        assert_eq!(view(&engine, Nanos::from_millis(1_500), &filter).rate, Some(0.0));
        assert!(engine.shown().changes() > 0);
        engine.apply(Input::Events(&[event(
            1,
            Nanos::from_millis(1_600),
            SynSent,
            Established,
        )]));
        engine.count_selected();
        let counted = engine.shown().changes();
        engine.count_selected();
        assert_eq!(engine.shown().changes(), counted);
        assert_eq!(view(&engine, Nanos::from_millis(3_000), &filter).rate, Some(0.5));
    }
}

#[test]
fn another_filter_begins_anew() {
    let mut engine = engine(&by_netns(1));
    let now = Nanos::from_secs(5);
    engine.select(&by_netns(2), now);
    assert_eq!(engine.shown().changes(), 0);
    engine.select(&Filter::default(), now);
    assert_eq!(engine.shown().changes(), 6);
}
