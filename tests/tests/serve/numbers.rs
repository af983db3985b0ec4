//! The numbers that are served, against the kernel's and against what was done.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    http::Connection,
    netns::Netns,
    serving::{Series, Serving},
    ss,
    state::State,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Longer than metrics count as recent.
const RECENT: Duration = Duration::from_millis(1_100);

/// A pair of connected sockets on loopback, the client's first.
pub(super) fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (accepted, _) = listener.accept().expect("it waits");
    (client, accepted)
}

pub(super) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// For so long a new series is published as 0.
const NEW: Duration = Duration::from_secs(65);

/// Waits until a series has the value.
pub(super) fn wait_for(serving: &Serving, name: &str, value: u64) {
    let mut latest = Series::default();
    let reached = || {
        latest = serving.series();
        (latest.get(name) == Some(value)).then_some(())
    };
    let is_reached = poll_until(NEW + TIMEOUT, reached);
    assert!(
        is_reached.is_some(),
        "{name} is {:?}, not {value}",
        latest.get(name)
    );
}

pub(super) fn sockets_are_those_of_ss_at_a_quiet_moment(netns: Netns) {
    let serving = Serving::start(&["-N", &netns.inode.to_string()]);
    let (listener, _) = listen();
    let established: Vec<_> = (0..7).map(|_| pair(&listener)).collect();
    // The client closes first: its half is in FIN_WAIT2.
    let close_wait: Vec<_> = (0..5).map(|_| pair(&listener).1).collect();
    // Both do: the client's is in TIME_WAIT.
    for _ in 0..3 {
        drop(pair(&listener));
    }
    // This connection is one of those that are counted, and is there all the time.
    let mut connection = Connection::open(serving.address).expect("it listens");
    let name = |state: State| format!("tcptrace_sockets{{state=\"{}\"}}", state.name());
    let compared = || {
        linger(RECENT);
        let before = by_state();
        let text = connection.get("/metrics", &[]).expect("it answers").text();
        let is_quiet = before == by_state();
        let served = Series::parse(&text);
        let is_equal = State::ALL
            .into_iter()
            .all(|state| served.count(&name(state)) == before.get(&state).copied().unwrap_or(0));
        (is_quiet && is_equal).then_some(served)
    };
    let served = poll_until(TIMEOUT, compared).unwrap_or_else(|| panic!("ss has {:?}", by_state()));
    // Fourteen of the pairs, and two of the connection; the listener of the test, and of the server.
    assert_eq!(served.count(&name(State::Established)), 16);
    assert_eq!(served.count(&name(State::CloseWait)), 5);
    assert_eq!(served.count(&name(State::FinWait2)), 5);
    assert_eq!(served.count(&name(State::TimeWait)), 3);
    assert_eq!(served.count(&name(State::Listen)), 2);
    drop((established, close_wait));
    serving.stop();
}

/// What `ss` lists in this namespace.
fn by_state() -> BTreeMap<State, u64> {
    let mut counts = BTreeMap::new();
    for socket in ss::list().expect("ss runs") {
        *counts.entry(socket.state).or_default() += 1;
    }
    counts
}

pub(super) fn counters_are_those_of_the_connections(netns: Netns) {
    const CONNECTIONS: u32 = 200;
    const REFUSED: u32 = 30;
    let (listener, address) = listen();
    let port = address.port().to_string();
    // Connections of the scrapes are not counted.
    let serving = Serving::start(&["-N", &netns.inode.to_string(), "-L", &port, "-D", &port]);
    // Both ends have the port, one each; so each connection is counted on neither.
    assert_eq!(serving.series().count("tcptrace_sockets{state=\"LISTEN\"}"), 0);
    serving.stop();
    let serving = Serving::start(&["-N", &netns.inode.to_string(), "-D", &port]);
    for _ in 0..CONNECTIONS {
        drop(pair(&listener));
    }
    let outcome = |outcome: &str| format!("tcptrace_connects_total{{port=\"{port}\",outcome=\"{outcome}\"}}");
    drop(listener);
    for _ in 0..REFUSED {
        TcpStream::connect(address).expect_err("nobody listens");
    }
    wait_for(&serving, &outcome("connected"), CONNECTIONS.into());
    wait_for(&serving, &outcome("refused"), REFUSED.into());
    let served = serving.series();
    let transitions = |from: &str, to: &str| {
        served.get(&format!(
            "tcptrace_transitions_total{{from=\"{from}\",to=\"{to}\"}}"
        ))
    };
    assert_eq!(transitions("SYN_SENT", "ESTABLISHED"), Some(CONNECTIONS.into()));
    assert_eq!(
        transitions("CLOSE", "SYN_SENT"),
        Some((CONNECTIONS + REFUSED).into())
    );
    // No server's half is selected.
    assert_eq!(transitions("LISTEN", "SYN_RECV"), Some(0));
    let ends = "tcptrace_connection_ends_total{reason=\"reset-received\"}";
    assert_eq!(served.count(ends), u64::from(REFUSED));
    let handshakes = "tcptrace_handshake_duration_seconds_count{side=\"client\",outcome=\"connected\"}";
    assert_eq!(served.count(handshakes), u64::from(CONNECTIONS));
    assert_eq!(served.sum("tcptrace_lost_records_total"), 0);
    // The listener of the server is not selected, nor are its descriptors.
    let descriptors = "tcptrace_process_descriptors{process=\"tcptrace\"}";
    assert_eq!(served.get(descriptors), None);
    serving.stop();
}

