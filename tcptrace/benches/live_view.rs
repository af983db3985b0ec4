//! What a frame of the live view costs with 200,000 connections: its content gathered, put in order and drawn. At one
//! frame a second, 50 ms are 5 % of a core.

use divan::Bencher;
use ratatui::{Terminal, backend::TestBackend};
use std::{net::Ipv4Addr, time::Duration};
use tcptrace::{
    engine::{Engine, Input},
    event::{Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task, TcpState},
    filter::Filter,
    tui::{app::App, content::Content, draw, gather::Gather, keys::Key, theme::Theme},
    view::{Context, Sort},
};

const CONNECTIONS: u32 = 200_000;

/// So long after the last event.
const NOW: Nanos = Nanos::from_secs(2_000);

fn main() {
    divan::main();
}

/// A frame of each view, by the key that opens it.
#[divan::bench(args = ['1', '2', '3', '4', '5'], sample_size = 1, sample_count = 20)]
fn frame(bencher: Bencher<'_, '_>, view: char) {
    let mut engine = engine();
    let mut gather = Gather::new(&mut engine, Nanos(0), &Filter::default());
    let mut app = App::new(
        Theme::COLOUR,
        Sort::default(),
        Duration::from_secs(1),
        String::new(),
    );
    app.press(Key::Char(view));
    let mut terminal = Terminal::new(TestBackend::new(160, 50)).expect("a test's terminal");
    let mut now = NOW;
    bencher.bench_local(|| {
        now = now.plus(Nanos::from_secs(1));
        let context = Context {
            watched: now,
            ..Context::default()
        };
        let everything = Filter::default();
        gather.frame(&mut app.content, &mut engine, now, context, &everything);
        gather.rows(&mut app, &engine, now, &everything);
        terminal
            .draw(|frame| app.areas = draw::draw(&app, frame.buffer_mut()))
            .expect("a test's terminal");
    });
    assert_eq!(
        app.content.view.counts.iter().sum::<u64>(),
        u64::from(CONNECTIONS)
    );
}

/// All rules on the same connections, which are given at most one part in a hundred of the time.
#[divan::bench(sample_size = 1, sample_count = 20)]
fn evaluate(bencher: Bencher<'_, '_>) {
    let mut engine = engine();
    let mut gather = Gather::new(&mut engine, Nanos(0), &Filter::default());
    let mut content = Content::default();
    let mut now = NOW;
    bencher.bench_local(|| {
        now = now.plus(Nanos::from_secs(1));
        gather.evaluate(&mut content, &engine, now, Vec::new());
    });
}

/// Connections of a hundred processes, one in ten of them closed by its peer.
fn engine() -> Engine {
    let mut engine = Engine::new(2 * CONNECTIONS as usize);
    for number in 0..CONNECTIONS {
        let close = number.is_multiple_of(10);
        change(&mut engine, number, TcpState::Close, TcpState::SynSent);
        change(&mut engine, number, TcpState::SynSent, TcpState::Established);
        if close {
            change(&mut engine, number, TcpState::Established, TcpState::CloseWait);
        }
    }
    engine
}

fn change(engine: &mut Engine, number: u32, old: TcpState, new: TcpState) {
    let port = 1_024 + u16::try_from(number % 60_000).expect("below 60,000");
    let remote = Ipv4Addr::from(0x0a00_0000 + number / 60_000);
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"server");
    engine.apply(Input::Events(&[Event {
        time: Nanos(1_000_000_000 + u64::from(number) * 1_000),
        sock: SockRef::new(
            u64::from(number) + 1,
            0xffff_8880_0000_0000 + (u64::from(number) << 11),
        ),
        endpoints: Endpoints::new((Ipv4Addr::new(10, 1, 0, 1).into(), port), (remote.into(), 443)),
        netns: 4_026_531_840,
        protocol: 6,
        data: EventData::State {
            old,
            new,
            error: 0,
            fin_received: new == TcpState::CloseWait,
            is_orphan: false,
            bytes: Bytes::default(),
            path: PathStats::default(),
        },
        task: (new == TcpState::SynSent).then_some(Task {
            process: ProcessKey::new(1_000 + number % 100, 1),
            comm,
            cgroup: 1,
            uid: None,
            is_kernel_thread: false,
        }),
        ..Event::default()
    }]));
}
