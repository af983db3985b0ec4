//! A second connection after the first: with the same endpoints, or with the same socket.

use crate::{
    closes::closed_first,
    script::{Case, HOLD, PEER_PORT, Script, Session},
};
use socket2::SockAddr;
use std::{net::SocketAddr, rc::Rc, time::Duration};
use tcptrace_tests::{
    clock::{Moment, linger, poll_until},
    host,
    peer::Flags,
    state::State,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_syn_reuses_time_wait", reuse_by_syn),
    Case::new("a_connect_reuses_time_wait", reuse_by_connect).with(&[("ipv4/tcp_tw_reuse", "1")]),
    Case::new("a_disconnected_socket_connects_again", disconnect_and_connect),
];

fn reuse_by_syn(script: &mut Script) -> Vec<Session> {
    let first = script.accepted().named("first");
    let mut first = closed_first(first, HOLD);
    linger(HOLD);
    let mut wire = script.conversation();
    // Beyond all sequence numbers of the first connection, so that the kernel accepts it as a new one.
    wire.send_next = first.wire.send_next.wrapping_add(100_000);
    let mut second = Session::of_peer(wire).named("second");
    second.send(Flags::SYN);
    first.ended_at(second.last, "timewait-reused");
    second.now(State::SynRecv);
    second.expect(Flags::SYN_ACK);
    linger(HOLD);
    second.send(Flags::ACK);
    second.now(State::Established);
    script.accept(&mut second);
    vec![first, second]
}

fn reuse_by_connect(script: &mut Script) -> Vec<Session> {
    let mut first = script.connecting(|_| ()).named("first");
    first.wire.use_timestamps();
    first.complete_connect();
    let local = first.wire.there();
    let mut first = closed_first(first, HOLD);

    let remote = SocketAddr::new(script.family.peer(), PEER_PORT);
    // The kernel allows the endpoints to be reused when the last timestamp is more than a second old.
    let (socket, moment) = poll_until(Duration::from_secs(10), || {
        let socket = host::socket(remote).expect("a socket");
        socket.bind(&SockAddr::from(local)).ok()?;
        let (result, moment) = Moment::of(|| host::connect(&socket, remote));
        result.ok().map(|()| (socket, moment))
    })
    .expect("the kernel lets a connect reuse TIME_WAIT");
    first.ended_at(moment, "timewait-reused");
    let mut second = Session::of_connect_at(&script.peer, Rc::new(socket), remote, moment).named("second");
    second.wire.use_timestamps();
    second.complete_connect();
    vec![first, second]
}

fn disconnect_and_connect(script: &mut Script) -> Vec<Session> {
    let mut first = script.connected().named("first");
    linger(HOLD);
    let (result, moment) = Moment::of(|| host::disconnect(first.socket()));
    result.expect("a connected socket can be disconnected");
    first.last = moment;
    first.wire.expect_reset();
    first.ended(Some("reset-sent"));
    linger(HOLD);
    let socket = first.socket.take().expect("the case holds the socket");
    let remote = SocketAddr::new(script.family.peer(), PEER_PORT + 1);
    let mut second = Session::of_connect(&script.peer, socket, remote).named("second");
    second.complete_connect();
    vec![first, closed_first(second, HOLD)]
}
