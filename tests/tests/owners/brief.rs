//! Hundreds of processes that run for a few milliseconds: each owns the connection that it opened.

use crate::{
    judge::{Known, Process, judge, story_until, text},
    puppet::{Stage, listener},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{self, Child},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{clock::linger, netns::Netns, shared, state::State};

/// Processes per second.
const RATE: u32 = 200;
/// Number of processes.
const COUNT: u32 = 600;
/// Set in a process that only reports itself: the address to connect to.
pub(crate) const ADDRESS: &str = "TCPTRACE_TEST_ADDRESS";

/// The short-lived process: connects, reports itself, closes and exits.
pub(crate) fn live_briefly(address: &str) {
    let this = Process::of(process::id()).expect("it runs");
    let address: SocketAddr = address.parse().expect("an address");
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection
        .write_all(this.to_line().as_bytes())
        .expect("connected");
}

/// Each process is identified by the line that it sends on its connection.
pub(crate) fn six_hundred_brief_processes_own_what_they_connect(netns: Netns) {
    // On loopback the kernel would reuse the port of a TIME_WAIT after a second.
    netns
        .set("ipv4/tcp_tw_reuse", "0")
        .expect("a namespace takes its sysctls");
    let tracer = shared::tracer();
    let stage = Stage::new();
    let (listener, address) = listener();
    let server = thread::spawn(move || {
        let mut heard = Vec::new();
        for _ in 0..COUNT {
            let (mut connection, client) = listener.accept().expect("a client connects");
            let mut output = String::new();
            connection.read_to_string(&mut output).expect("text");
            heard.push((client, output));
        }
        heard
    });
    let begun = Instant::now();
    let mut children: Vec<Child> = Vec::new();
    for number in 0..COUNT {
        children.push(stage.spawn_brief("brief", address));
        // Reap the processes that have exited, so that their ids can be reused.
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let due = Duration::from_secs(1) * number / RATE;
        linger(due.saturating_sub(begun.elapsed()));
    }
    println!("{COUNT} processes in {:?}", begun.elapsed());
    for mut child in children {
        child.wait().expect("our own child");
    }
    let heard = server.join().expect("the server only listens");
    for (client, output) in heard {
        let process = Process::from_line(&output).unwrap_or_else(|| panic!("no process: {output:?}"));
        let known = Known {
            endpoints: (client, address),
            netns,
            held_by: vec![process.clone()],
            listened_by: vec![],
            closed_by: process,
        };
        let story = story_until(tracer, &known, State::TimeWait);
        let story = story.unwrap_or_else(|reported| panic!("no TIME_WAIT of {output}:\n{}", text(&reported)));
        judge(&story, &known);
    }
}
