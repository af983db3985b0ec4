//! Hooks that attach and never fire, for example because a compiler has inlined the function: the tracer detects it,
//! continues without them and reports it. If a hidden state is skipped for a known reason, no hook is reported as
//! silent.

use std::{
    collections::HashSet,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    by_name,
    clock::{linger, poll_until},
    event::Event,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    state::State::{self, Close, Listen, SynRecv, TimeWait},
    tracer::Tracer,
};

/// Maximum time until a silent hook is detected: that takes tens of connections and two reads of the counters.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Longer than the tracer waits for the cause of an end, and than events stay in the buffer.
const LATE_FIN: Duration = Duration::from_millis(40);
/// The message that the tracer prints once for each hidden state.
const SILENT: &str = "never fire on this kernel";

fn main() -> ExitCode {
    let test = |name: &str, body: fn()| LiveTest::new(name, live::TRACING, body);
    let mut tests = by_name! {
        test =>
            silent_hooks_of_timewait_socks_are_detected,
            silent_hooks_of_requests_are_detected,
            hooks_that_the_user_insists_on_are_not_replaced;
    };
    tests.extend([
        test("a_full_table_of_timewait_socks_accuses_no_hook", || {
            accuses_no_hook(("ipv4/tcp_max_tw_buckets", "0"));
        }),
        test("syn_cookies_accuse_no_hook", || {
            accuses_no_hook(("ipv4/tcp_syncookies", "2"));
        }),
    ]);
    live::run(tests, Parallelism::One, || Ok(()))
}

/// The mechanism for the hidden states on this kernel, and the programs without which one of them is silent.
struct Served {
    mechanism: String,
    timewait: &'static str,
    requests: &'static str,
}

fn served() -> Served {
    let tracer = Tracer::start(&[]);
    let mechanism = tracer.header()["hooks"]["timewait"].as_str().map(str::to_owned);
    let (timewait, requests) = match mechanism.as_deref() {
        Some("fentry") => ("inet_twsk_alloc", "inet_csk_reqsk_queue_hash_add"),
        Some("timers" | "timers+poll") => ("timer_start", "timer_start"),
        other => panic!("timewait socks are not traced here: {other:?}"),
    };
    Served {
        mechanism: mechanism.unwrap_or_default(),
        timewait,
        requests,
    }
}

impl Served {
    /// What replaces the mechanism where its hooks are silent.
    fn next(&self) -> &'static str {
        if self.mechanism == "fentry" {
            "timers"
        } else {
            "missing"
        }
    }

    /// The hidden states that a silent program hides, as the tracer names them.
    fn hidden_without(&self, program: &str) -> Vec<&'static str> {
        [("timewait", self.timewait), ("requests", self.requests)]
            .into_iter()
            .filter_map(|(feature, by)| (by == program).then_some(feature))
            .collect()
    }
}

fn assert_reported(tracer: &Tracer, netns: Netns, new: State, of: impl Fn(&Event) -> bool) {
    let reported = tracer.wait_until(netns, TIMEOUT, |events| {
        let is_it = |event: &Event| event.new == new && of(event);
        events.iter().any(is_it).then_some(())
    });
    let messages = tracer.messages();
    assert!(reported.is_some(), "no {new} is reported:\n{messages}");
}

fn silent_hooks_of_timewait_socks_are_detected() {
    let served = served();
    Netns::run(|netns| {
        let tracer = Tracer::start(&["--silent-hook", served.timewait]);
        let pair = Pair::listen();
        pair.connect_until_detected(&tracer);
        if served.mechanism == "fentry" {
            // From now on with the timers: one more connection is reported completely.
            let client = pair.connect();
            assert_reported(&tracer, netns, TimeWait, |event| event.local.port == client);
        }
        let hidden = served.hidden_without(served.timewait);
        assert_switched(&tracer, "timewait", &hidden, (&served.mechanism, served.next()));
    });
}

fn silent_hooks_of_requests_are_detected() {
    let served = served();
    Netns::run(|netns| {
        let tracer = Tracer::start(&["--silent-hook", served.requests]);
        // With unread data the server's close is a RST: no timewait sock is made, and its hooks are not expected to
        // fire.
        let pair = Pair::listen();
        let found = poll_until(TIMEOUT, || {
            pair.reset();
            is_detected(&tracer, "requests").then_some(())
        });
        assert!(found.is_some(), "not found out:\n{}", tracer.messages());
        if served.mechanism == "fentry" {
            let client = pair.reset();
            assert_reported(&tracer, netns, SynRecv, |event| {
                event.remote.port == client && event.old == Listen
            });
        }
        let hidden = served.hidden_without(served.requests);
        assert_switched(&tracer, "requests", &hidden, (&served.mechanism, served.next()));
    });
}

