//! Sockets that a server leaks are counted as its own from the first frame on, and reported with their descriptors:
//! sockets in CLOSE_WAIT, and sockets that are CLOSE and still open, which `ss` cannot list.

use crate::{
    frames::{Frame, Frames},
    judge::TIMEOUT,
    order::Order,
    puppet::{Puppet, Stage, client},
};
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    netns::Netns,
    sockets::{self, Listed},
    state::State,
};

/// Number of leaked connections.
const LEAKED: usize = 500;

/// The leader listens, the worker accepts and leaks.
pub(crate) fn five_hundred_leaked_sockets_are_their_worker_s(order: Order, netns: Netns) {
    let stage = Stage::new();
    let mut leader = stage.start("leader");
    let (listener, address) = leader.listen();
    let mut worker = stage.fork(&mut leader);
    worker.ask("name worker");
    worker.send(&format!("serve {listener}"));
    let (pid, leader_pid) = (worker.pid, leader.pid);
    let is_whole = |frame: &Frame| {
        let of = |pid: u32| frame.get(&pid).map_or(0, |line| line.count("CLOSE_W"));
        of(pid) == LEAKED && of(leader_pid) == 0
    };
    let descriptors = match order {
        Order::Before => {
            let descriptors = leak(address);
            let leaked = poll_until(TIMEOUT, || {
                let leaked = sockets::list(netns, &["-s", "close-wait"]).len();
                (leaked == LEAKED).then_some(())
            });
            leaked.expect("every connection reaches CLOSE_WAIT");
            let first = Frames::of(&[pid, leader_pid]).next();
            assert!(is_whole(&first), "the first frame: {first:?}");
            assert_eq!(first[&pid].comm, "worker");
            descriptors
        }
        Order::After => {
            let mut frames = Frames::of(&[pid, leader_pid]);
            frames.next();
            let descriptors = leak(address);
            frames.until(is_whole);
            descriptors
        }
    };
    let leaked = sockets::list(netns, &["--state", "close-wait"]);
    let named: BTreeSet<i32> = leaked
        .iter()
        .map(|socket| only_descriptor(socket, &worker))
        .collect();
    assert_eq!(named, descriptors);
}

/// Connects, reads the worker's descriptor, closes.
fn leak(server: SocketAddr) -> BTreeSet<i32> {
    let connections: Vec<(TcpStream, i32)> = (0..LEAKED)
        .map(|_| {
            let peer = client(server);
            let mut word = String::new();
            BufReader::new(&peer)
                .read_line(&mut word)
                .expect("the worker answers");
            let (_, descriptor) = word.trim_end().split_once(' ').expect("two numbers");
            let descriptor = descriptor.parse().expect("a number");
            (peer, descriptor)
        })
        .collect();
    connections
        .into_iter()
        .map(|(_, descriptor)| descriptor)
        .collect()
}

/// One reset by the peer, one bound and never connected, and one neither.
pub(crate) fn closed_sockets_that_are_still_open_are_their_process_s(order: Order, netns: Netns) {
    let stage = Stage::new();
    let mut server = stage.start("server");
    let pid = server.pid;
    let open = |server: &mut Puppet| -> BTreeSet<i32> {
        let (listener, address) = server.listen();
        let peer = client(address);
        let reset = server.number(&format!("accept {listener}"));
        let peer = socket2::Socket::from(peer);
        peer.set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(peer);
        [reset, server.number("bind"), server.number("socket")].into()
    };
    let is_whole = |frame: &Frame| frame.get(&pid).is_some_and(|line| line.count("CLOSE") == 3);
    let descriptors = match order {
        Order::Before => {
            let descriptors = open(&mut server);
            let first = Frames::of(&[pid]).next();
            assert!(is_whole(&first), "the first frame: {first:?}");
            descriptors
        }
        Order::After => {
            let mut frames = Frames::of(&[pid]);
            frames.next();
            let descriptors = open(&mut server);
            frames.until(is_whole);
            descriptors
        }
    };
    let closed = sockets::list(netns, &["--state", "CLOSE"]);
    assert!(
        closed.iter().all(|socket| socket.state == State::Close),
        "{closed:?}"
    );
    let named: BTreeSet<i32> = closed
        .iter()
        .map(|socket| only_descriptor(socket, &server))
        .collect();
    assert_eq!(named, descriptors, "{closed:?}");
}

/// `exec` is no transition, and the new name is still reported.
pub(crate) fn a_name_changed_by_exec_is_reported_without_a_transition(_: Netns) {
    let stage = Stage::new();
    let mut server = stage.start("server");
    let (listener, address) = server.listen();
    let peer = client(address);
    let descriptor: i32 = server.number(&format!("accept {listener}"));
    let pid = server.pid;
    let mut frames = Frames::of(&[pid]);
    let is_called = |frame: &Frame, name: &str| frame.get(&pid).is_some_and(|line| line.comm == name);
    let first = frames.next();
    assert!(is_called(&first, "server"), "the first frame: {first:?}");
    server.ask(&format!("keep {descriptor}"));
    stage.exec(&mut server, "successor");
    let frame = frames.until(|frame| is_called(frame, "successor"));
    assert_eq!(frame[&pid].count("ESTAB"), 1, "{frame:?}");
    drop(peer);
}

fn only_descriptor(socket: &Listed, of: &Puppet) -> i32 {
    let [holder] = socket.holders.as_slice() else {
        panic!("one descriptor: {socket:?}");
    };
    assert_eq!(holder.pid, of.pid, "{socket:?}");
    let owner = socket.owner.as_ref().expect("a socket that is held has an owner");
    assert!(of.process().is(owner), "{socket:?}");
    assert_eq!(owner.evidence, "holder", "{socket:?}");
    holder.fd
}
