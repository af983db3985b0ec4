//! Ten thousand connections as fast as one client can open and close them: every transition is reported, nothing is
//! lost, and the kernel's count of transitions agrees with the events for each pair of states. The kernel counts for
//! the whole machine: other processes may add to its count, but not to the events of this test.
//!
//! Connections of which the kernel withholds a transition from BPF programs (`protected`), by what tracefs recorded, are
//! left out.

use std::{
    collections::{HashMap, HashSet},
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::monotonic_ns,
    event::Event,
    host,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    protected,
    state::State::{
        self, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
    },
    tracer::Tracer,
};

const CONNECTIONS: usize = 10_000;
/// Maximum number of transitions of a kind that are counted twice: the second program on the tracepoint counts a
/// transition as missed by the first one if a softirq between the two has overwritten the first one's mark.
const COUNTED_TWICE: usize = CONNECTIONS / 1_000;
/// Maximum time until the tracer has printed the last event.
const TIMEOUT: Duration = Duration::from_mins(1);

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
        let begun_ns = monotonic_ns();
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
        tracer.wait_until(netns, TIMEOUT, |events| {
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
        let withheld = clients_withheld(begun_ns, server.port());
        assert!(
            ending.summary["impossible"] == 0 || !withheld.is_empty(),
            "{}",
            ending.summary
        );
        every_connection_is_reported(&events, &withheld);
        the_kernel_counted_the_same(&events, &tracer, &ending.summary["kernel_matrix"], withheld.len());
    });
}

/// The ports of the clients of which a transition was withheld.
fn clients_withheld(begun_ns: u64, server: u16) -> HashSet<u16> {
    protected::withheld_since(begun_ns)
        .iter()
        .filter_map(|line| protected::ports(line))
        .filter(|ports| ports.contains(&server))
        .flatten()
        .filter(|port| *port != server && *port != 0)
        .collect()
}

/// A listener whose queue never overflows: a dropped SYN would delay the client.
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

/// Both sockets of every connection have passed all states in order, but for the connections of `withheld`.
fn every_connection_is_reported(events: &[Event], withheld: &HashSet<u16>) {
    const CLIENT: [State; 5] = [SynSent, Established, FinWait1, FinWait2, TimeWait];
    const CHILD: [State; 4] = [Established, CloseWait, LastAck, State::Close];
    let is_of_withheld =
        |event: &Event| withheld.contains(&event.local.port) || withheld.contains(&event.remote.port);
    let mut requests = 0;
    let mut sockets: HashMap<u64, Vec<&Event>> = HashMap::new();
    for event in events {
        let is_listener = event.new == Listen || (event.old == Listen && event.new == State::Close);
        if is_listener {
            continue;
        }
        if event.new == SynRecv {
            // A request sock may have no cookie yet.
            requests += usize::from(!is_of_withheld(event));
        } else if event.old != TimeWait {
            // The kernel may reuse a port, which ends a TIME_WAIT early.
            sockets.entry(event.cookie).or_default().push(event);
        }
    }
    // A client has no port yet when it connects.
    sockets.retain(|_, events| !events.iter().any(|event| is_of_withheld(event)));
    let (mut clients, mut children) = (0, 0);
    for (cookie, events) in sockets {
        let path: Vec<State> = events.iter().map(|event| event.new).collect();
        if path == CLIENT {
            clients += 1;
        } else if path == CHILD {
            children += 1;
        } else {
            panic!("the socket with cookie {cookie} took no path of a client or a child: {events:#?}");
        }
    }
    let expected = CONNECTIONS - withheld.len();
    assert_eq!(
        (requests, clients, children),
        (expected, expected, expected),
        "{} connections withheld",
        withheld.len()
    );
}

/// Compares the pairs of which the kernel's count is that of the events; other pairs are reported more exactly than
/// they are counted. Other processes' sockets, and transitions after the last event, add to the kernel's count;
/// each of `withheld` connections may be missing from it.
fn the_kernel_counted_the_same(
    events: &[Event],
    tracer: &Tracer,
    matrix: &serde_json::Value,
    withheld: usize,
) {
    let others = tracer.all_events().len() - events.len();
    println!(
        "{} lines of this test, {others} of others, {withheld} connections withheld",
        events.len()
    );
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
        let counted = usize::try_from(counted).expect("a number of transitions");
        let reported = count(events, pair);
        assert!(
            (reported.saturating_sub(withheld)..=reported + COUNTED_TWICE).contains(&counted)
                || others > 0 && reported < counted,
            "{} -> {}: {reported} lines, and the kernel counted {counted}",
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