fn hooks_that_the_user_insists_on_are_not_replaced() {
    let served = served();
    let insisted = if served.mechanism == "fentry" {
        "fentry"
    } else {
        "timers"
    };
    Netns::run(|_| {
        let tracer = Tracer::start(&["--hooks", insisted, "--silent-hook", served.timewait]);
        Pair::listen().connect_until_detected(&tracer);
        let hidden = served.hidden_without(served.timewait);
        assert_switched(&tracer, "timewait", &hidden, (&served.mechanism, "missing"));
    });
}

fn accuses_no_hook(sysctl: (&str, &str)) {
    /// Time for at least two reads of the counters, and connections for two verdicts.
    const ROUNDS: usize = 3;
    const CONNECTIONS: usize = 20;
    /// Longer than the tracer's interval between two reads.
    const PAUSE: Duration = Duration::from_millis(300);

    Netns::run(|netns| {
        netns
            .set(sysctl.0, sysctl.1)
            .expect("a namespace takes its sysctls");
        let tracer = Tracer::start(&[]);
        let pair = Pair::listen();
        for round in 1..=ROUNDS {
            for _ in 0..CONNECTIONS {
                pair.connect();
            }
            let reported = tracer.wait_until(netns, TIMEOUT, |events| {
                let begun = events
                    .iter()
                    .filter(|event| event.old == Listen && event.new != Close);
                (begun.count() >= round * CONNECTIONS).then_some(())
            });
            assert!(reported.is_some(), "not all connections are reported");
            linger(PAUSE);
        }
        let ending = tracer.stop();
        assert!(!ending.messages.contains(SILENT), "{}", ending.messages);
        assert!(ending.summary.get("silent_hooks").is_none(), "{}", ending.summary);
    });
}

fn is_detected(tracer: &Tracer, feature: &str) -> bool {
    let message = format!("hooks for {feature} attached but {SILENT}");
    tracer.messages().contains(&message)
}

/// The hooks of `feature` are replaced `from` a mechanism to one whose name begins with `to`: which kind of timers is
/// tested elsewhere. A program that several of the `hidden` states depend on is given up for each of them, in any
/// order, once.
fn assert_switched(tracer: &Tracer, feature: &str, hidden: &[&str], (from, to): (&str, &str)) {
    let ending = tracer.stop();
    assert!(ending.status.success(), "{}", ending.messages);
    let silent = ending.summary["silent_hooks"]
        .as_array()
        .expect("the summary lists silent hooks");
    let features: Vec<_> = silent.iter().filter_map(|of| of["feature"].as_str()).collect();
    assert_eq!(features.len(), silent.len(), "{silent:?}");
    assert_eq!(
        ending.messages.matches(SILENT).count(),
        silent.len(),
        "{}",
        ending.messages
    );
    let distinct: HashSet<_> = features.iter().collect();
    assert_eq!(distinct.len(), features.len(), "{features:?}");
    assert!(features.iter().all(|of| hidden.contains(of)), "{features:?}");
    let switched = silent
        .iter()
        .find(|of| of["feature"] == feature)
        .unwrap_or_else(|| panic!("{feature} is not replaced: {silent:?}"));
    assert_eq!(switched["from"], from, "{switched}");
    let found = switched["to"].as_str().unwrap_or_default();
    assert!(found.starts_with(to), "{switched}");
}

/// A server, and clients that connect to it one after the other.
struct Pair {
    listener: TcpListener,
}

impl Pair {
    fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        Self { listener }
    }

    fn open(&self) -> (TcpStream, TcpStream) {
        let server = self.listener.local_addr().expect("bound");
        let client = TcpStream::connect(server).expect("the listener takes a connection");
        let (accepted, _) = self.listener.accept().expect("a client has connected");
        (client, accepted)
    }

    /// The client closes, and the server some time after it: the client's socket passes FIN_WAIT2 and TIME_WAIT.
    /// Returns the client's port.
    fn connect(&self) -> u16 {
        let (client, mut accepted) = self.open();
        let port = client.local_addr().expect("connected").port();
        drop(client);
        let _end = accepted.read(&mut [0]).expect("the client closes in order");
        linger(LATE_FIN);
        port
    }

    /// The server closes with unread data, which resets the connection. Returns the client's port.
    fn reset(&self) -> u16 {
        use std::io::Write as _;
        let (mut client, accepted) = self.open();
        client.write_all(b"unread").expect("connected");
        let arrived = poll_until(TIMEOUT, || {
            let count = accepted.peek(&mut [0; 8]).expect("connected");
            (count > 0).then_some(())
        });
        assert!(arrived.is_some(), "loopback delivers");
        drop(accepted);
        linger(LATE_FIN);
        client.local_addr().expect("connected").port()
    }

    /// Connects until the hooks of timewait socks are found to be silent.
    fn connect_until_detected(&self, tracer: &Tracer) {
        let found = poll_until(TIMEOUT, || {
            self.connect();
            is_detected(tracer, "timewait").then_some(())
        });
        assert!(found.is_some(), "not found out:\n{}", tracer.messages());
    }
}
