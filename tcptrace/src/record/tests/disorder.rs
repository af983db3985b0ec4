//! Events in another order than they happened in.

use super::*;
use crate::{event::fixture::transition, socket::snapshot::Snapshot};

/// A snapshot has shown the request with the cookie of its child, and the child's handshake is reported after its end.
#[test]
fn a_handshake_that_is_reported_after_the_end_is_replayed_as_it_was_live() {
    const COOKIE: u64 = 109;
    let mut live = Live::new(1_000);
    let started = Nanos::from_secs(2);
    let ends = endpoints("10.9.9.9:80", "10.0.0.9:4000");
    let event = |cookie: u64, micros: u64, old: TcpState, new: TcpState| Event {
        time: started.plus(Nanos(micros * 1_000)),
        sock: SockRef::new(cookie, 0xffff_8880_0001_d000),
        endpoints: ends,
        netns: 1,
        protocol: 6,
        data: transition(old, new),
        ..Event::default()
    };
    let sock = SockRef::new(COOKIE, 0);
    let request = Row::bare(started, sock, ends, 1, SockKind::Request, TcpState::SynRecv);
    let snapshot = Snapshot {
        started,
        rows: vec![request],
        covered: [1].into(),
        ..Snapshot::default()
    };
    live.apply(Input::Snapshot(&snapshot, &[]));
    live.drain(&[
        event(0, 1, TcpState::Listen, TcpState::SynRecv),
        event(COOKIE, 6, TcpState::Established, TcpState::CloseWait),
        event(COOKIE, 12, TcpState::CloseWait, TcpState::LastAck),
        event(COOKIE, 13, TcpState::LastAck, TcpState::Close),
        event(COOKIE, 2, TcpState::SynRecv, TcpState::Established),
    ]);
    live.apply(Input::Stop(Nanos::from_secs(3)));
    live.finish();
    let (entries, reader) = read(live.file(100).concat()).expect("it was written");
    let replay = replayed(&reader.origin, &entries);
    assert_eq!(
        report_of(&reader.origin, &replay.engine, &replay.run_stats),
        live.report()
    );
}
