//! What is known of a connection when it ends: why the kernel sent a RST, in its own words, and the retransmissions and
//! round-trip time that `TCP_INFO` reported until then. A recording has the same, and what the network did to the
//! connections that existed when it began.

use serde_json::Value;
use socket2::{Socket, TcpKeepalive};
use std::{
    fs,
    net::{Shutdown, SocketAddr},
    path::Path,
    process::ExitCode,
    rc::Rc,
    time::Duration,
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    event::Event,
    host, kernel_table,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    peer::{Conversation, Family, Flags, Peer},
    recording::{self, Recording},
    sockets,
    state::State,
    tracer::Tracer,
};

/// Maximum time for the kernel to reach a state, and for the tracer to print it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection stays ESTABLISHED: mechanisms without segments of timewait sockets take a `connect` of the last
/// milliseconds for one that took the endpoints.
const HOLD: Duration = Duration::from_millis(20);
const PEER_PORT: u16 = 5_000;

/// The body of a test in its namespace.
type Test = fn(Netns);

fn main() -> ExitCode {
    let tests: [(&str, Test); 5] = [
        (
            "a_reset_has_the_reason_that_the_kernel_gives",
            a_reset_has_the_reason_that_the_kernel_gives,
        ),
        (
            "an_end_without_a_reset_of_ours_has_no_reason_for_one",
            an_end_without_a_reset_of_ours_has_no_reason_for_one,
        ),
        (
            "an_end_has_the_retransmissions_and_round_trip_time_of_tcp_info",
            an_end_has_the_retransmissions_and_round_trip_time_of_tcp_info,
        ),
        (
            "time_wait_keeps_what_the_full_socket_had_measured",
            time_wait_keeps_what_the_full_socket_had_measured,
        ),
        (
            "a_recording_has_the_network_evidence_of_its_snapshot",
            a_recording_has_the_network_evidence_of_its_snapshot,
        ),
    ];
    let tests = tests
        .into_iter()
        .map(|(name, body)| {
            let mut requirements = live::TRACING.to_vec();
            requirements.push(Requirement::Tun);
            LiveTest::new(name, &requirements, move || Netns::run(body))
        })
        .collect();
    live::run(tests, Parallelism::One, || Ok(()))
}

/// A connection of the host to the peer, whose handshake is complete.
struct Connection {
    socket: Option<Socket>,
    wire: Conversation,
}

impl Connection {
    fn open(peer: &Rc<Peer>, options: impl FnOnce(&Socket)) -> Self {
        let (socket, wire) = Conversation::of_connect(peer, PEER_PORT, options);
        linger(HOLD);
        Self {
            socket: Some(socket),
            wire,
        }
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("the case holds the socket")
    }

    fn close(&mut self) {
        self.socket = None;
    }

    /// The kernel's retransmissions and round-trip time in nanoseconds.
    fn measured(&self) -> (Option<u32>, Option<u64>) {
        let info = host::tcp_info(self.socket()).expect("a TCP socket");
        let rtt_ns = (info.tcpi_rtt > 0).then(|| u64::from(info.tcpi_rtt) * 1_000);
        (Some(info.tcpi_total_retrans), rtt_ns)
    }

    fn wait_for(&self, state: Option<State>) {
        let (local, remote) = (self.wire.there(), self.wire.here());
        let reached = poll_until(TIMEOUT, || {
            let now = kernel_table::state_of(local, remote).expect("the kernel's table can be read");
            (now == state).then_some(())
        });
        assert!(reached.is_some(), "{local} does not become {state:?}");
    }

    fn end(&self, tracer: &Tracer, netns: Netns) -> Event {
        let end = tracer.wait_until(netns, TIMEOUT, |events| {
            let mut ends = events.iter().filter(|event| event.new == State::Close);
            ends.find(|event| event.endpoints().0 == self.wire.there())
                .cloned()
        });
        end.unwrap_or_else(|| panic!("no end is reported: {}", tracer.messages()))
    }
}

fn start(netns: Netns) -> (Tracer, Rc<Peer>) {
    let tracer = Tracer::start(&["-N", &netns.inode.to_string()]);
    (
        tracer,
        Peer::attach(Family::V4).expect("a TUN device can be made"),
    )
}

/// The word for a reason if this kernel's types have it, as `tcp_send_reset` reports it then.
fn word(reason: &str) -> Option<String> {
    let types = fs::read("/sys/kernel/btf/vmlinux").expect("the kernel has BTF");
    let name = format!("\0SK_RST_REASON_{reason}\0");
    let is_known = types.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    is_known.then(|| reason.to_lowercase().replace('_', "-"))
}

