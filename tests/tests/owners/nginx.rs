//! nginx with two workers under load: every connection is a worker's, and none its client's or another process's.

use crate::{
    judge::{Process, TIMEOUT, text},
    order::Order,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};
use tcptrace_tests::{clock::poll_until, event::Event, netns::Netns, ss, state::State, tracer::Tracer};
use tempfile::TempDir;

/// In a namespace of the test.
const PORT: u16 = 8080;
/// Requests per second: other tests' tracers report them too.
const RATE: u32 = 2000;
/// Concurrent connections.
const CONNECTIONS: usize = 16;

/// How the clients use their connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// Many requests on each.
    KeepAlive,
    /// One request on each; the server closes.
    OneRequest,
}

struct Nginx {
    master: Child,
    workers: Vec<Process>,
    _folder: TempDir,
}

/// The reported transitions of the server's sockets.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    connections: usize,
    proven: usize,
    /// The client's RST arrived before the worker closed it and before any scan.
    reset_before_proof: usize,
    /// A scan of open files held it when its worker closed it.
    closed_by_a_scan: usize,
    proven_events: usize,
    provisional_events: usize,
}

/// Every connection is a worker's in the end.
pub(crate) fn what_nginx_serves_is_its_workers(style: Style, order: Order, netns: Netns) {
    let nginx = Nginx::start();
    let (port, inode) = (PORT.to_string(), netns.inode.to_string());
    let start = || Tracer::start(&["--localport", &port, "--netns", &inode]);
    let (tracer, mut load) = match order {
        Order::Before => {
            // Long enough for the tracer to start in the middle of it.
            let load = start_load(style, "5");
            let begun = poll_until(TIMEOUT, || {
                (of_the_server().len() > CONNECTIONS / 2).then_some(())
            });
            begun.expect("the load begins");
            (start(), load)
        }
        Order::After => (start(), start_load(style, "2")),
    };
    let status = load.wait().expect("our own child");
    assert!(status.success(), "wrk ended with {status}");
    let quiet = poll_until(TIMEOUT, || of_the_server().is_empty().then_some(()));
    quiet.unwrap_or_else(|| panic!("still open: {:?}", of_the_server()));
    let ending = tracer.stop();
    let tally = nginx.judge(&tracer.events(netns));
    println!("{style:?}: {tally:?}, scans: {}", ending.summary["scans"]);
    assert!(tally.connections >= CONNECTIONS, "{tally:?}");
    assert!(tally.reset_before_proof <= CONNECTIONS, "{tally:?}");
    assert!(tally.closed_by_a_scan * 100 <= tally.connections, "{tally:?}");
    assert!(ending.status.success(), "{}", ending.messages);
    assert_eq!(ending.summary["lost"], 0, "{}", ending.summary);
    let number = |value: &Value| value.as_u64().expect("a number");
    let (count, took) = (
        number(&ending.summary["scans"]["count"]),
        number(&ending.summary["scans"]["total_ns"]),
    );
    // One per cent, except for the last scan, which may have been delayed.
    let watched = number(&ending.summary["watched_ns"]);
    assert!(
        count == 1 || (count > 1 && took * 10 < watched),
        "{}",
        ending.summary
    );
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A limit applies to files that are looked up, not to a response of `return`. nginx's default root is `html`.
        let html = folder.path().join("html");
        fs::create_dir(&html).expect("a folder of our own");
        fs::write(html.join("page"), "served").expect("a folder of our own");
        let server = format!(
            "limit_req_zone $server_port zone=all:1m rate={RATE}r/s;\n  \
             server {{ listen 127.0.0.1:{PORT}; location / {{ limit_req zone=all burst=64; try_files /page =404; }} }}"
        );
        let master = tcptrace_tests::nginx::start(folder.path(), &server);
        let mut nginx = Self {
            master,
            workers: Vec::new(),
            _folder: folder,
        };
        let children = format!("/proc/{0}/task/{0}/children", nginx.master.id());
        let workers = poll_until(TIMEOUT, || {
            let children = fs::read_to_string(&children).ok()?;
            let workers: Vec<Process> = children
                .split_whitespace()
                .filter_map(|pid| Process::of(pid.parse().ok()?).ok())
                .collect();
            TcpStream::connect(("127.0.0.1", PORT)).ok()?;
            (workers.len() == 2).then_some(workers)
        });
        nginx.workers = workers.expect("two workers start");
        nginx
    }

    /// Fails if an event has any owner but a worker, unless it is marked as a guess.
    fn judge(&self, events: &[Event]) -> Tally {
        let master = Process::of(self.master.id()).expect("it runs");
        let mut tally = Tally::default();
        for story in stories(events) {
            for event in &story {
                let owner = event.owner.as_ref();
                let owner = owner.unwrap_or_else(|| panic!("nobody's: {event}\n{}", text(&story)));
                let is_guess = owner.evidence == "listener";
                let is_a_worker_s = self.workers.iter().any(|worker| worker.is(owner));
                assert!(
                    is_a_worker_s || (is_guess && master.is(owner)),
                    "not one of {:?}: {event}\n{}",
                    self.workers,
                    text(&story)
                );
                if is_guess {
                    tally.provisional_events += 1;
                } else {
                    tally.proven_events += 1;
                }
            }
            let last = story.last().expect("a story has events");
            assert!(
                matches!(last.new, State::Close | State::TimeWait),
                "not at its end:\n{}",
                text(&story)
            );
            tally.connections += 1;
            if last
                .owner
                .as_ref()
                .is_some_and(|owner| owner.evidence != "listener")
            {
                tally.proven += 1;
                continue;
            }
            if last.reason.as_deref() == Some("reset-received") {
                tally.reset_before_proof += 1;
            } else {
                tally.closed_by_a_scan += 1;
            }
        }
        tally
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers; it has not been waited for, so its id cannot be that of another process.
        let pid = i32::try_from(self.master.id()).expect("process ids fit i32");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.master.wait();
    }
}

fn start_load(style: Style, seconds: &str) -> Child {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "2", "-c", &CONNECTIONS.to_string(), "-d", seconds]);
    if let Style::OneRequest = style {
        wrk.args(["-H", "Connection: close"]);
    }
    wrk.arg(format!("http://127.0.0.1:{PORT}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("wrk can be started")
}

/// The server's connections that nginx has not closed, by `ss`.
fn of_the_server() -> Vec<ss::SsSocket> {
    let mut sockets = ss::list().expect("ss lists sockets");
    sockets.retain(|socket| {
        socket.local.port() == PORT && !matches!(socket.state, State::Listen | State::TimeWait)
    });
    sockets
}

/// The server's sockets, one connection each, without those that were closed before the tracer started: they have no
/// owner.
fn stories(events: &[Event]) -> Vec<Vec<Event>> {
    let mut stories: Vec<Vec<Event>> = Vec::new();
    let mut latest: HashMap<SocketAddr, usize> = HashMap::new();
    for event in events.iter().filter(|event| event.remote.port != 0) {
        match latest.entry(event.remote.into()) {
            Entry::Occupied(place) if event.old != State::Listen => stories[*place.get()].push(event.clone()),
            Entry::Vacant(_) if was_closed(event.old) => {}
            place => {
                place.insert_entry(stories.len());
                stories.push(vec![event.clone()]);
            }
        }
    }
    stories
}

/// Whether no process has a connection that is in this state and is of a server that closes after one request.
fn was_closed(state: State) -> bool {
    matches!(
        state,
        State::FinWait1 | State::FinWait2 | State::TimeWait | State::Closing | State::LastAck
    )
}
