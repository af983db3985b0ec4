//! `--hooks tracepoint`, the last way, for kernels without BTF: less is told, and nothing wrong.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    event::End,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    state::State,
    tracer::Tracer,
};

/// How long the kernel and the tracer may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let families = [
        ("ipv4", ipv4, live::TRACING.to_vec()),
        ("ipv6", ipv6, [live::TRACING, &[Requirement::Ipv6]].concat()),
    ];
    let tests = families.into_iter().map(|(name, address, requirements)| {
        LiveTest::new(
            format!("both_ends_are_told_once::{name}"),
            &requirements,
            move || Netns::run(|_| both_ends_are_told_once(address)),
        )
    });
    live::run(tests.collect(), Parallelism::One, || Ok(()))
}

/// Its events name no namespace and no cookie, so it is the port that tells
/// this connection from those of other tests.
fn both_ends_are_told_once(address: SocketAddr) {
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
    let told = poll_until(PATIENCE, || {
        let both = (story(near, server), story(server, near));
        let has_ended = |story: &[(State, State)]| story.last().is_some_and(|last| last.1 == State::Close);
        (has_ended(&both.0) && has_ended(&both.1)).then_some(both)
    });
    let (clients, servers) = told.unwrap_or_else(|| panic!("{:?}", tracer.all_events()));
    // Its SYN_SENT begins before the port is chosen.
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
    let claimed = tracer.all_events().into_iter().find(|event| event.syn_cookie);
    assert!(claimed.is_none(), "no request is seen, and yet: {claimed:?}");
    let ending = tracer.stop();
    assert!(ending.status.success(), "{}", ending.summary);
}