/// What makes the kernel send a RST; the end that follows, and the name of its reason.
struct Case {
    what: &'static str,
    options: fn(&Socket),
    provoke: fn(&mut Connection),
    end: &'static str,
    reason: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        what: "a close with unread data",
        options: |_| (),
        provoke: |connection| {
            connection.wire.send_data(b"unread");
            connection.wire.expect(Flags::ACK);
            connection.close();
        },
        end: "reset-sent",
        reason: "TCP_ABORT_ON_CLOSE",
    },
    Case {
        what: "a linger of zero",
        options: |socket| socket.set_linger(Some(Duration::ZERO)).expect("an option"),
        provoke: Connection::close,
        end: "reset-sent",
        reason: "TCP_STATE",
    },
    Case {
        what: "a negative TCP_LINGER2",
        options: |socket| host::set_tcp_option(socket, libc::TCP_LINGER2, -1).expect("an option"),
        provoke: |connection| {
            connection.socket().shutdown(Shutdown::Write).expect("connected");
            connection.wire.expect(Flags::FIN_ACK);
            connection.wire.send(Flags::ACK);
            connection.wait_for(Some(State::FinWait2));
            connection.close();
        },
        end: "reset-sent",
        reason: "TCP_ABORT_ON_LINGER",
    },
    Case {
        what: "data for FIN_WAIT1 without a program",
        options: |_| (),
        provoke: |connection| {
            connection.close();
            connection.wait_for(Some(State::FinWait1));
            connection.wire.send_data(b"too late");
        },
        end: "reset-sent",
        reason: "TCP_ABORT_ON_DATA",
    },
    Case {
        what: "data for FIN_WAIT2 without a program",
        options: |_| (),
        provoke: |connection| {
            connection.close();
            connection.wire.expect(Flags::FIN_ACK);
            connection.wire.send(Flags::ACK);
            connection.wait_for(Some(State::FinWait2));
            connection.wire.send_data(b"too late");
        },
        end: "reset-sent",
        reason: "TCP_TIMEWAIT_SOCKET",
    },
    Case {
        what: "keep-alive that gives up",
        options: |socket| {
            let second = Duration::from_secs(1);
            let keepalive = TcpKeepalive::new()
                .with_time(second)
                .with_interval(second)
                .with_retries(1);
            socket.set_tcp_keepalive(&keepalive).expect("an option");
        },
        provoke: |_| (),
        end: "timeout",
        reason: "TCP_KEEPALIVE_TIMEOUT",
    },
];

fn a_reset_has_the_reason_that_the_kernel_gives(netns: Netns) {
    let (tracer, peer) = start(netns);
    for case in CASES {
        let mut connection = Connection::open(&peer, case.options);
        (case.provoke)(&mut connection);
        connection.wire.expect_reset();
        let end = connection.end(&tracer, netns);
        assert_eq!(end.reason.as_deref(), Some(case.end), "{}: {end}", case.what);
        assert_eq!(end.reset_reason, word(case.reason), "{}: {end}", case.what);
    }
}

fn an_end_without_a_reset_of_ours_has_no_reason_for_one(netns: Netns) {
    let (tracer, peer) = start(netns);
    let mut reset = Connection::open(&peer, |_| ());
    reset.wire.send(Flags::RST);
    let end = reset.end(&tracer, netns);
    assert_eq!(end.reason.as_deref(), Some("reset-received"), "{end}");
    assert_eq!(end.reset_reason, None, "{end}");
    // The kernel gives up without a RST.
    let silent = Connection::open(&peer, |socket| {
        let timeout = Some(Duration::from_millis(500));
        socket.set_tcp_user_timeout(timeout).expect("an option");
    });
    assert_eq!(silent.socket().send(b"request").expect("connected"), 7);
    let end = silent.end(&tracer, netns);
    assert_eq!(end.reason.as_deref(), Some("timeout"), "{end}");
    assert_eq!(end.reset_reason, None, "{end}");
    assert!(end.retransmits_total >= Some(1), "{end}");
}

