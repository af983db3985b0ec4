use super::*;
use crate::{
    engine::Input,
    event::{Age, Nanos, fixture},
    view::{
        Context, Sort, View, build,
        connections::{self, Selection},
    },
};

const CHECK: [u8; 16] = *b"check\0\0\0\0\0\0\0\0\0\0\0";

fn row(pid: u32, name: &[u8], held: u64) -> ProcessView {
    let mut counts = [0; TcpState::COUNT];
    counts[TcpState::TimeWait.index()] = 1;
    ProcessView {
        pid: Some(pid),
        key: Some(ProcessKey::new(pid, 1)),
        name: fixture::comm(name),
        counts,
        held,
        timewaits: 0.5,
        oldest: Some((TcpState::TimeWait, Age::Exact(Nanos::from_secs(pid.into())))),
        ..ProcessView::default()
    }
}

#[test]
fn those_of_one_name_are_one_row_and_who_holds_a_socket_has_its_own() {
    let unknown = ProcessView::default();
    let rows = vec![
        row(1, b"check", 0),
        unknown.clone(),
        row(2, b"check", 1),
        row(3, b"cron", 0),
        row(4, b"check", 0),
        unknown,
        row(5, b"check", 0),
    ];
    let merged = merge(rows);
    let who: Vec<_> = merged.iter().map(|row| (row.pid, row.others)).collect();
    assert_eq!(who, [(None, 2), (None, 0), (Some(2), 0), (Some(3), 0), (None, 0)]);
    let sum = &merged[0];
    assert_eq!((sum.key, sum.counts[TcpState::TimeWait.index()]), (None, 3));
    assert!((sum.timewaits - 1.5).abs() < 1e-9);
    assert_eq!(sum.oldest.map(|(_, age)| age.span()), Some(Nanos::from_secs(5)));
}

/// A connection of the process with this pid, that is named `check`: closed by it, or still open.
fn connect(engine: &mut Engine, pid: u32, cookie: u64, is_closed: bool) {
    let steps = [
        (TcpState::Close, TcpState::SynSent),
        (TcpState::SynSent, TcpState::Established),
        (TcpState::Established, TcpState::FinWait1),
    ];
    let process = ProcessKey::new(pid, 1);
    for step in steps.into_iter().take(if is_closed { 3 } else { 2 }) {
        let event = fixture::of_client(process, CHECK, cookie, Nanos::from_secs(1), step);
        engine.apply(Input::Events(&[event]));
    }
}

#[test]
fn the_connections_of_the_row_are_those_that_it_counts() {
    let mut engine = Engine::new(16);
    for pid in 1..=3 {
        connect(&mut engine, pid, pid.into(), true);
    }
    connect(&mut engine, 4, 4, true);
    connect(&mut engine, 4, 5, false);
    let now = Nanos::from_secs(2);
    let all = Filter::default();
    let View { processes, .. } =
        build(&engine, now, Context::default(), &all, Sort::Pid).with_left_over_merged(Sort::Pid);
    let counts: Vec<(Option<u32>, u64, u64)> = processes
        .iter()
        .map(|row| (row.pid, row.others, row.counts.iter().sum()))
        .collect();
    assert_eq!(counts, [(None, 2, 3), (Some(4), 0, 2)]);
    let mut rows = Vec::new();
    connections::gather(&mut rows, &engine, now, &all, Selection::LeftOver(CHECK));
    let mut pids: Vec<u32> = rows.iter().filter_map(|row| Some(row.owner?.key.pid)).collect();
    pids.sort_unstable();
    assert_eq!(pids, [1, 2, 3]);
}
