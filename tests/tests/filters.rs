//! Filters that match none of the traffic: no number on the screen includes it.

use serde_json::Value;
use socket2::Socket;
use std::{
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tcptrace_tests::{
    by_name,
    command::{self, tcptrace},
    host,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
};

fn main() -> ExitCode {
    let tracing = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let tests = by_name! {
        tracing =>
            rates_are_of_what_a_filter_lets_pass,
            dwell_times_are_of_what_a_filter_lets_pass,
            dwell_times_are_of_the_changes_that_are_printed,
            doctor_evaluates_what_a_filter_lets_pass;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

/// Runs `body` with the server's port while a client and a server open one connection after the other.
fn beside_traffic(body: impl FnOnce(u16)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let address = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let client = TcpStream::connect(address).expect("it listens");
                let (server, _) = listener.accept().expect("it has come");
                drop((client, server));
                thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        // Ends the traffic if the body fails, too.
        let _ending = SetWhenDropped(&is_over);
        body(address.port());
    });
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The rates in the header and in the row `all` of a frame of `watch`.
fn rates(frame: &str) -> (f64, f64) {
    let of_header = frame
        .split("  ")
        .find_map(|part| part.strip_suffix(" changes/s"))
        .expect("the header has a rate");
    let of_all = frame
        .lines()
        .find(|line| line.trim_start().starts_with("all "))
        .and_then(|line| line.split_whitespace().last())
        .expect("there is a row of all");
    let number = |text: &str| text.parse().expect("a rate is a number");
    (number(of_header), number(of_all))
}

fn watched(flags: &[&str]) -> (f64, f64) {
    let arguments = [&["watch", "-b", "-n", "1"][..], flags].concat();
    let output = command::run(tcptrace(&arguments));
    assert_eq!(output.code, Some(0), "{output:?}");
    rates(&output.out)
}

fn rates_are_of_what_a_filter_lets_pass(netns: Netns) {
    beside_traffic(|port| {
        let port = port.to_string();
        let (header, all) = watched(&["-L", &port]);
        assert!(header > 50.0 && (header - all).abs() < 1.0, "{header} {all}");
        // Nobody listens on port 1.
        for flags in [
            &["-L", "1"][..],
            &["-c", "nobody"],
            &["--state", "listen", "-L", &port],
        ] {
            assert_eq!(watched(flags), (0.0, 0.0), "{flags:?} {netns:?}");
        }
        let in_an_empty_namespace = Netns::run(|_| watched(&["-N", "/proc/self/ns/net"]));
        assert_eq!(in_an_empty_namespace, (0.0, 0.0), "{netns:?}");
    });
}

fn dwell_times_are_of_what_a_filter_lets_pass(_: Netns) {
    beside_traffic(|port| {
        let port = port.to_string();
        for (flags, is_traffic) in [(["-L", port.as_str()], true), (["-L", "1"], false)] {
            let arguments = [&["trace", "--duration", "1"][..], &flags].concat();
            let output = command::run(tcptrace(&arguments));
            assert_eq!(output.err.contains("DWELL IN"), is_traffic, "{output:?}");
            assert_eq!(output.err.contains("LAST_ACK "), is_traffic, "{output:?}");
            let json = [&arguments[..], &["--json"]].concat();
            let output = command::run(tcptrace(&json));
            let summary = output.out.lines().last().expect("it ends with a summary");
            assert_eq!(!summary.contains("\"dwells\":{}"), is_traffic, "{summary}");
        }
    });
}

fn dwell_times_are_of_the_changes_that_are_printed(_: Netns) {
    beside_traffic(|port| {
        let port = port.to_string();
        let output = command::run(tcptrace(&["trace", "--json", "-n", "3", "-L", &port]));
        let last = output.out.lines().last().expect("it ends with a summary");
        let summary: Value = serde_json::from_str(last).expect("a line is JSON");
        let summary = &summary["summary"];
        assert_eq!(summary["printed"], 3, "{summary:#}");
        let dwells = summary["dwells"].as_object().expect("by state");
        let count: u64 = dwells.values().filter_map(|of| of["count"].as_u64()).sum();
        assert!((1..=3).contains(&count), "{summary:#}");
    });
}

/// The findings of `doctor --once --json` with a filter, its summary and exit code. Findings about the host are
/// dropped: they depend on the machine.
fn diagnosis(filter: &[&str]) -> (Vec<Value>, Value, Option<i32>) {
    let arguments = [&["doctor", "--once", "--json"][..], filter].concat();
    let output = command::run(tcptrace(&arguments));
    let lines = output.out.lines();
    let mut lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let summary = lines.pop().expect("it ends with a summary")["summary"].clone();
    let is_host = |line: &Value| line["subject"]["kind"] == "host";
    let marked = |line: &Value| line["evidence"][0]["name"] == "unfiltered";
    assert!(
        lines.iter().filter(|line| is_host(line)).all(marked),
        "{lines:#?}"
    );
    let code = if lines.iter().any(is_host) {
        None
    } else {
        output.code
    };
    lines.retain(|line| !is_host(line));
    (lines, summary, code)
}

fn doctor_evaluates_what_a_filter_lets_pass(netns: Netns) {
    const QUEUE: i32 = 1;
    let sick = host::listen("127.0.0.1:0".parse().expect("an address"), QUEUE).expect("loopback");
    let address = sick.local_addr().expect("it is bound");
    let _clients: Vec<Socket> = (0..=QUEUE)
        .map(|_| {
            let socket = host::socket(address).expect("a socket");
            host::connect(&socket, address).expect("it listens");
            socket
        })
        .collect();
    let port = address.port().to_string();
    let pid = std::process::id().to_string();
    for filter in [&["-L", port.as_str()][..], &["-p", &pid], &["-4", "-L", &port]] {
        let (lines, summary, _) = diagnosis(filter);
        let full: Vec<&Value> = lines
            .iter()
            .filter(|line| line["rule"] == "accept-queue-full")
            .collect();
        assert_eq!(full.len(), 1, "{filter:?} {lines:#?}");
        assert_eq!(full[0]["subject"]["port"], address.port(), "{full:#?}");
        assert_eq!(summary["matched"], true, "{summary}");
        let of_others = |line: &&Value| line.get("setting").is_some() && line["netns"] != netns.inode;
        if filter[0] != "-p" {
            assert!(
                !lines.iter().any(|line| of_others(&line)),
                "{filter:?} {lines:#?}"
            );
        }
    }
    let no_port = ["-L", "1"];
    for filter in [&no_port[..], &["-D", "1"], &["-6", "-L", &port]] {
        let (lines, summary, code) = diagnosis(filter);
        assert_eq!(lines, Vec::<Value>::new(), "{filter:?}");
        assert_eq!(summary["sockets"], 0, "{filter:?} {summary}");
        assert_eq!(summary["matched"], false, "{filter:?} {summary}");
        assert!(matches!(code, None | Some(4)), "{filter:?} {code:?}");
    }
}
