//! A process that exits or is killed leaves connections behind, which end later in no process's context: they are still
//! its own, even if a new process has its id by then.

use crate::{
    judge::{Known, TIMEOUT, judge, listed, story_until, text, whole_story},
    order::Order,
    puppet::{Puppet, Stage, listener},
};
use std::{
    io::Read as _,
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    event::Event,
    netns::Netns,
    state::State,
    tracer::Tracer,
};

/// The state in which a connection is left, and the actions before and after.
struct Left {
    /// The state in which it stays.
    state: State,
    /// The actions of the process and its peer before.
    before: fn(&mut Leaver, &TcpStream),
    /// The action that ends the connection.
    after: fn(TcpStream),
    /// How the process ends.
    end: fn(Puppet),
    /// Whether it ends in TIME_WAIT, which takes longer than the test.
    ends_in_time_wait: bool,
}

/// The process that is to exit, and its socket.
struct Leaver {
    puppet: Puppet,
    descriptor: i32,
}

const LEFT: [Left; 4] = [
    // The FIN is queued behind data that the peer does not read.
    Left {
        state: State::FinWait1,
        before: |leaver, _| leaver.fill(),
        after: |peer| {
            read_all(&peer);
            drop(peer);
        },
        end: Puppet::exit,
        ends_in_time_wait: true,
    },
    Left {
        state: State::FinWait2,
        before: |_, _| {},
        after: drop,
        end: Puppet::kill,
        ends_in_time_wait: true,
    },
    Left {
        state: State::TimeWait,
        before: |_, _| {},
        after: drop,
        end: Puppet::exit,
        ends_in_time_wait: true,
    },
    Left {
        state: State::LastAck,
        before: |leaver, peer| {
            leaver.fill();
            peer.shutdown(Shutdown::Write).expect("connected");
        },
        after: |peer| read_all(&peer),
        end: Puppet::kill,
        ends_in_time_wait: false,
    },
];

/// A process exits with a connection in each of the states, and the connection continues to its end.
pub(crate) fn what_a_process_leaves_behind_is_still_its_own(order: Order, netns: Netns) {
    let stage = Stage::new();
    let (tracer, scenes) = order.watch(|| {
        LEFT.map(|left| {
            let (leaver, peer, endpoints) = Leaver::connect(&stage);
            (left, leaver, peer, endpoints)
        })
    });
    for (left, mut leaver, peer, endpoints) in scenes {
        (left.before)(&mut leaver, &peer);
        let known = leaver.known(netns, endpoints);
        (left.end)(leaver.puppet);
        // A connection that is to be left in TIME_WAIT passes FIN_WAIT2.
        let stays_in = if left.state == State::TimeWait {
            State::FinWait2
        } else {
            left.state
        };
        reach(&tracer, &known, stays_in);
        (left.after)(peer);
        if left.ends_in_time_wait {
            let story = reach(&tracer, &known, State::TimeWait);
            judge(&story, &known);
        } else {
            judge(&whole_story(&tracer, &known), &known);
        }
    }
    tracer.end();
}

/// The connection that the first process left is reported as the first one's while the second has its process id.
pub(crate) fn a_process_id_used_again_is_two_processes(order: Order, netns: Netns) {
    let stage = Stage::new();
    let (listener, server) = listener();
    let mut parent = stage.start("parent");
    let (tracer, (first, first_peer)) = order.watch(|| {
        let first = Leaver::fork_and_connect(&stage, &mut parent, server);
        (first, listener.accept().expect("it waits").0)
    });
    let first_known = first.known(netns, (end_of(&first_peer), server));
    let pid = first.puppet.pid;
    first.puppet.kill();
    parent.ask("reap");
    reach(&tracer, &first_known, State::FinWait2);
    // So that the start times in /proc, which count hundredths of a second, differ.
    linger(Duration::from_millis(20));
    // Another process may have the id for some time.
    let second = poll_until(TIMEOUT, || stage.fork_as(&mut parent, pid));
    let mut second = second.expect("the process id is free again");
    assert_eq!(second.pid, pid);
    let descriptor: i32 = second.number(&format!("connect {server}"));
    let second_peer = listener.accept().expect("it waits").0;
    let second = Leaver {
        puppet: second,
        descriptor,
    };
    let second_known = second.known(netns, (end_of(&second_peer), server));
    assert_ne!(first_known.held_by, second_known.held_by, "another start");
    // The first one's connection has its transition now, in no process's context.
    drop(first_peer);
    judge(&reach(&tracer, &first_known, State::TimeWait), &first_known);
    drop(second_peer);
    reach(&tracer, &second_known, State::CloseWait);
    second.puppet.kill();
    judge(&whole_story(&tracer, &second_known), &second_known);
    tracer.end();
}

impl Leaver {
    fn connect(stage: &Stage) -> (Self, TcpStream, (SocketAddr, SocketAddr)) {
        let (listener, server) = listener();
        let mut puppet = stage.start("leaver");
        let descriptor = puppet.number(&format!("connect {server}"));
        let (peer, its_end) = listener.accept().expect("it waits");
        (Self { puppet, descriptor }, peer, (its_end, server))
    }

    fn fork_and_connect(stage: &Stage, parent: &mut Puppet, server: SocketAddr) -> Self {
        let mut puppet = stage.fork(parent);
        let descriptor = puppet.number(&format!("connect {server}"));
        Self { puppet, descriptor }
    }

    /// Sends more than the peer's buffer holds.
    fn fill(&mut self) {
        self.puppet.ask(&format!("fill {}", self.descriptor));
    }

    fn known(&self, netns: Netns, endpoints: (SocketAddr, SocketAddr)) -> Known {
        Known {
            endpoints,
            netns,
            held_by: vec![self.puppet.process()],
            listened_by: vec![],
            closed_by: self.puppet.process(),
        }
    }
}

fn reach(tracer: &Tracer, known: &Known, state: State) -> Vec<Event> {
    story_until(tracer, known, state).unwrap_or_else(|reported| {
        panic!(
            "no {state}:\n{}\nin the kernel: {:?}\n{}",
            text(&reported),
            listed(known),
            tracer.messages()
        )
    })
}

fn end_of(peer: &TcpStream) -> SocketAddr {
    peer.peer_addr().expect("connected")
}

fn read_all(mut peer: &TcpStream) {
    peer.read_to_end(&mut Vec::new()).expect("it ends");
}