/// The increase of opened connections over all processes, as Prometheus adds it up from one scrape to the next.
#[derive(Default)]
struct Increases {
    latest: BTreeMap<String, u64>,
    sum: u64,
}

impl Increases {
    fn add(&mut self, served: &Series) {
        let series: BTreeMap<String, u64> = served
            .of("tcptrace_process_connections_opened_total")
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        for (name, count) in &series {
            // The first value of a series counts for nothing, and a lower one is a counter that began again.
            self.sum += match self.latest.get(name) {
                Some(before) if count >= before => count - before,
                Some(_) => *count,
                None => 0,
            };
        }
        self.latest = series;
    }
}

pub(super) fn series_stay_within_the_budget_while_processes_come_and_go(netns: Netns) {
    const PROCESSES: u64 = 100_000;
    const BUDGET: u64 = 2_000;
    const MOST_MEMORY: u64 = 256 << 20;
    /// Shorter than the second for which metrics count as recent.
    const PAUSE: Duration = Duration::from_millis(250);
    let (listener, address) = listen();
    // Of each connection the client's half alone is counted.
    let port = address.port().to_string();
    let inode = netns.inode.to_string();
    let serving = Serving::start(&["-N", &inode, "-D", &port, "--max-series", "2000"]);
    let mut opened = Increases::default();
    opened.add(&serving.series());
    let accepting = std::thread::spawn(move || {
        for _ in 0..PROCESSES {
            drop(listener.accept().expect("it listens"));
        }
    });
    let begun = Instant::now();
    let mut swarm = Command::new(env!("CARGO_BIN_EXE_swarm"))
        .args([&PROCESSES.to_string(), &port])
        .spawn()
        .expect("it was built");
    let (mut scrapes, mut most) = (0_u64, 0);
    let is_over = || {
        linger(PAUSE);
        let served = serving.series();
        let lines = served.total();
        assert!(lines <= BUDGET, "{lines} series");
        assert_eq!(served.count("tcptrace_series"), lines);
        opened.add(&served);
        scrapes += 1;
        most = most.max(lines);
        swarm.try_wait().expect("our own child")
    };
    let status = poll_until(Duration::from_mins(5), is_over).expect("all processes end");
    assert!(status.success(), "{status}");
    let took = begun.elapsed();
    accepting.join().expect("all of them connect");
    assert!(scrapes > 3, "only {scrapes} scrapes");
    // Whatever has left its series, each connection is counted once; a new series is published as 0 first.
    let is_complete = || {
        let served = serving.series();
        opened.add(&served);
        (opened.sum >= PROCESSES).then_some(served)
    };
    let served = poll_until(NEW + TIMEOUT, is_complete).expect("all connections are counted");
    linger(2 * RECENT);
    opened.add(&serving.series());
    assert_eq!(opened.sum, PROCESSES);
    let evicted = served.count("tcptrace_evicted_keys_total{dimension=\"process_counters\"}");
    assert!(evicted > PROCESSES / 2, "{evicted} names have left");
    let memory = served.count("tcptrace_peak_memory_bytes");
    println!(
        "{PROCESSES} processes in {took:.1?}: {most} series, {memory} bytes of memory, {scrapes} scrapes"
    );
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    assert_eq!(served.sum("tcptrace_lost_records_total"), 0);
    serving.stop();
}
