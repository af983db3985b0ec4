//! Peers that stop answering or stop reading: each is reported with when the kernel gives up, which comes true.

use crate::doctor::{Diagnosis, figure};
use serde_json::Value;
use socket2::{Socket, TcpKeepalive};
use std::{
    io::Read as _,
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    process,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    clock::{linger, poll_until},
    host,
    netns::Netns,
    peer::{Conversation, Family, Peer},
    sockets,
};

const PEER_PORT: u16 = 5_000;

/// A peer that has not answered for this long is dead, if it left three timeouts unanswered.
const SILENCE: Duration = Duration::from_millis(3_500);

/// A window that is closed for less is that of a slow reader.
const CLOSED: Duration = Duration::from_millis(10_500);

/// By how much a forecast may be wrong beside a tenth of it: the kernel's timers, and a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// The finding on the peer, whose forecast must come true within a tenth; by what the kernel is to give up.
fn given_up_as_forecast(netns: Netns, socket: &Socket, by: &str) -> Value {
    let before = Instant::now();
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let after = Instant::now();
    let dead = diagnosis.finding("dead-peer").clone();
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
    assert_eq!(dead["level"], "warning", "this host connected: {dead:#}");
    assert_eq!(dead["subject"]["addr"], Family::V4.peer().to_string(), "{dead:#}");
    assert_eq!(dead["subject"]["port"], PEER_PORT, "{dead:#}");
    assert!(dead.to_string().contains(by), "{dead:#}");
    let forecast = Duration::from_secs_f64(figure(&dead, "gives_up_in_seconds"));
    socket.set_nonblocking(false).expect("our own socket");
    let error = socket
        .recv(&mut [MaybeUninit::uninit()])
        .expect_err("the peer sends nothing");
    let end = Instant::now();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT), "{error}");
    // The evidence was read at some moment of the run.
    let tolerance = forecast / 10 + SLACK;
    assert!(
        end - before >= forecast.saturating_sub(tolerance),
        "{:?}: {dead:#}",
        end - before
    );
    assert!(end - after <= forecast + tolerance, "{:?}: {dead:#}", end - after);
    dead
}

pub(crate) fn a_peer_stops_acknowledging(netns: Netns) {
    netns
        .set("ipv4/tcp_retries2", "5")
        .expect("a namespace takes its sysctls");
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    socket.send(&[0; 1_000]).expect("connected");
    linger(SILENCE);
    let dead = given_up_as_forecast(netns, &socket, "tcp_retries2");
    assert!(figure(&dead, "timeouts") >= 3.0, "{dead:#}");
    assert!(figure(&dead, "unanswered_seconds") >= 3.0, "{dead:#}");
    assert!(
        (figure(&dead, "unacknowledged_bytes") - 1_000.0).abs() < 0.1,
        "{dead:#}"
    );
}

/// In-order data that acknowledges nothing new takes the kernel's fast path, without `tcp_ack`.
pub(crate) fn a_peer_that_sends_is_not_dead(netns: Netns) {
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, mut wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    socket.send(&[0; 1_000]).expect("connected");
    // The first takes the slow path, which makes room for the next.
    wire.send_data(b"first");
    linger(SILENCE);
    wire.send_data(b"second");
    for reader in ["netlink", "iterator"] {
        let diagnosis = Diagnosis::of(netns, &["--once", "--sockets", reader]);
        assert_eq!(diagnosis.findings, Vec::<Value>::new(), "{reader}");
    }
}

pub(crate) fn a_limit_of_the_timeouts_is_in_the_forecast(netns: Netns) {
    let is_limited = netns.set("ipv4/tcp_rto_max_ms", "1000").is_ok();
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    if is_limited {
        // A socket keeps the limit that it was created with.
        netns
            .set("ipv4/tcp_rto_max_ms", "120000")
            .expect("a namespace takes its sysctls");
    }
    given_up_by_retries(netns, &socket, is_limited);
}

pub(crate) fn a_limit_of_the_socket_s_timeouts_is_in_the_forecast(netns: Netns) {
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    let is_limited = host::set_rto_max(&socket, Duration::from_secs(1)).is_ok();
    given_up_by_retries(netns, &socket, is_limited);
}

