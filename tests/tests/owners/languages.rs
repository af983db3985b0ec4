//! Servers in Java, Python and JavaScript that accept and never close: their runtimes accept in any of their threads,
//! and the process is reported as the owner.

use crate::{
    judge::{Known, Process, TIMEOUT, judge, story_until, text, whole_story},
    order::Order,
    puppet::client,
};
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
};
use tcptrace_tests::{
    clock::poll_until,
    live::Requirement,
    netns::Netns,
    program::{self, Program},
    sockets,
    state::State,
};

/// Number of leaked connections.
const LEAKED: usize = 20;

/// A language, its launcher, and its server in `tests/programs`.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    /// The program that it needs.
    pub(crate) requirement: Requirement,
    launcher: &'static str,
    program: &'static str,
}

pub(crate) const LANGUAGES: [Language; 3] = [
    Language {
        name: "a_java_server_owns_what_it_leaks",
        requirement: Requirement::Java,
        launcher: "java",
        program: "Leak.java",
    },
    Language {
        name: "a_python_server_owns_what_it_leaks",
        requirement: Requirement::Python,
        launcher: "python3",
        program: "leak.py",
    },
    Language {
        name: "a_node_server_owns_what_it_leaks",
        requirement: Requirement::Node,
        launcher: "node",
        program: "leak.mjs",
    },
];

/// A running server.
struct Server {
    program: Program,
    address: SocketAddr,
}

impl Language {
    /// Runs the server and checks what is reported of its connections.
    pub(crate) fn play(&self, order: Order, netns: Netns) {
        let server = self.start();
        let (tracer, peers) = order.watch(|| {
            let peers: Vec<TcpStream> = (0..LEAKED).map(|_| client(server.address)).collect();
            server.wait_until_accepted(netns);
            peers
        });
        let process = Process::of(server.program.pid()).expect("it runs");
        println!("{process:?}");
        let all_known: Vec<Known> = peers
            .iter()
            .map(|peer| Known {
                endpoints: (server.address, peer.local_addr().expect("connected")),
                netns,
                held_by: vec![process.clone()],
                listened_by: vec![process.clone()],
                closed_by: process.clone(),
            })
            .collect();
        drop(peers);
        for known in &all_known {
            let story = story_until(&tracer, known, State::CloseWait);
            story.unwrap_or_else(|reported| panic!("no CLOSE_WAIT:\n{}", text(&reported)));
        }
        let leaked = sockets::list(netns, &["--state", "close-wait"]);
        assert_eq!(leaked.len(), LEAKED);
        let mut descriptors = BTreeSet::new();
        for socket in &leaked {
            let owner = socket.owner.as_ref().expect("a socket that is held has an owner");
            assert!(process.is(owner) && owner.evidence == "holder", "{socket:?}");
            for holder in &socket.holders {
                assert_eq!(holder.pid, process.pid, "{socket:?}");
                descriptors.insert(holder.fd);
            }
        }
        assert_eq!(descriptors.len(), LEAKED, "one descriptor each");
        assert!(descriptors.is_subset(&sockets_of(process.pid)));
        drop(server);
        for known in &all_known {
            judge(&whole_story(&tracer, known), known);
        }
        tracer.end();
    }

    fn start(&self) -> Server {
        let program = Program::start(Command::new(self.launcher).arg(program::source(self.program)));
        let address = ([127, 0, 0, 1], program.ports[0]).into();
        Server { program, address }
    }
}

impl Server {
    fn wait_until_accepted(&self, netns: Netns) {
        let accepted = poll_until(TIMEOUT, || {
            let listed = sockets::list(netns, &["-s", "established"]);
            let accepted = listed
                .iter()
                .filter(|socket| socket.endpoints().0 == self.address && socket.accepted == Some(true));
            (accepted.count() == LEAKED).then_some(())
        });
        accepted.expect("the server accepts");
    }
}

/// The descriptors of a process that are sockets, from /proc.
fn sockets_of(pid: u32) -> BTreeSet<i32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    descriptors
        .filter_map(|descriptor| {
            let descriptor = descriptor.ok()?;
            let target = fs::read_link(descriptor.path()).ok()?;
            target.to_str()?.strip_prefix("socket:")?;
            descriptor.file_name().to_str()?.parse().ok()
        })
        .collect()
}