fn an_end_has_the_retransmissions_and_round_trip_time_of_tcp_info(netns: Netns) {
    let (tracer, peer) = start(netns);
    let mut connection = Connection::open(&peer, |_| ());
    assert_eq!(connection.socket().send(b"request").expect("connected"), 7);
    let retransmitted = poll_until(TIMEOUT, || (connection.measured().0 >= Some(2)).then_some(()));
    assert!(retransmitted.is_some(), "nothing is retransmitted");
    connection.wire.expect_data();
    connection.wire.send(Flags::ACK);
    let acknowledged = poll_until(TIMEOUT, || {
        let info = host::tcp_info(connection.socket()).expect("a TCP socket");
        (info.tcpi_unacked == 0).then_some(())
    });
    assert!(acknowledged.is_some(), "the acknowledgment does not arrive");
    let measured = connection.measured();
    assert!(measured.0 >= Some(2) && measured.1.is_some(), "{measured:?}");
    connection
        .socket()
        .set_linger(Some(Duration::ZERO))
        .expect("an option");
    connection.close();
    let end = connection.end(&tracer, netns);
    assert_eq!((end.retransmits_total, end.rtt_ns), measured, "{end}");
    // Of a peer that never answered there is no round-trip time.
    let remote = SocketAddr::new(peer.family().peer(), PEER_PORT);
    let socket = host::socket(remote).expect("a socket");
    host::connect(&socket, remote).expect("a SYN can be sent");
    let local = host::local_end(&socket).expect("it has a port");
    drop(socket);
    let end = tracer.wait_until(netns, TIMEOUT, |events| {
        let mut ends = events.iter().filter(|event| event.new == State::Close);
        ends.find(|event| event.local.port == local.port()).cloned()
    });
    let end = end.expect("it is reported");
    assert_eq!(
        (end.old, end.retransmits_total, end.rtt_ns),
        (State::SynSent, Some(0), None),
        "{end}"
    );
}

fn time_wait_keeps_what_the_full_socket_had_measured(netns: Netns) {
    let (tracer, peer) = start(netns);
    let mut connection = Connection::open(&peer, |_| ());
    connection.socket().shutdown(Shutdown::Write).expect("connected");
    connection.wire.expect(Flags::FIN_ACK);
    connection.wire.send(Flags::ACK);
    connection.wait_for(Some(State::FinWait2));
    let measured = connection.measured();
    assert!(measured.1.is_some(), "{measured:?}");
    connection.wire.send(Flags::FIN_ACK);
    connection.wait_for(Some(State::TimeWait));
    connection.close();
    connection.wire.send(Flags::RST);
    let end = connection.end(&tracer, netns);
    assert_eq!(end.reason.as_deref(), Some("timewait-reset"), "{end}");
    assert_eq!((end.retransmits_total, end.rtt_ns), measured, "{end}");
}

fn a_recording_has_the_network_evidence_of_its_snapshot(netns: Netns) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("network.arrows");
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let timeout = Duration::from_mins(5);
    let idle = Connection::open(&peer, |socket| {
        socket.set_tcp_user_timeout(Some(timeout)).expect("an option");
    });
    let stuck = Connection::open(&peer, |_| ());
    assert_eq!(stuck.socket().send(b"request").expect("connected"), 7);
    let retransmitted = poll_until(TIMEOUT, || (stuck.measured().0 >= Some(2)).then_some(()));
    assert!(retransmitted.is_some(), "nothing is retransmitted");
    let recording = Recording::start(&file, &file, &[]);
    // The first snapshot is over, the last one is not.
    let mut later = Connection::open(&peer, |_| ());
    recording.stop();
    let of = |connection: &Connection| {
        let rows = exported(&file);
        let row = rows
            .iter()
            .find(|row| row["local_port"] == connection.wire.there().port());
        row.expect("it is exported").clone()
    };
    let network: Value = network_of(&of(&idle));
    let listed = sockets::list(netns, &[]);
    let now = listed
        .iter()
        .find(|socket| socket.endpoints().0 == idle.wire.there())
        .and_then(|socket| socket.network.clone())
        .expect("it is idle and open");
    let recorded: sockets::Network = serde_json::from_value(network).expect("the fields of a snapshot");
    assert_eq!(recorded, now);
    assert_eq!(recorded.user_timeout_ns, Some(300_000_000_000));
    let network = network_of(&of(&stuck));
    assert!(network["retransmits"].as_u64() >= Some(2), "{network}");
    assert_eq!(network["unacknowledged_bytes"], 7, "{network}");
    assert_eq!(network_of(&of(&later))["timer"], "off");
    later.close();
    let inode = netns.inode.to_string();
    let lines = recording::read(&["report", "--json", "-N", &inode], &[&file]).out;
    let connections: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|mut line| line.get_mut("connection").map(Value::take))
        .collect();
    assert_eq!(connections.len(), 1, "{lines}");
    assert_eq!(
        connections[0]["local"]["port"],
        stuck.wire.there().port(),
        "{lines}"
    );
    assert_eq!(connections[0]["network"], network, "{lines}");
    let text = recording::read(&["report", "-N", &inode], &[&file]).out;
    assert!(
        text.contains("1 connection had unanswered segments or probes at the snapshot"),
        "{text}"
    );
}

fn exported(file: &Path) -> Vec<Value> {
    let lines = recording::read(&["export", "--format", "jsonl"], &[file]).out;
    let rows = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    // Those that still exist at the end.
    rows.filter(|row| row["new"].is_null()).collect()
}

fn network_of(row: &Value) -> Value {
    let text = row["network"]
        .as_str()
        .unwrap_or_else(|| panic!("no evidence: {row}"));
    serde_json::from_str(text).expect("JSON")
}
