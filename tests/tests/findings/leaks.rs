//! Programs that do not close their sockets: each is reported, with the verdict on every socket, its descriptors and
//! its growth.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{self, Command},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    command::{self, tcptrace},
    files,
    live::Requirement,
    netns::Netns,
    program::{self, Program},
};

/// Number of leaked connections.
const LEAKED: usize = 12;
/// A virtual machine may take a while to start.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(40);

/// A server that leaks sockets.
pub(crate) struct Forgetful {
    pub(crate) name: &'static str,
    /// The program that it needs.
    pub(crate) requirement: Requirement,
    launcher: &'static str,
    program: &'static str,
    /// The program's argument: how it leaks.
    mode: &'static str,
    /// What each peer sends before it closes.
    request: &'static [u8],
    /// The expected verdict on each socket.
    verdict: &'static str,
}

const PYTHON: Forgetful = Forgetful {
    name: "a_python_server_that_reads_all_and_never_closes",
    requirement: Requirement::Python,
    launcher: "python3",
    program: "forget.py",
    mode: "read-all",
    request: b"request",
    verdict: "read-all",
};

const JAVA: Forgetful = Forgetful {
    name: "a_java_server_that_reads_all_and_never_closes",
    requirement: Requirement::Java,
    launcher: "java",
    program: "Forget.java",
    ..PYTHON
};

pub(crate) const FORGETFUL: [Forgetful; 5] = [
    PYTHON,
    Forgetful {
        name: "a_python_server_that_never_reads",
        mode: "end-unread",
        request: b"",
        verdict: "eof-unread",
        ..PYTHON
    },
    Forgetful {
        name: "a_python_thread_blocked_while_peers_leave",
        mode: "blocked",
        verdict: "data-unread",
        ..PYTHON
    },
    JAVA,
    Forgetful {
        name: "a_java_server_that_never_reads",
        mode: "end-unread",
        request: b"",
        verdict: "eof-unread",
        ..JAVA
    },
];

fn start(launcher: &str, name: &str, arguments: &[&str]) -> Program {
    Program::start(Command::new(launcher).arg(program::source(name)).args(arguments))
}

/// The lines of `leaks --json` about processes, the summary, and the exit code.
pub(crate) fn leaks(netns: Netns, arguments: &[&str]) -> (Vec<Value>, Value, Option<i32>) {
    let inode = netns.inode.to_string();
    let arguments = [&["leaks", "--json", "--netns", &inode], arguments].concat();
    let output = command::run(tcptrace(&arguments));
    let mut lines: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let mut last = lines.pop().unwrap_or_else(|| panic!("no line:\n{}", output.err));
    assert!(last.get("summary").is_some(), "{last}");
    (lines, last["summary"].take(), output.code)
}

/// All sockets of the process have the verdict, and a descriptor that the process really has.
fn check(netns: Netns, pid: u32, verdict: &str) {
    let found = poll_until(TIMEOUT, || {
        let (lines, _, code) = leaks(netns, &["--once", "--older-than", "1"]);
        let line = lines.into_iter().next()?;
        assert_eq!(code, Some(3), "{line:#}");
        (line["leaked"] == LEAKED).then_some(line)
    });
    let leak = found.expect("every connection is found");
    assert_eq!(leak["pid"], pid, "{leak:#}");
    for socket in leak["sockets"].as_array().expect("a list") {
        assert_eq!(socket["verdict"], verdict, "{leak:#}");
        let fd = socket["fds"][0].as_u64().expect("a descriptor");
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("the process has it");
        assert!(
            link.to_string_lossy().starts_with("socket:"),
            "{}",
            link.display()
        );
    }
    let (lines, _, code) = leaks(netns, &["--once", "--older-than", "3600"]);
    assert_eq!((lines, code), (Vec::new(), Some(0)));
}

/// The peers of a server send something and close.
pub(crate) fn verdict_of(server: &Forgetful, netns: Netns) {
    let running = start(server.launcher, server.program, &[server.mode]);
    for _ in 0..LEAKED {
        let mut peer = TcpStream::connect(("127.0.0.1", running.ports[0])).expect("it listens");
        peer.write_all(server.request).expect("it is connected");
    }
    check(netns, running.pid(), server.verdict);
}

/// The server of a client closes.
pub(crate) fn a_pool_keeps_stale_connections(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port().to_string();
    let pool = thread::scope(|scope| {
        let pool = scope.spawn(|| start("python3", "forget.py", &["pool", &port]));
        for _ in 0..LEAKED {
            drop(listener.accept().expect("the pool connects"));
        }
        pool.join().expect("it starts")
    });
    check(netns, pool.pid(), "eof-unread");
}

/// One connection every 50 ms is leaked: in a watch of ten seconds, which counts them.
pub(crate) fn growth_and_exhaustion_are_predicted(netns: Netns) {
    const EVERY: Duration = Duration::from_millis(50);
    files::allow(8192).expect("this user may open many files");
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has one");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let is_done = AtomicBool::new(false);
    let (leak, per_minute) = thread::scope(|scope| {
        let leaking = scope.spawn(|| {
            let begun = Instant::now();
            let mut kept = Vec::new();
            while !is_done.load(Ordering::Relaxed) {
                drop(TcpStream::connect(address).expect("it listens"));
                kept.push(listener.accept().expect("a connection waits").0);
                linger(EVERY);
            }
            let minutes = begun.elapsed().as_secs_f64() / 60.0;
            f64::from(u32::try_from(kept.len()).expect("few")) / minutes
        });
        let (lines, _, code) = leaks(netns, &["--duration", "12", "--older-than", "5"]);
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(code, Some(3));
        let [leak] = lines.as_slice() else {
            panic!("one process: {lines:#?}");
        };
        (leak.clone(), leaking.join().expect("it only connects"))
    });
    assert_eq!(leak["pid"], process::id(), "{leak:#}");
    let reported = leak["growth_per_minute"].as_f64().expect("it grows");
    println!("growth {reported:.1} a minute, actually {per_minute:.1}; {leak}");
    assert!(
        (reported / per_minute - 1.0).abs() < 0.2,
        "{reported} instead of {per_minute}"
    );
    let used = leak["descriptors"].as_f64().expect("they are counted");
    assert_eq!(leak["descriptor_limit"], limit);
    let left = leak["exhausted_in_ns"].as_f64().expect("it will end") / 6e10;
    let in_truth = (leak["descriptor_limit"].as_f64().expect("a number") - used) / per_minute;
    assert!(
        (left / in_truth - 1.0).abs() < 0.2,
        "{left} min and not {in_truth}"
    );
}
