//! `tcptrace leaks --stacks` reports the place that leaks among the places in real programs that open sockets, in C,
//! Rust, Go, Java and JavaScript, and what is missing in a stack.

mod programs;

use programs::Program;
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{self, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::linger,
    command::{self, tcptrace},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
};

/// Interval between two connections.
const EVERY: Duration = Duration::from_millis(40);

type Test = fn(Netns);

fn main() -> ExitCode {
    let tests: [(&str, &[Requirement], Test); 10] = [
        ("the_accept_that_leaks_is_named_in_c", &[], the_accept_that_leaks),
        (
            "the_connect_that_leaks_is_named_in_c",
            &[],
            the_connect_that_leaks,
        ),
        ("the_connect_that_leaks_is_named_in_rust", &[], a_rust_program),
        (
            "the_connect_that_leaks_is_named_in_go",
            &[Requirement::Go],
            a_go_program,
        ),
        ("the_last_read_is_named_where_it_is_asked_for", &[], the_last_read),
        ("frame_pointers_lead_out_of_a_deep_stack", &[], a_deep_stack),
        (
            "a_stack_without_frame_pointers_or_symbols_says_so",
            &[],
            without_frame_pointers,
        ),
        (
            "the_java_method_that_leaks_is_named",
            &[Requirement::Java],
            a_java_program,
        ),
        (
            "a_jvm_without_a_perf_map_is_told_what_to_do",
            &[Requirement::Java],
            a_jvm_without_perf_map,
        ),
        (
            "the_javascript_functions_are_named",
            &[Requirement::Node],
            a_node_program,
        ),
    ];
    let all = tests
        .into_iter()
        .map(|(name, more, body)| {
            let requirements = [live::TRACING, more].concat();
            LiveTest::new(name, &requirements, move || Netns::run(body))
        })
        .collect();
    live::run(all, Parallelism::One, || Ok(()))
}

/// The report about the process.
fn leak(netns: Netns, pid: u32, stacks: &str) -> Value {
    let output = command::run(tcptrace(&[
        "leaks",
        stacks,
        "--json",
        "--netns",
        &netns.inode.to_string(),
        "--duration",
        "4",
        "--older-than",
        "1",
    ]));
    let lines = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let mut found = lines.filter(|line: &Value| line["pid"] == pid);
    let leak = found
        .next()
        .unwrap_or_else(|| panic!("no line:\n{}\n{}", output.out, output.err));
    // The sockets are many, and do not matter here.
    println!("{:#}\n{}", leak["stacks"], output.err);
    leak
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether the stack has a function of this name.
fn has(place: &Value, name: &str) -> bool {
    list(&place["frames"]).iter().any(|frame| {
        frame["function"]
            .as_str()
            .is_some_and(|function| function.contains(name))
    })
}

/// The places that leak: all have these functions on their stacks, and not the one that closes.
fn check<'a>(leak: &'a Value, call: &str, names: &[&str], closing: &str) -> Vec<&'a Value> {
    let opened = list(&leak["stacks"]["opened"]);
    let leaking: Vec<&Value> = opened.iter().filter(|place| place["leaked"] != 0).collect();
    assert!(!leaking.is_empty(), "a place leaks");
    let mut sum = leak["stacks"]["opened_before"].as_u64().expect("a number");
    for place in &leaking {
        assert_eq!(place["call"], call);
        for name in names {
            assert!(has(place, name), "{name} is on the stack");
        }
        assert!(!has(place, closing), "{closing} closes what it opens");
        let (leaked, calls) = (place["leaked"].as_u64(), place["calls"].as_u64());
        assert!(leaked <= calls, "no more leak than were opened");
        sum += leaked.expect("a number");
    }
    assert_eq!(leak["leaked"], sum, "every socket is counted once");
    assert_eq!(opened[0], *leaking[0], "the place that leaks most comes first");
    leaking
}

/// Peers that connect to a server's ports and close at once, until `body` returns.
fn with_peers<T>(ports: [u16; 2], body: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for port in ports {
                    drop(TcpStream::connect(("127.0.0.1", port)));
                }
                linger(EVERY);
            }
        });
        let value = body();
        is_done.store(true, Ordering::Relaxed);
        value
    })
}

