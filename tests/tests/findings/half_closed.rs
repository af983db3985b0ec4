//! Connections that are half closed for different reasons: each gets the verdict that follows from all of the kernel's
//! evidence.

use crate::leaks::{TIMEOUT, leaks};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    collections::BTreeMap,
    io::{self, IoSlice, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    process,
    time::Duration,
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    netns::Netns,
};

/// Number of connections of a kind.
const SOME: usize = 4;

/// Pairs of endpoints: the client's, the server's.
fn pairs(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let pair = |_| {
        let client = TcpStream::connect(address).expect("it listens");
        (client, listener.accept().expect("it waits").0)
    };
    (0..count).map(pair).collect()
}

/// Runs with a threshold of a second until the result is as expected: processes, the summary, the exit code.
fn look(netns: Netns, is_complete: impl Fn(&[Value], &Value) -> bool) -> (Vec<Value>, Value, Option<i32>) {
    let found = poll_until(TIMEOUT, || {
        let (lines, summary, code) = leaks(netns, &["--once", "--older-than", "1"]);
        is_complete(&lines, &summary).then_some((lines, summary, code))
    });
    found.expect("the answer is complete in time")
}

/// The only reason in the summary, of all connections.
fn waiting(netns: Netns) -> Value {
    let (lines, summary, code) = look(netns, |lines, summary| {
        !lines.is_empty() || summary["waiting"][0]["count"] == SOME
    });
    assert_eq!((lines, code), (Vec::new(), Some(0)), "{summary:#}");
    let waiting = summary["waiting"][0].clone();
    assert_eq!(waiting["pid"], process::id(), "{waiting:#}");
    assert_eq!(waiting["peer_pid"], process::id(), "{waiting:#}");
    waiting
}

/// The only leak of the program, with all connections.
fn leak(netns: Netns) -> Value {
    let (mut lines, summary, code) = look(netns, |lines, _| lines.iter().any(|line| line["leaked"] == SOME));
    assert_eq!((lines.len(), code), (1, Some(3)), "{summary:#}");
    let leak = lines.remove(0);
    assert_eq!(leak["pid"], process::id(), "{leak:#}");
    leak
}

/// Listens like a Go server: for MPTCP and for TCP clients.
pub(crate) fn an_mptcp_listener_forgets(netns: Netns) {
    let socket = |protocol| Socket::new(Domain::IPV4, Type::STREAM, Some(protocol)).expect("a socket");
    let listener = socket(Protocol::MPTCP);
    listener
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("loopback");
    listener.listen(1).expect("bound");
    let address = listener.local_addr().expect("bound");
    let forgotten: Vec<Socket> = [Protocol::MPTCP, Protocol::TCP, Protocol::MPTCP, Protocol::TCP]
        .into_iter()
        .map(|protocol| {
            socket(protocol).connect(&address).expect("it listens");
            listener.accept().expect("it waits").0
        })
        .collect();
    assert_eq!(forgotten.len(), SOME);
    let leak = leak(netns);
    assert_eq!(leak["endpoints"][0]["count"], SOME, "{leak:#}");
    let verdicts = leak["verdicts"].as_array().expect("a list");
    let counts: BTreeMap<&str, u64> = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict["verdict"].as_str()?, verdict["count"].as_u64()?)))
        .collect();
    assert_eq!(counts, [("eof-unread", 2), ("unknown", 2)].into(), "{leak:#}");
}

pub(crate) fn a_client_waits_for_a_slow_answer(netns: Netns) {
    let mut pairs = pairs(SOME);
    for (client, server) in &mut pairs {
        client.shutdown(Shutdown::Write).expect("it is connected");
        server.read_to_end(&mut Vec::new()).expect("the end");
    }
    assert_eq!(waiting(netns)["verdict"], "peer-waits");
    // After the timeout nothing waits for it.
    let servers: Vec<TcpStream> = pairs.into_iter().map(|(_, server)| server).collect();
    assert_eq!(leak(netns)["verdicts"][0]["verdict"], "read-all");
    drop(servers);
}

pub(crate) fn a_client_takes_nothing(netns: Netns) {
    let mut pairs = pairs(SOME);
    for (client, server) in &mut pairs {
        client.shutdown(Shutdown::Write).expect("it is connected");
        server.read_to_end(&mut Vec::new()).expect("the end");
        server.set_nonblocking(true).expect("a socket");
        let full = io::copy(&mut io::repeat(0), server).expect_err("the client does not read");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
    let waiting = waiting(netns);
    assert_eq!(waiting["verdict"], "window-closed");
    assert!(waiting["unsent_bytes"].as_u64() > Some(0), "{waiting:#}");
}

pub(crate) fn a_pool_closed_by_close_notify(netns: Netns) {
    let mut pairs = pairs(SOME);
    for (client, server) in &mut pairs {
        client.write_all(b"request").expect("it is connected");
        server.write_all(b"answer").expect("it is connected");
        client.read_exact(&mut [0; 6]).expect("the answer");
    }
    linger(Duration::from_millis(1_200));
    let clients: Vec<TcpStream> = pairs
        .into_iter()
        .map(|(client, mut server)| {
            server.read_exact(&mut [0; 7]).expect("the request");
            // The length of TLS's close_notify.
            server.write_all(&[0; 24]).expect("it is connected");
            client
        })
        .collect();
    let leak = leak(netns);
    assert_eq!(leak["verdicts"][0]["verdict"], "late-data-unread", "{leak:#}");
    assert_eq!(leak["sockets"][0]["unread_bytes"], 25, "{leak:#}");
    drop(clients);
}

pub(crate) fn sockets_wait_in_a_queue(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (sender, receiver) = UnixStream::pair().expect("a pair");
    for _ in 0..SOME {
        drop(TcpStream::connect(address).expect("it listens"));
        let (server, _) = listener.accept().expect("it waits");
        let files = [server.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&files)];
        let text = [IoSlice::new(b"x")];
        sendmsg::<()>(sender.as_raw_fd(), &text, &message, MsgFlags::empty(), None).expect("it is connected");
    }
    let leak = leak(netns);
    assert_eq!(leak["verdicts"][0]["verdict"], "no-holder", "{leak:#}");
    assert_eq!(leak["is_guess"], true, "{leak:#}");
    let fd = u32::try_from(receiver.as_raw_fd()).expect("a descriptor");
    let place = &leak["in_flight"];
    let is_ours = |of: &Value| of["pid"] == process::id() && of["fd"] == fd && of["files"] == SOME;
    assert!(place.as_array().expect("a list").iter().any(is_ours), "{place:#}");
}

pub(crate) fn resets_do_not_end_a_leak(netns: Netns) {
    const RESET: usize = 10;
    let pairs = pairs(RESET);
    for (client, _) in &pairs {
        client.shutdown(Shutdown::Write).expect("it is connected");
    }
    let servers: Vec<TcpStream> = pairs
        .into_iter()
        .map(|(client, server)| {
            let hasty = SockRef::from(&client);
            hasty
                .set_linger(Some(Duration::ZERO))
                .expect("a socket can linger");
            server
        })
        .collect();
    let (lines, ..) = look(netns, |lines, _| lines.iter().any(|line| line["reset"] == RESET));
    assert_eq!(lines[0]["pid"], process::id(), "{lines:#?}");
    assert_eq!(lines[0]["verdicts"][0]["verdict"], "reset", "{lines:#?}");
    drop(servers);
}
