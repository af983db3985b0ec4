//! A process that exits or is killed leaves connections behind, which end later without anybody's doing: they are still
//! its own, also where its process id has a new process by then.

use crate::{
    judge::{Known, PATIENCE, judge, listed, story_until, text, whole_story},
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

/// In which state a connection is left, and how it comes there and on.
struct Left {
    /// The state in which it stays.
    state: State,
    /// What the process and its peer do before.
    before: fn(&mut Leaver, &TcpStream),
    /// What lets the connection end.
    after: fn(TcpStream),
    /// How the process ends.
    end: fn(Puppet),
    /// Whether it ends in TIME_WAIT, which takes longer than the test.
    ends_in_time_wait: bool,
}

/// The process that is going to end, and its socket.
struct Leaver {
    puppet: Puppet,
    descriptor: i32,
}

const LEFT: [Left; 4] = [
    // The FIN waits behind data that the peer does not read.
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

/// A process that ends with a connection in each of the states leaves it, and it goes on to its end.
pub(crate) fn what_a_process_leaves_behind_is_still_its_own(order: Order, netns: Netns) {
    let stage = Stage::new();
    let (tracer, scenes) = order.watch(|| {
        LEFT.map(|left| {
            let (leaver, peer, ends) = Leaver::connect(&stage);
            (left, leaver, peer, ends)
        })
    });
    for (left, mut leaver, peer, ends) in scenes {
        (left.before)(&mut leaver, &peer);
        let known = leaver.known(netns, ends);
        (left.end)(leaver.puppet);
        // A connection that is to be left in TIME_WAIT passes FIN_WAIT2 on the way.
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

/// The connection that the first left is told to be the first's, while the second has its process id.
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
    // So that the kernel's files, which count in hundredths of a second, tell the two apart.
    linger(Duration::from_millis(20));
    // A stranger may take the id in between, for as long as it runs.
    let second = poll_until(PATIENCE, || stage.fork_as(&mut parent, pid));
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
    // The first's connection moves on now, in nobody's context.
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

    /// Has more to send than the peer takes.
    fn fill(&mut self) {
        self.puppet.ask(&format!("fill {}", self.descriptor));
    }

    fn known(&self, netns: Netns, ends: (SocketAddr, SocketAddr)) -> Known {
        Known {
            ends,
            netns,
            held_by: vec![self.puppet.process()],
            listened_by: vec![],
            closed_by: self.puppet.process(),
        }
    }
}

fn reach(tracer: &Tracer, known: &Known, state: State) -> Vec<Event> {
    story_until(tracer, known, state).unwrap_or_else(|told| {
        panic!(
            "no {state}:\n{}\nin the kernel: {:?}\n{}",
            text(&told),
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
