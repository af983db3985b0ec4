//! Servers in Java, Python and JavaScript that accept and never close: their runtimes accept in a thread of their
//! own choice, and the process is named all the same.

use crate::{
    judge::{Known, PATIENCE, Process, judge, story_until, text, whole_story},
    order::Order,
    puppet::client,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};
use tcptrace_tests::{clock::poll_until, live::Requirement, netns::Netns, sockets, state::State};

/// How many connections leak.
const LEAKED: usize = 20;

/// A language, its launcher, and its server among the programs of these tests.
pub(crate) struct Language {
    /// What is claimed of it.
    pub(crate) name: &'static str,
    /// What runs it.
    pub(crate) requirement: Requirement,
    launcher: &'static str,
    program: &'static str,
}

/// All of them.
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

/// A server that runs.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Language {
    /// Runs the server and judges what is told of its connections.
    pub(crate) fn play(&self, order: Order, netns: Netns) {
        let mut server = self.start();
        let (tracer, peers) = order.watch(|| {
            let peers: Vec<TcpStream> = (0..LEAKED).map(|_| client(server.address)).collect();
            server.wait_until_accepted(netns);
            peers
        });
        let process = Process::of(server.child.id()).expect("it runs");
        println!("{process:?}");
        let all_known: Vec<Known> = peers
            .iter()
            .map(|peer| Known {
                ends: (server.address, peer.local_addr().expect("connected")),
                netns,
                held_by: vec![process.clone()],
                listened_by: vec![process.clone()],
                closed_by: process.clone(),
            })
            .collect();
        drop(peers);
        for known in &all_known {
            let story = story_until(&tracer, known, State::CloseWait);
            story.unwrap_or_else(|told| panic!("no CLOSE_WAIT:\n{}", text(&told)));
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
        server.kill();
        for known in &all_known {
            judge(&whole_story(&tracer, known), known);
        }
        tracer.end();
    }

    fn start(&self) -> Server {
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("programs")
            .join(self.program);
        let mut child = Command::new(self.launcher)
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the launcher can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let port: u16 = line.trim_end().parse().expect("a port");
        Server {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }
}

impl Server {
    fn wait_until_accepted(&self, netns: Netns) {
        let accepted = poll_until(PATIENCE, || {
            let listed = sockets::list(netns, &["-s", "established"]);
            let accepted = listed
                .iter()
                .filter(|socket| socket.ends().0 == self.address && socket.accepted == Some(true));
            (accepted.count() == LEAKED).then_some(())
        });
        accepted.expect("the server accepts");
    }

    fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: it has ended where the test came so far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The descriptors of a process that are sockets, by its files in /proc.
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
