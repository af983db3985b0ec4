use super::*;
use crate::source::namespaces;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

fn sockets(only: Option<TcpState>) -> Vec<Row> {
    let mut found = Vec::new();
    visit(namespaces::current().unwrap(), only, false, &mut |listed| {
        found.push(listed.row);
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

#[test]
fn both_families_are_read_in_one_dump_with_their_cookies() {
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let before = clock::monotonic();
    let found = sockets(None);
    for listener in [&v4, &v6] {
        let local = listener.local_addr().unwrap();
        let row = found
            .iter()
            .find(|row| row.endpoints.local_port == local.port() && row.endpoints.local() == local.ip())
            .unwrap();
        assert_eq!((row.state, row.kind), (TcpState::Listen, SockKind::Full));
        assert!(row.sock.cookie != 0 && row.inode != 0 && !row.is_orphan);
        assert!(before <= row.time && row.time <= row.read_by && row.read_by <= clock::monotonic());
    }
}

#[test]
fn only_the_states_asked_for_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = client.local_addr().unwrap().port();
    let has = |rows: &[Row], port| rows.iter().any(|row| row.endpoints.local_port == port);
    let open = sockets(Some(TcpState::Established));
    assert!(has(&open, port) && open.iter().all(|row| row.state == TcpState::Established));
    assert!(
        open.iter()
            .find(|row| row.endpoints.local_port == port)
            .unwrap()
            .idle
            .is_some()
    );
    assert!(!has(&sockets(Some(TcpState::TimeWait)), port));
}

#[test]
fn one_socket_is_found_by_its_ends_and_cookie_and_by_no_other() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let endpoints = Endpoints::new((near.ip(), near.port()), (far.ip(), far.port()));
        let mut finder = Finder::new(namespaces::current().unwrap()).unwrap();
        let Listed { row: found, network } = finder.find(&endpoints, 0).unwrap().unwrap();
        assert!(network.rtt_us.is_some() && network.timer.is_some() && network.drops == Some(0));
        assert_eq!((found.endpoints, found.state), (endpoints, TcpState::Established));
        let cookie = found.sock.cookie;
        assert_eq!(
            finder.find(&endpoints, cookie).unwrap().unwrap().row.sock.cookie,
            cookie
        );
        assert!(finder.find(&endpoints, cookie + 1).unwrap().is_none());
        let nobody = Endpoints::new((near.ip(), near.port()), (far.ip(), 1));
        assert!(finder.find(&nobody, 0).unwrap().is_none());
    }
}

/// Such data acknowledges nothing that the client has not heard of before.
#[test]
fn data_of_the_peer_is_heard_although_it_acknowledges_nothing_new() {
    const QUIET: Nanos = Nanos::from_millis(500);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let endpoints = Endpoints::new((near.ip(), near.port()), (far.ip(), far.port()));
    let mut finder = Finder::new(namespaces::current().unwrap()).unwrap();
    let mut idle = || finder.find(&endpoints, 0).unwrap().unwrap().row.idle.unwrap();
    while idle() < QUIET {
        thread::yield_now();
    }
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(idle() < QUIET);
}

#[test]
fn a_request_is_as_old_as_the_timeouts_that_have_passed() {
    let age = request_age;
    assert_eq!(age(0, Nanos::from_millis(300)), Nanos::from_millis(700));
    assert_eq!(age(2, Nanos::from_millis(3_000)), Nanos::from_millis(4_000));
    // Measured 2.2 s after the first SYN, which the client had repeated three times: the first timeout still runs.
    assert_eq!(age(3, Nanos::from_millis(396)), Nanos::from_millis(604));
    assert_eq!(age(3, Nanos::from_millis(1_500)), Nanos::from_millis(1_500));
    // A deferred one waits longer than its SYN-ACKs suggest.
    assert_eq!(age(0, Nanos::from_secs(8)), Nanos(0));
}

#[test]
fn an_answer_that_is_cut_short_is_an_error() {
    assert!(Message::new(&[0; 40]).is_err());
}
