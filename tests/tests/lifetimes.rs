//! `trace --lifetimes`: one line for each connection that has ended, with its side, bytes, states and owner.

use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, ExitCode},
    thread,
};
use tcptrace_tests::{
    command::{Running, first_line, rest_of, tcptrace},
    live::{self, LiveTest, Parallelism},
    netns::Netns,
};

fn main() -> ExitCode {
    let tests = vec![LiveTest::new(
        "each_life_has_its_side_bytes_states_and_owner",
        live::TRACING,
        || Netns::run(each_life_has_its_side_bytes_states_and_owner),
    )];
    live::run(tests, Parallelism::One, || Ok(()))
}

/// Which side closes first, and how much each side sends.
struct Case {
    client_closes: bool,
    sent_by_client: usize,
    sent_by_server: usize,
}

const CASES: [Case; 4] = [
    Case {
        client_closes: true,
        sent_by_client: 1000,
        sent_by_server: 5000,
    },
    Case {
        client_closes: false,
        sent_by_client: 300_000,
        sent_by_server: 1,
    },
    Case {
        client_closes: true,
        sent_by_client: 0,
        sent_by_server: 0,
    },
    Case {
        client_closes: false,
        sent_by_client: 0,
        sent_by_server: 70_000,
    },
];

fn each_life_has_its_side_bytes_states_and_owner(netns: Netns) {
    // Without timewait socks every connection ends at once.
    netns
        .set("ipv4/tcp_max_tw_buckets", "0")
        .expect("a namespace takes its sysctls");
    let inode = netns.inode.to_string();
    let mut tracer = Running::start(tcptrace(&[
        "trace",
        "--lifetimes",
        "--json",
        "-N",
        &inode,
        "-n",
        "8",
    ]));
    let mut stdout = tracer.stdout();
    assert!(first_line(&mut stdout).starts_with("{\"header\""));
    let played: Vec<(SocketAddr, SocketAddr)> = CASES.iter().map(play).collect();
    let lines = rest_of(stdout);
    let reported: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    for (case, (client, server)) in CASES.iter().zip(&played) {
        let (fast, slow) = (
            &["ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2"][..],
            &["CLOSE_WAIT", "ESTABLISHED", "LAST_ACK"][..],
        );
        let of_client = life(&reported, *client, *server);
        let of_server = life(&reported, *server, *client);
        check(
            of_client,
            "client",
            case.sent_by_client,
            case.sent_by_server,
            if case.client_closes { fast } else { slow },
        );
        check(
            of_server,
            "server",
            case.sent_by_server,
            case.sent_by_client,
            if case.client_closes { slow } else { fast },
        );
    }
}

/// Opens and closes one connection; returns the client's endpoint and the server's.
fn play(case: &Case) -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (mut server, _) = listener.accept().expect("a client waits");
    let endpoints = (
        client.local_addr().expect("connected"),
        client.peer_addr().expect("connected"),
    );
    exchange(&mut client, &mut server, case.sent_by_client);
    exchange(&mut server, &mut client, case.sent_by_server);
    let (first, mut second) = if case.client_closes {
        (client, server)
    } else {
        (server, client)
    };
    first.shutdown(Shutdown::Write).expect("connected");
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).expect("the end comes");
    assert!(rest.is_empty());
    endpoints
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream, count: usize) {
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&vec![7; count]).expect("it is read"));
        to.read_exact(&mut vec![0; count]).expect("it is written");
    });
}

fn life(lives: &[Value], local: SocketAddr, remote: SocketAddr) -> &Value {
    let is = |end: &Value, addr: SocketAddr| {
        end["addr"] == addr.ip().to_string().as_str() && end["port"] == addr.port()
    };
    let mut found = lives
        .iter()
        .filter(|life| is(&life["local"], local) && is(&life["remote"], remote));
    let life = found
        .next()
        .unwrap_or_else(|| panic!("{local} {remote} is not reported"));
    assert!(found.next().is_none(), "{local} {remote} is reported twice");
    life
}

fn check(life: &Value, role: &str, sent: usize, received: usize, passed: &[&str]) {
    assert_eq!(life["role"], role, "{life}");
    assert_eq!(life["bytes_sent"], sent, "{life}");
    assert_eq!(life["bytes_received"], received, "{life}");
    assert_eq!(life["owner"]["pid"], process::id(), "{life}");
    assert_eq!(life["lifetime_exact"], true, "{life}");
    let states = life["states"].as_object().expect("an object");
    for state in passed {
        assert!(states.contains_key(*state), "{state} is missing: {life}");
    }
    let opening = if role == "client" { "SYN_SENT" } else { "SYN_RECV" };
    assert!(states.contains_key(opening), "{life}");
    assert_eq!(states.len(), passed.len() + 1, "{life}");
    let total: u64 = states
        .values()
        .map(|span| {
            assert_eq!(span["exact"], true, "{life}");
            span["ns"].as_u64().expect("a number")
        })
        .sum();
    assert_eq!(life["lifetime_ns"], total, "{life}");
}
