//! Sockets that no process holds: those in accept queues, direct descriptors of an io_uring, and the kernel's own.

use crate::{
    judge::{Known, Process, TIMEOUT, listed, story_until, text, whole_story},
    order::Order,
    puppet::{Stage, client},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{self, Command},
};
use tcptrace_tests::{clock::poll_until, event::Event, netns::Netns, sockets, state::State};

/// The listener's owner is responsible, and is reported as a guess.
pub(crate) fn a_socket_in_the_accept_queue_is_the_listener_s(order: Order, netns: Netns) {
    let stage = Stage::new();
    let mut server = stage.start("server");
    let (listener, address) = server.listen();
    let (tracer, peer) = order.watch(|| client(address));
    let known = of_server(netns, &peer, server.process());
    let queued = listed(&known).expect("an open connection is listed");
    assert_eq!(queued.accepted, Some(false), "{queued:?}");
    assert!(queued.holders.is_empty(), "{queued:?}");
    let owner = queued.owner.as_ref().expect("its listener has an owner");
    assert!(server.process().is(owner), "{queued:?}");
    assert_eq!(owner.evidence, "listener", "{queued:?}");
    drop(peer);
    let story = story_until(&tracer, &known, State::CloseWait);
    let story = story.unwrap_or_else(|reported| panic!("no CLOSE_WAIT:\n{}", text(&reported)));
    assert!(
        story.iter().all(|event| evidence(event) == "listener"),
        "nobody has accepted it:\n{}",
        text(&story)
    );
    // Sockets in the accept queue are closed with the listener.
    server.ask(&format!("close {listener}"));
    let story = whole_story(&tracer, &known);
    let is_the_server_s = |event: &Event| {
        event
            .owner
            .as_ref()
            .is_some_and(|owner| known.closed_by.is(owner))
    };
    assert!(story.iter().all(is_the_server_s), "{}", text(&story));
    tracer.end();
}

/// It has no descriptor: no holder can be found until its process closes it.
pub(crate) fn a_direct_descriptor_of_an_io_uring_is_a_guess_until_it_is_closed(order: Order, netns: Netns) {
    let stage = Stage::new();
    let (tracer, (mut leader, mut worker, peer, slot)) = order.watch(|| {
        let mut leader = stage.start("leader");
        let (listener, address) = leader.listen();
        let mut worker = stage.fork(&mut leader);
        let peer = client(address);
        let slot: u32 = worker.number(&format!("ring-accept-direct {listener}"));
        (leader, worker, peer, slot)
    });
    let known = of_server(netns, &peer, worker.process());
    let socket = listed(&known).expect("an open connection is listed");
    assert_eq!(socket.accepted, Some(true), "{socket:?}");
    assert!(socket.holders.is_empty(), "{socket:?}");
    drop(peer);
    let story = story_until(&tracer, &known, State::CloseWait);
    let story = story.unwrap_or_else(|reported| panic!("no CLOSE_WAIT:\n{}", text(&reported)));
    let is_one = |event: &Event, evidences: &[&str], processes: &[&Process]| {
        event.owner.as_ref().is_none_or(|owner| {
            evidences.contains(&owner.evidence.as_str()) && processes.iter().any(|process| process.is(owner))
        })
    };
    let (leading, working) = (leader.process(), worker.process());
    for event in &story {
        assert!(
            is_one(event, &["listener"], &[&leading, &working]) || is_one(event, &["accept"], &[&working]),
            "{event}\n{}",
            text(&story)
        );
    }
    worker.ask(&format!("ring-close {slot}"));
    let story = whole_story(&tracer, &known);
    let last = story.last().expect("it has ended");
    let owner = last.owner.as_ref().expect("its listener's owner at least");
    // On Linux 6.1 a kernel worker closes direct descriptors, which proves nothing.
    assert!(
        working.is(owner) || (owner.evidence == "listener" && leading.is(owner)),
        "{}",
        text(&story)
    );
    leader.ask("name leader");
    tracer.end();
}

/// The kernel makes a TCP socket for each path of an MPTCP socket: its owner is the program with the MPTCP socket.
pub(crate) fn the_path_of_an_mptcp_socket_is_the_program_s(order: Order, netns: Netns) {
    let (tracer, (listener, one, other)) = order.watch(|| {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mptcp = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).expect("a socket");
        let listener = mptcp();
        listener.bind(&any.into()).expect("loopback");
        listener.listen(1).expect("bound");
        let one = mptcp();
        one.connect(&listener.local_addr().expect("bound"))
            .expect("it listens");
        let (other, _) = listener.accept().expect("it waits");
        (listener, one, other)
    });
    let paths = sockets::list(netns, &[]);
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in &paths {
        let holders: Vec<u32> = path.holders.iter().map(|holder| holder.pid).collect();
        assert!(!path.kernel && holders == [process::id()], "{path:?}");
    }
    drop((one, other));
    let ended = tracer.wait_until(netns, TIMEOUT, |events| {
        let ended = events.iter().filter(|event| {
            event.new == State::TimeWait || (event.old == State::LastAck && event.new == State::Close)
        });
        (ended.count() >= 2).then(|| events.to_vec())
    });
    let story = ended.unwrap_or_else(|| panic!("no end of both:\n{}", text(&tracer.events(netns))));
    for event in &story {
        assert!(!event.kernel, "{event}\n{}", text(&story));
        let is_another_s = event
            .owner
            .as_ref()
            .is_some_and(|owner| owner.pid != process::id());
        assert!(!is_another_s, "{event}\n{}", text(&story));
    }
    drop(listener);
    tracer.end();
}

/// The kernel's path manager listens by itself if an endpoint has its own port.
pub(crate) fn a_listener_of_the_kernel_is_reported_as_the_kernel_s(order: Order, netns: Netns) {
    const PORT: u16 = 4711;
    let (tracer, ()) = order.watch(|| {
        let port = PORT.to_string();
        let output = Command::new("ip")
            .args(["mptcp", "endpoint", "add", "127.0.0.1", "port", &port, "signal"])
            .output()
            .expect("ip can be started");
        assert!(output.status.success(), "{output:?}");
    });
    let listeners = poll_until(TIMEOUT, || {
        let listeners = sockets::list(netns, &["-s", "listen", "-L", "4711"]);
        (!listeners.is_empty()).then_some(listeners)
    });
    let listeners = listeners.expect("the kernel listens");
    for listener in &listeners {
        assert!(
            listener.kernel && listener.owner.is_none() && listener.holders.is_empty(),
            "{listener:?}"
        );
    }
    if order == Order::After {
        let reported = tracer.wait_until(netns, TIMEOUT, |events| {
            events.iter().find(|event| event.new == State::Listen).cloned()
        });
        let reported = reported.expect("the listener is reported");
        assert!(reported.kernel, "{reported}");
    }
    tracer.end();
}

fn of_server(netns: Netns, peer: &TcpStream, server: Process) -> Known {
    Known {
        endpoints: (
            peer.peer_addr().expect("connected"),
            peer.local_addr().expect("connected"),
        ),
        netns,
        held_by: vec![],
        listened_by: vec![server.clone()],
        closed_by: server,
    }
}

fn evidence(event: &Event) -> &str {
    event.owner.as_ref().map_or("none", |owner| &owner.evidence)
}