/// Two servers that close a client's connections, until `body` returns.
fn with_servers<T>(body: impl FnOnce([SocketAddr; 2]) -> T) -> T {
    let is_done = AtomicBool::new(false);
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback"));
    let addresses = [0, 1].map(|at: usize| listeners[at].local_addr().expect("bound"));
    thread::scope(|scope| {
        for listener in &listeners {
            let is_done = &is_done;
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    drop(listener.accept());
                }
            });
        }
        let value = body(addresses);
        is_done.store(true, Ordering::Relaxed);
        // One more connection each, to wake them from accept.
        for address in addresses {
            drop(TcpStream::connect(address));
        }
        value
    })
}

fn the_accept_that_leaks(netns: Netns) {
    let shop = Program::c(&["-g", "-O1", "-fno-omit-frame-pointer"], &["serve"]);
    let leak = with_peers(shop.ports, || leak(netns, shop.pid(), "--stacks"));
    let places = check(
        &leak,
        "accept",
        &["take_and_forget", "serve", "main"],
        "take_and_close",
    );
    assert_eq!(places.len(), 1, "one stack, however often it comes");
    assert_eq!(places[0]["end"], "root");
    // The caller of `main` in libc has a name only with debugging symbols (Debian: `libc6-dbg`).
    let limitations = list(&places[0]["limitations"]).iter().filter_map(Value::as_str);
    let limitations: Vec<&str> = limitations
        .filter(|output| !output.contains("/libc.so.6 has no symbols"))
        .collect();
    assert_eq!(limitations, [] as [&str; 0]);
    let frames = list(&places[0]["frames"]);
    let own = frames.iter().find(|frame| frame["function"] == "take_and_forget");
    let own = own.expect("it is named");
    assert!(
        own["file"].as_str().is_some_and(|file| file.ends_with("shop.c")),
        "{own}"
    );
    assert!(own["line"].as_u64().is_some_and(|line| line > 0), "{own}");
}

fn the_connect_that_leaks(netns: Netns) {
    let leak = with_servers(|addresses| {
        let shop = Program::c(
            &["-g", "-O1", "-fno-omit-frame-pointer"],
            &fetching("fetch", addresses),
        );
        leak(netns, shop.pid(), "--stacks")
    });
    check(&leak, "connect", &["fetch_and_forget", "main"], "fetch_and_close");
}

fn fetching(how: &str, addresses: [SocketAddr; 2]) -> [String; 3] {
    let [leaking, closing] = addresses.map(|address| address.port().to_string());
    [how.to_owned(), leaking, closing]
}

#[inline(never)]
fn connect_and_forget(address: SocketAddr, kept: &mut Vec<TcpStream>) {
    kept.push(TcpStream::connect(address).expect("it listens"));
}

#[inline(never)]
fn connect_and_close(address: SocketAddr) {
    drop(TcpStream::connect(address).expect("it listens"));
}

fn a_rust_program(netns: Netns) {
    let is_done = AtomicBool::new(false);
    let leak = with_servers(|[leaking, closing]| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    connect_and_forget(leaking, &mut kept);
                    connect_and_close(closing);
                    linger(EVERY);
                }
            });
            let leak = leak(netns, process::id(), "--stacks");
            is_done.store(true, Ordering::Relaxed);
            leak
        })
    });
    check(&leak, "connect", &["connect_and_forget"], "connect_and_close");
}

fn a_go_program(netns: Netns) {
    let leak = with_servers(|[leaking, closing]| {
        let shop = Program::go([leaking.port(), closing.port()]);
        leak(netns, shop.pid(), "--stacks")
    });
    let names = ["main.main", "main.fetchAndForget", "net.Dial"];
    check(&leak, "connect", &names, "main.fetchAndClose");
}

