//! Hooks that attach and never fire, as where a compiler has inlined what they hook: the tracer finds out, goes on
//! without them and says so. Where a hidden state is skipped for a good reason, it accuses no hook.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    event::Event,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    state::State::{Close, Listen, SynRecv, TimeWait},
    tracer::Tracer,
};

/// How long finding out may take: it needs tens of connections and two looks at the counters.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than the tracer waits for what explains an end, and than it leaves events in the buffer.
const LATE_FIN: Duration = Duration::from_millis(40);
/// What the tracer says once.
const FAREWELL: &str = "do not fire on this kernel";

fn main() -> ExitCode {
    let tests = vec![
        LiveTest::new(
            "silent_hooks_of_timewait_socks_are_found_out",
            live::TRACING,
            silent_hooks_of_timewait_socks_are_found_out,
        ),
        LiveTest::new(
            "silent_hooks_of_requests_are_found_out",
            live::TRACING,
            silent_hooks_of_requests_are_found_out,
        ),
        LiveTest::new(
            "hooks_that_the_user_insists_on_are_not_replaced",
            live::TRACING,
            hooks_that_the_user_insists_on_are_not_replaced,
        ),
        LiveTest::new(
            "a_full_table_of_timewait_socks_accuses_no_hook",
            live::TRACING,
            || accuses_no_hook(("ipv4/tcp_max_tw_buckets", "0")),
        ),
        LiveTest::new("syn_cookies_accuse_no_hook", live::TRACING, || {
            accuses_no_hook(("ipv4/tcp_syncookies", "2"));
        }),
    ];
    live::run(tests, Parallelism::One, || Ok(()))
}

/// How this kernel serves the hidden states, and the programs that make it silent about one of them.
struct Served {
    way: String,
    timewait: &'static str,
    requests: &'static str,
}

fn served() -> Served {
    let tracer = Tracer::start(&[]);
    let way = tracer.header()["hooks"]["timewait"].as_str().map(str::to_owned);
    let (timewait, requests) = match way.as_deref() {
        Some("fentry") => ("inet_twsk_alloc", "inet_csk_reqsk_queue_hash_add"),
        Some("timers" | "timers+poll") => ("timer_start", "timer_start"),
        other => panic!("timewait socks are not traced here: {other:?}"),
    };
    Served {
        way: way.unwrap_or_default(),
        timewait,
        requests,
    }
}

fn silent_hooks_of_timewait_socks_are_found_out() {
    let served = served();
    Netns::run(|netns| {
        let tracer = Tracer::start(&["--silent-hook", served.timewait]);
        let pair = Pair::listen();
        pair.connect_until_found_out(&tracer);
        if served.way == "fentry" {
            // From now on by the timers: one more connection is told in full.
            let client = pair.connect();
            let told = tracer.wait_until(netns, PATIENCE, |events| {
                events
                    .iter()
                    .any(|event| event.local.port == client && event.new == TimeWait)
                    .then_some(())
            });
            assert!(told.is_some(), "no TIME_WAIT is told:\n{}", tracer.messages());
        }
        let to = if served.way == "fentry" {
            "timers"
        } else {
            "missing"
        };
        assert_given_up(&tracer, "timewait", &served.way, to);
    });
}

fn silent_hooks_of_requests_are_found_out() {
    let served = served();
    Netns::run(|netns| {
        let tracer = Tracer::start(&["--silent-hook", served.requests]);
        // With data unread the server's close is a reset: no timewait sock is made, and its hooks are not missed.
        let pair = Pair::listen();
        let found = poll_until(PATIENCE, || {
            pair.reset();
            tracer.messages().contains(FAREWELL).then_some(())
        });
        assert!(found.is_some(), "not found out:\n{}", tracer.messages());
        if served.way == "fentry" {
            let client = pair.reset();
            let told = tracer.wait_until(netns, PATIENCE, |events| {
                let of_server = |event: &&Event| event.remote.port == client;
                events
                    .iter()
                    .filter(of_server)
                    .any(|event| (event.old, event.new) == (Listen, SynRecv))
                    .then_some(())
            });
            assert!(told.is_some(), "no SYN_RECV is told:\n{}", tracer.messages());
        }
        let to = if served.way == "fentry" {
            "timers"
        } else {
            "missing"
        };
        assert_given_up(&tracer, "requests", &served.way, to);
    });
}

fn hooks_that_the_user_insists_on_are_not_replaced() {
    let served = served();
    let insisted = if served.way == "fentry" {
        "fentry"
    } else {
        "timers"
    };
    Netns::run(|_| {
        let tracer = Tracer::start(&["--hooks", insisted, "--silent-hook", served.timewait]);
        Pair::listen().connect_until_found_out(&tracer);
        assert_given_up(&tracer, "timewait", &served.way, "missing");
    });
}

fn accuses_no_hook(sysctl: (&str, &str)) {
    /// Two looks at the counters at least, and as many connections as two verdicts need.
    const ROUNDS: usize = 3;
    const CONNECTIONS: usize = 20;
    /// Longer than the tracer lets pass between two looks.
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
            let told = tracer.wait_until(netns, PATIENCE, |events| {
                let begun = events
                    .iter()
                    .filter(|event| event.old == Listen && event.new != Close);
                (begun.count() >= round * CONNECTIONS).then_some(())
            });
            assert!(told.is_some(), "not all connections are told");
            linger(PAUSE);
        }
        let ending = tracer.stop();
        assert!(!ending.messages.contains(FAREWELL), "{}", ending.messages);
        assert!(ending.summary.get("given_up").is_none(), "{}", ending.summary);
    });
}

fn assert_given_up(tracer: &Tracer, purpose: &str, from: &str, to: &str) {
    let ending = tracer.stop();
    let expected = ending.messages.matches(FAREWELL).count();
    assert_eq!(expected, 1, "{}", ending.messages);
    assert!(ending.status.success(), "{}", ending.messages);
    let given_up = &ending.summary["given_up"];
    assert_eq!(given_up.as_array().map(Vec::len), Some(1), "{}", ending.summary);
    for (key, value) in [("purpose", purpose), ("from", from)] {
        assert_eq!(given_up[0][key], value, "{given_up}");
    }
    // Which kind of timers is another test's matter.
    let found = given_up[0]["to"].as_str().unwrap_or_default();
    assert!(found.starts_with(to), "{given_up}");
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

    /// The client closes, and the server some time after it: the client's end waits in FIN_WAIT2, then in
    /// TIME_WAIT. Returns the client's port.
    fn connect(&self) -> u16 {
        let (client, mut accepted) = self.open();
        let port = client.local_addr().expect("connected").port();
        drop(client);
        let _end = accepted.read(&mut [0]).expect("the client closes in order");
        linger(LATE_FIN);
        port
    }

    /// The server closes with data unread, which resets the connection. Returns the client's port.
    fn reset(&self) -> u16 {
        use std::io::Write as _;
        let (mut client, accepted) = self.open();
        client.write_all(b"unread").expect("connected");
        let arrived = poll_until(PATIENCE, || {
            let count = accepted.peek(&mut [0; 8]).expect("connected");
            (count > 0).then_some(())
        });
        assert!(arrived.is_some(), "loopback delivers");
        drop(accepted);
        linger(LATE_FIN);
        client.local_addr().expect("connected").port()
    }

    fn connect_until_found_out(&self, tracer: &Tracer) {
        let found = poll_until(PATIENCE, || {
            self.connect();
            tracer.messages().contains(FAREWELL).then_some(())
        });
        assert!(found.is_some(), "not found out:\n{}", tracer.messages());
    }
}
