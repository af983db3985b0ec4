//! Programs that forget to close: each is named, with the verdict on every socket, its descriptors and its growth.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{self, Child, Command, Stdio},
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
};

/// How many connections leak.
const LEAKED: usize = 12;
/// A virtual machine may take a while to start.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that forgets to close.
pub(crate) struct Forgetful {
    /// What is claimed of it.
    pub(crate) name: &'static str,
    /// What runs it.
    pub(crate) requirement: Requirement,
    launcher: &'static str,
    program: &'static str,
    /// How it forgets: the program's argument.
    way: &'static str,
    /// What each peer sends before it leaves.
    request: &'static [u8],
    /// What is to be said of each socket.
    verdict: &'static str,
}

const PYTHON: Forgetful = Forgetful {
    name: "a_python_server_that_reads_all_and_never_closes",
    requirement: Requirement::Python,
    launcher: "python3",
    program: "forget.py",
    way: "read-all",
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

/// All of them.
pub(crate) const FORGETFUL: [Forgetful; 5] = [
    PYTHON,
    Forgetful {
        name: "a_python_server_that_never_reads",
        way: "end-unread",
        request: b"",
        verdict: "end-unread",
        ..PYTHON
    },
    Forgetful {
        name: "a_python_thread_blocked_while_peers_leave",
        way: "blocked",
        verdict: "data-unread",
        ..PYTHON
    },
    JAVA,
    Forgetful {
        name: "a_java_server_that_never_reads",
        way: "end-unread",
        request: b"",
        verdict: "end-unread",
        ..JAVA
    },
];

/// A program that runs.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(launcher: &str, program: &str, arguments: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("programs")
            .join(program);
        let mut child = Command::new(launcher)
            .arg(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the launcher can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let port = line.trim_end().parse().expect("a port");
        Self { child, port }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Best effort: it may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines about processes, and the exit code.
fn leaks(netns: Netns, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let inode = netns.inode.to_string();
    let arguments = [&["leaks", "--json", "--netns", &inode], arguments].concat();
    let said = command::run(tcptrace(&arguments));
    let mut lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last = lines.pop().unwrap_or_else(|| panic!("no line:\n{}", said.err));
    assert!(last.get("summary").is_some(), "{last}");
    (lines, said.code)
}

/// All sockets of the process have the verdict, and a descriptor that the process really has.
fn judge(netns: Netns, pid: u32, verdict: &str) {
    let found = poll_until(PATIENCE, || {
        let (lines, code) = leaks(netns, &["--once", "--older-than", "1"]);
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
    let (lines, code) = leaks(netns, &["--once", "--older-than", "3600"]);
    assert_eq!((lines, code), (Vec::new(), Some(0)));
}

/// A server's peers say something and leave.
pub(crate) fn verdict_of(server: &Forgetful, netns: Netns) {
    let running = Program::start(server.launcher, server.program, &[server.way]);
    for _ in 0..LEAKED {
        let mut peer = TcpStream::connect(("127.0.0.1", running.port)).expect("it listens");
        peer.write_all(server.request).expect("it is connected");
    }
    judge(netns, running.child.id(), server.verdict);
}

/// A client's server leaves.
pub(crate) fn a_pool_keeps_stale_connections(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port().to_string();
    let pool = thread::scope(|scope| {
        let pool = scope.spawn(|| Program::start("python3", "forget.py", &["pool", &port]));
        for _ in 0..LEAKED {
            drop(listener.accept().expect("the pool connects"));
        }
        pool.join().expect("it starts")
    });
    judge(netns, pool.child.id(), "end-unread");
}

/// One connection every 50 ms is forgotten: by counting, in a watch of ten seconds.
pub(crate) fn growth_and_exhaustion_are_foretold(netns: Netns) {
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
        let (lines, code) = leaks(netns, &["--duration", "12", "--older-than", "5"]);
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(code, Some(3));
        let [leak] = lines.as_slice() else {
            panic!("one process: {lines:#?}");
        };
        (leak.clone(), leaking.join().expect("it only connects"))
    });
    assert_eq!(leak["pid"], process::id(), "{leak:#}");
    let told = leak["growth_per_minute"].as_f64().expect("it grows");
    println!("growth {told:.1} a minute, in truth {per_minute:.1}; {leak}");
    assert!(
        (told / per_minute - 1.0).abs() < 0.2,
        "{told} and not {per_minute}"
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
