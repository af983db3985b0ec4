//! `--hooks tracepoint`, the last mechanism, for kernels without BTF: it reports less, and nothing wrong.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    command,
    event::{End, Event},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    state::State,
    tracer::Tracer,
};

/// Maximum time for the kernel and the tracer.
const TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let families = [
        ("ipv4", ipv4, live::TRACING.to_vec()),
        ("ipv6", ipv6, [live::TRACING, &[Requirement::Ipv6]].concat()),
    ];
    let both_ends = families.into_iter().map(|(name, address, requirements)| {
        LiveTest::new(
            format!("both_sockets_are_reported_once::{name}"),
            &requirements,
            move || Netns::run(|_| both_sockets_are_reported_once(address)),
        )
    });
    let mut tests: Vec<LiveTest> = both_ends.collect();
    tests.push(LiveTest::new(
        "connections_one_after_the_other_are_not_taken_for_one",
        live::TRACING,
        || Netns::run(|_| connections_one_after_the_other_are_not_taken_for_one()),
    ));
    tests.push(LiveTest::new(
        "a_namespace_cannot_be_selected",
        live::TRACING,
        a_namespace_cannot_be_selected,
    ));
    live::run(tests, Parallelism::One, || Ok(()))
}

/// The kernel allocates the next socket at the address of the one before.
fn connections_one_after_the_other_are_not_taken_for_one() {
    const CONNECTIONS: usize = 20;
    let tracer = Tracer::start(&["--hooks", "tracepoint"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let server = listener.local_addr().expect("a bound listener");
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(server).expect("loopback");
        let (accepted, _) = listener.accept().expect("a connection is waiting");
        drop(client);
        drop(accepted);
    }
    let ours = || {
        let mut events = tracer.all_events();
        events.retain(|event| server.port() == event.local.port || server.port() == event.remote.port);
        events.retain(|event| event.new != State::Listen);
        events
    };
    let endpoints = |old: State| {
        let is_end = |event: &&Event| event.old == old && event.new == State::Close;
        ours().iter().filter(is_end).count()
    };
    let reported = poll_until(TIMEOUT, || {
        (endpoints(State::FinWait2) >= CONNECTIONS && endpoints(State::LastAck) >= CONNECTIONS).then_some(())
    });
    let events = ours();
    assert!(reported.is_some(), "{events:?}");
    for event in &events {
        let is_possible = match event.old {
            State::FinWait2 | State::LastAck => event.new == State::Close,
            State::Listen => event.new == State::Established,
            _ => event.new != State::Close,
        };
        assert!(is_possible, "{event}");
        // The transitions of timewait socks are not traced.
        assert!(event.old != State::FinWait2 || !event.dwell_exact, "{event}");
        assert_eq!(event.reason, None, "{event}");
    }
    let summary = tracer.stop().summary;
    assert_eq!(summary["impossible"], 0, "{summary}");
}

fn a_namespace_cannot_be_selected() {
    let output = command::run(command::tcptrace(&[
        "trace",
        "--hooks",
        "tracepoint",
        "--netns",
        "/proc/self/ns/net",
    ]));
    assert_eq!(output.code, Some(2), "{}", output.err);
    assert!(output.err.contains("--netns"), "{}", output.err);
}

/// Its events have no network namespace and no cookie, so that only the port distinguishes this connection from those
/// of other tests.
fn both_sockets_are_reported_once(address: SocketAddr) {
    let tracer = Tracer::start(&["--hooks", "tracepoint"]);
    let listener = TcpListener::bind(address).expect("loopback");
    let server = listener.local_addr().expect("a bound listener");
    let client = TcpStream::connect(server).expect("loopback");
    let near = client.local_addr().expect("a connected socket");
    let (accepted, _) = listener.accept().expect("a connection is waiting");
    drop(client);
    drop(accepted);
    let is = |end: End, address: SocketAddr| end.addr == address.ip() && end.port == address.port();
    let story = |from: SocketAddr, to: SocketAddr| -> Vec<(State, State)> {
        let mut events = tracer.all_events();
        events.retain(|event| is(event.local, from) && is(event.remote, to));
        events.sort_by_key(|event| event.mono_ns);
        events.iter().map(|event| (event.old, event.new)).collect()
    };
    let reported = poll_until(TIMEOUT, || {
        let both = (story(near, server), story(server, near));
        let has_ended = |story: &[(State, State)]| story.last().is_some_and(|last| last.1 == State::Close);
        (has_ended(&both.0) && has_ended(&both.1)).then_some(both)
    });
    let (clients, servers) = reported.unwrap_or_else(|| panic!("{:?}", tracer.all_events()));
    // Its SYN_SENT begins before the port is bound.
    assert_eq!(
        clients,
        [
            (State::SynSent, State::Established),
            (State::Established, State::FinWait1),
            (State::FinWait1, State::FinWait2),
            (State::FinWait2, State::Close),
        ]
    );
    assert_eq!(
        servers,
        [
            (State::Listen, State::Established),
            (State::Established, State::CloseWait),
            (State::CloseWait, State::LastAck),
            (State::LastAck, State::Close),
        ]
    );
    for event in tracer.all_events() {
        assert_eq!(event.netns, None, "{event}");
    }
    let claimed = tracer.all_events().into_iter().find(|event| event.syn_cookie);
    assert!(claimed.is_none(), "no request is seen, and yet: {claimed:?}");
    let ending = tracer.stop();
    assert!(ending.status.success(), "{}", ending.summary);
}