/// A socket whose timeouts may be limited to a second. Before Linux 6.15 they cannot be, and fewer take as long.
fn given_up_by_retries(netns: Netns, socket: &Socket, is_limited: bool) {
    netns
        .set("ipv4/tcp_retries2", if is_limited { "8" } else { "5" })
        .expect("a namespace takes its sysctls");
    socket.send(&[0; 1_000]).expect("connected");
    linger(SILENCE);
    given_up_as_forecast(netns, socket, "tcp_retries2");
}

pub(crate) fn a_user_timeout_ends_a_dead_connection(netns: Netns) {
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    let timeout = Duration::from_secs(12);
    socket.set_tcp_user_timeout(Some(timeout)).expect("an option");
    socket.send(&[0; 1_000]).expect("connected");
    linger(SILENCE);
    given_up_as_forecast(netns, &socket, "TCP_USER_TIMEOUT");
}

pub(crate) fn keep_alive_ends_a_dead_connection(netns: Netns) {
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new()
        .with_time(second)
        .with_interval(second)
        .with_retries(8);
    socket.set_tcp_keepalive(&keepalive).expect("an option");
    // The first probe after a second, the third after three.
    linger(SILENCE);
    let dead = given_up_as_forecast(netns, &socket, "keep-alive probes");
    assert!(figure(&dead, "unanswered_probes") >= 3.0, "{dead:#}");
}

/// The reader takes nothing for a while, and then everything.
pub(crate) fn a_peer_does_not_read(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("the listener takes a connection");
    let (mut server, _) = listener.accept().expect("it waits");
    client.set_nonblocking(true).expect("our own socket");
    let writer = Socket::from(client);
    let mut written = 0;
    // The window may still open a little while the reader's buffer grows.
    for _ in 0..20 {
        while let Ok(count) = writer.send(&[0; 4_096]) {
            written += count;
        }
        linger(Duration::from_millis(20));
    }
    linger(CLOSED);
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let stuck = diagnosis.finding("peer-not-reading");
    assert_eq!(stuck["level"], "note", "{stuck:#}");
    assert!(figure(stuck, "blocked_seconds") >= 10.0, "{stuck:#}");
    assert!(figure(stuck, "waiting_bytes") > 0.0, "{stuck:#}");
    let reader = figure(stuck, "reader_pid");
    assert!((reader - f64::from(process::id())).abs() < 0.1, "{stuck:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
    server.read_exact(&mut vec![0; written]).expect("it was sent");
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    assert_eq!(diagnosis.findings, Vec::<Value>::new());
}

/// The peer answers every probe of its closed window, and the program here has closed.
pub(crate) fn an_orphan_is_given_up_although_its_peer_answers(netns: Netns) {
    let settings = [
        ("ipv4/tcp_rto_max_ms", "1000"),
        ("ipv4/tcp_orphan_retries", "30"),
        ("ipv4/tcp_retries2", "40"),
    ];
    for (name, value) in settings {
        netns.set(name, value).expect("a namespace takes its sysctls");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("the listener takes a connection");
    let _server = listener.accept().expect("it waits");
    client.set_nonblocking(true).expect("our own socket");
    let writer = Socket::from(client);
    for _ in 0..20 {
        while writer.send(&[0; 4_096]).is_ok() {}
        linger(Duration::from_millis(20));
    }
    let local = host::local_end(&writer).expect("connected");
    drop(writer);
    linger(CLOSED);
    let before = Instant::now();
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let after = Instant::now();
    let stuck = diagnosis.finding("peer-not-reading");
    assert!(stuck.to_string().contains("tcp_orphan_retries"), "{stuck:#}");
    let forecast = Duration::from_secs_f64(figure(stuck, "gives_up_in_seconds"));
    let is_gone = || {
        let open = sockets::list(netns, &["--state", "fin-wait-1"]);
        open.iter().all(|socket| socket.endpoints().0 != local)
    };
    poll_until(forecast * 2 + SLACK, || is_gone().then_some(())).expect("the kernel gives it up");
    let end = Instant::now();
    let tolerance = forecast / 10 + SLACK;
    assert!(
        end - before >= forecast.saturating_sub(tolerance),
        "{:?}: {stuck:#}",
        end - before
    );
    assert!(
        end - after <= forecast + tolerance,
        "{:?}: {stuck:#}",
        end - after
    );
}
