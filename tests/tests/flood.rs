//! Ten thousand connections as fast as one client can open and close them: every transition is told, nothing is
//! lost, and the kernel's own count of transitions agrees with the lines, pair by pair. The kernel counts for the
//! whole machine: what others do in the meantime may add to its count, never to the lines of this test.

use std::{
    collections::HashMap,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};
use tcptrace_tests::{
    event::Event,
    host,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    state::State::{
        self, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
    },
    tracer::Tracer,
};

const CONNECTIONS: usize = 10_000;
/// How long the tracer may take to print the last of it.
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let tests = vec![LiveTest::new(
        "ten_thousand_connections_lose_nothing",
        live::TRACING,
        ten_thousand_connections_lose_nothing,
    )];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn ten_thousand_connections_lose_nothing() {
    Netns::run(|netns| {
        let tracer = Tracer::start(&[]);
        let listener = listen(netns);
        let server = listener.local_addr().expect("a listener has an address");
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener));
            for _ in 0..CONNECTIONS {
                drop(TcpStream::connect(server).expect("the listener takes a connection"));
            }
        });
        drop(listener);

        // Each client ends in TIME_WAIT, each child of the listener in CLOSE, and the listener ends last.
        tracer.wait_until(netns, PATIENCE, |events| {
            let listener_closed = events
                .iter()
                .rev()
                .take(CONNECTIONS)
                .any(|event| event.old == Listen && event.new == State::Close);
            (listener_closed
                && count(events, (FinWait2, TimeWait)) + count(events, (FinWait1, TimeWait)) == CONNECTIONS)
                .then_some(())
        });
        let ending = tracer.stop();
        let events = tracer.events(netns);
        assert!(ending.status.success(), "{}", ending.messages);
        assert_eq!(ending.summary["lost"], 0, "{}", ending.summary);
        assert_eq!(ending.summary["impossible"], 0, "{}", ending.summary);
        every_connection_is_told(&events);
        the_kernel_counted_the_same(&events, &tracer, &ending.summary["kernel_matrix"]);
    });
}

/// A listener whose queue never overflows: the client is not to wait for a dropped SYN.
fn listen(netns: Netns) -> TcpListener {
    netns
        .set("core/somaxconn", &CONNECTIONS.to_string())
        .expect("a namespace takes its sysctls");
    netns
        .set("ipv4/tcp_max_syn_backlog", &CONNECTIONS.to_string())
        .expect("a namespace takes its sysctls");
    let queue = i32::try_from(CONNECTIONS).expect("a queue's length");
    host::listen((Ipv4Addr::LOCALHOST, 0).into(), queue).expect("loopback takes a listener")
}

/// Accepts every connection, waits for the client's FIN, and closes.
fn serve(listener: &TcpListener) {
    for _ in 0..CONNECTIONS {
        let (mut connection, _) = listener.accept().expect("a client connects");
        let read = connection.read(&mut [0]).expect("the client closes in order");
        assert_eq!(read, 0, "the client sends nothing");
    }
}

/// Both ends of every connection went all the way, each in its own order.
fn every_connection_is_told(events: &[Event]) {
    const CLIENT: [State; 5] = [SynSent, Established, FinWait1, FinWait2, TimeWait];
    const CHILD: [State; 4] = [Established, CloseWait, LastAck, State::Close];
    // A request sock may have no cookie yet.
    assert_eq!(count(events, (Listen, SynRecv)), CONNECTIONS);
    let mut paths: HashMap<u64, Vec<State>> = HashMap::new();
    for event in events {
        let is_listener = event.new == Listen || (event.old == Listen && event.new == State::Close);
        // The kernel may give a port out again, which ends a TIME_WAIT early.
        if !is_listener && event.new != SynRecv && event.old != TimeWait {
            paths.entry(event.cookie).or_default().push(event.new);
        }
    }
    let (mut clients, mut children) = (0, 0);
    for (cookie, path) in paths {
        if path == CLIENT {
            clients += 1;
        } else if path == CHILD {
            children += 1;
        } else {
            panic!("the socket with cookie {cookie} went {path:?}");
        }
    }
    assert_eq!((clients, children), (CONNECTIONS, CONNECTIONS));
}

/// The pairs that are told line by line as the kernel counts them; the others are told with more truth. Where
/// somebody else's sockets changed as well, the kernel's count has theirs, too, and those after the last line.
fn the_kernel_counted_the_same(events: &[Event], tracer: &Tracer, matrix: &serde_json::Value) {
    let others = tracer.all_events().len() - events.len();
    println!("{} lines of this test, {others} of others", events.len());
    for pair in [
        (State::Close, Listen),
        (Listen, State::Close),
        (State::Close, SynSent),
        (SynSent, Established),
        (SynRecv, Established),
        (Established, FinWait1),
        (FinWait1, FinWait2),
        (Established, CloseWait),
        (CloseWait, LastAck),
        (LastAck, State::Close),
    ] {
        let counted = matrix[format!("{}>{}", pair.0, pair.1)].as_u64().unwrap_or(0);
        let told = u64::try_from(count(events, pair)).expect("a number of lines");
        assert!(
            told == counted || others > 0 && told < counted,
            "{} -> {}: {told} lines, and the kernel counted {counted}",
            pair.0,
            pair.1
        );
    }
}

fn count(events: &[Event], (old, new): (State, State)) -> usize {
    events
        .iter()
        .filter(|event| (event.old, event.new) == (old, new))
        .count()
}