fn the_last_read(netns: Netns) {
    let shop = Program::c(&["-g", "-O1", "-fno-omit-frame-pointer"], &["serve"]);
    let leak = with_peers(shop.ports, || leak(netns, shop.pid(), "--stacks=read"));
    check(&leak, "accept", &["take_and_forget"], "take_and_close");
    let read = list(&leak["stacks"]["last_read"]);
    assert!(!read.is_empty(), "they were read");
    for place in read {
        assert_eq!(place["call"], "read");
        assert!(
            has(place, "read_to_the_end") && has(place, "take_and_forget"),
            "{place}"
        );
    }
}

fn a_deep_stack(netns: Netns) {
    let leak = with_servers(|addresses| {
        let shop = Program::c(
            &["-g", "-O1", "-fno-omit-frame-pointer"],
            &fetching("deep", addresses),
        );
        leak(netns, shop.pid(), "--stacks")
    });
    let places = check(
        &leak,
        "connect",
        &["fetch_and_forget", "go_down", "main"],
        "fetch_and_close",
    );
    assert_eq!(places[0]["end"], "frame-pointers");
}

fn without_frame_pointers(netns: Netns) {
    let leak = with_servers(|addresses| {
        let shop = Program::c(
            &["-s", "-O2", "-fomit-frame-pointer"],
            &fetching("deep", addresses),
        );
        leak(netns, shop.pid(), "--stacks")
    });
    let opened = list(&leak["stacks"]["opened"]);
    let place = opened.first().expect("a place leaks");
    assert_eq!(place["end"], "no-frame-pointers");
    let output = place["limitations"].to_string();
    assert!(output.contains("has no frame pointers"), "{output}");
    assert!(output.contains("/shop has no symbols"), "{output}");
    let own = list(&place["frames"])
        .iter()
        .filter(|frame| frame["function"].is_null() && frame["offset"].is_u64());
    assert!(own.count() > 2, "by file and offset, without a name");
}

/// So that methods are compiled at their third run, and every method has a frame.
const EAGER: [&str; 3] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:CompileThresholdScaling=0.01",
    "-XX:-Inline",
];

fn a_java_program(netns: Netns) {
    let leak = with_servers(|[leaking, closing]| {
        let options = [&EAGER[..], &["-XX:+PreserveFramePointer"]].concat();
        let client = Program::java(&options, [leaking.port(), closing.port()]);
        client.write_perf_map();
        leak(netns, client.pid(), "--stacks")
    });
    let names = ["OrderClient.fetch(", "HttpURLConnection.connect("];
    let places = check(&leak, "connect", &names, "OrderClient.fetchAndClose(");
    let functions: Vec<&str> = list(&places[0]["frames"])
        .iter()
        .filter_map(|frame| frame["function"].as_str())
        .collect();
    let at = |name: &str| functions.iter().position(|function| function.contains(name));
    assert!(at(names[1]) < at(names[0]), "innermost first: {functions:#?}");
}

fn a_jvm_without_perf_map(netns: Netns) {
    let leak = with_servers(|[leaking, closing]| {
        let client = Program::java(&EAGER, [leaking.port(), closing.port()]);
        leak(netns, client.pid(), "--stacks")
    });
    let pid = &leak["pid"];
    let opened = list(&leak["stacks"]["opened"]);
    let place = opened.first().expect("a place leaks");
    let output = place["limitations"].to_string();
    assert!(
        output.contains(&format!("jcmd {pid} Compiler.perfmap")),
        "{output}"
    );
    assert!(!has(place, "OrderClient"), "{place:#}");
}

/// Node opens a socket from its own queue, so that no function of the program is on the stack.
fn a_node_program(netns: Netns) {
    let leak = with_servers(|[leaking, closing]| {
        let options = ["--perf-basic-prof", "--interpreted-frames-native-stack"];
        let client = Program::node(&options, [leaking.port(), closing.port()]);
        leak(netns, client.pid(), "--stacks")
    });
    let opened = list(&leak["stacks"]["opened"]);
    let place = opened.first().expect("a place leaks");
    assert_eq!(place["call"], "connect");
    assert!(
        has(place, "internalConnect") && has(place, "node::TCPWrap::Connect"),
        "{place:#}"
    );
}
