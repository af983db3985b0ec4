//! Programs, peers and settings with problems: each gives its finding.

use crate::doctor::{Diagnosis, figure};
use serde_json::Value;
use socket2::{SockRef, Socket};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{self, Command},
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tcptrace_tests::{
    clock::linger,
    host,
    netns::Netns,
    peer::{Conversation, Family, Flags, Peer},
    recording::{self, Recording},
};

const LOOPBACK: &str = "127.0.0.1:0";

fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(LOOPBACK).expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A connection that its client has closed: the client's socket goes to TIME_WAIT.
fn leave(listener: &TcpListener, address: SocketAddr) {
    let client = TcpStream::connect(address).expect("the listener takes a connection");
    let (server, _) = listener.accept().expect("it waits");
    drop(client);
    drop(server);
}

pub(crate) fn a_listener_stops_accepting(netns: Netns) {
    const QUEUE: i32 = 4;
    let listener = host::listen(LOOPBACK.parse().expect("an address"), QUEUE).expect("loopback");
    let address = listener.local_addr().expect("bound");
    // The queue holds one more than its limit; the kernel drops the SYNs of the others.
    let _clients: Vec<Socket> = (0..QUEUE + 4)
        .map(|_| {
            let socket = host::socket(address).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            // It is in progress, or connected.
            let _ = host::connect(&socket, address);
            socket
        })
        .collect();
    let diagnosis = Diagnosis::of(netns, &["--duration", "5"]);
    let full = diagnosis.finding("accept-queue-full");
    assert_eq!(full["level"], "critical", "{full:#}");
    assert_eq!(full["subject"]["port"], address.port(), "{full:#}");
    assert!((figure(full, "accept_queue") - 5.0).abs() < 0.1, "{full:#}");
    // The clients whose SYNs are dropped wait.
    let waits = diagnosis.finding("connect-unanswered");
    assert_eq!(waits["subject"]["port"], address.port(), "{waits:#}");
    assert_eq!(diagnosis.rules().len(), 2, "{diagnosis:#?}");
    assert_eq!(diagnosis.code, Some(3));
}

pub(crate) fn the_table_of_time_wait_is_full(netns: Netns) {
    netns
        .set("ipv4/tcp_max_tw_buckets", "10")
        .expect("a namespace takes its sysctls");
    let (listener, address) = bind();
    let is_done = AtomicBool::new(false);
    let diagnosis = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                leave(&listener, address);
                linger(Duration::from_millis(20));
            }
        });
        let diagnosis = Diagnosis::of(netns, &["--duration", "3"]);
        is_done.store(true, Ordering::Relaxed);
        diagnosis
    });
    let full = diagnosis.finding("time-wait-overflow");
    assert_eq!(full["level"], "warning", "{full:#}");
    assert!(figure(full, "time_waits_skipped") >= 20.0, "{full:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

pub(crate) fn reset_sockets_stay_open(netns: Netns) {
    let (listener, address) = bind();
    let _kept: Vec<TcpStream> = (0..12)
        .map(|_| {
            let client = TcpStream::connect(address).expect("the listener takes a connection");
            let (server, _) = listener.accept().expect("it waits");
            let client = Socket::from(client);
            client.set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(client);
            server
        })
        .collect();
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let kept = diagnosis.finding("reset-not-closed");
    assert_eq!(kept["subject"]["pid"], process::id(), "{kept:#}");
    assert!((figure(kept, "pending_errors") - 12.0).abs() < 0.1, "{kept:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

pub(crate) fn closing_with_unread_data_resets(netns: Netns) {
    let (listener, address) = bind();
    let is_done = AtomicBool::new(false);
    let diagnosis = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let mut client = TcpStream::connect(address).expect("the listener takes a connection");
                let (server, _) = listener.accept().expect("it waits");
                client.write_all(b"a request").expect("connected");
                // The data has arrived.
                SockRef::from(&server)
                    .peek(&mut [std::mem::MaybeUninit::uninit()])
                    .expect("it is there");
                drop(server);
                // The RST, or the end of file before it.
                let _ = client.read(&mut [0]);
                linger(Duration::from_millis(20));
            }
        });
        let diagnosis = Diagnosis::of(netns, &["--duration", "3"]);
        is_done.store(true, Ordering::Relaxed);
        diagnosis
    });
    let reset = diagnosis.finding("reset-unread");
    assert!(figure(reset, "aborted_on_close") >= 20.0, "{reset:#}");
    assert!(figure(reset, "resets_sent_by_process") >= 20.0, "{reset:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

/// A listener for the scripted peer.
fn towards_peer() -> (Rc<Peer>, TcpListener, SocketAddr) {
    let peer = Peer::attach(Family::V4).expect("a device");
    let address = SocketAddr::new(Family::V4.host(), 8080);
    let listener = host::listen(address, 256).expect("the address is this host's");
    (peer, listener, address)
}

/// Eighty SYNs whose handshake is never completed, from one address: bounded, and in a namespace of their own.
pub(crate) fn a_syn_flood(netns: Netns) {
    let (peer, _listener, address) = towards_peer();
    for port in 1..=80 {
        Conversation::new(&peer, 10_000 + port, address).send(Flags::SYN);
    }
    let diagnosis = Diagnosis::of(netns, &["--duration", "3"]);
    let flood = diagnosis.finding("syn-backlog");
    assert_eq!(flood["level"], "warning", "{flood:#}");
    assert_eq!(flood["subject"]["port"], 8080, "{flood:#}");
    assert!((figure(flood, "half_open") - 80.0).abs() < 0.1, "{flood:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

/// The host closes, and its FIN is not acknowledged for half a minute.
pub(crate) fn a_peer_never_acknowledges(netns: Netns) {
    let (peer, listener, address) = towards_peer();
    let mut connection = Conversation::new(&peer, 10_000, address);
    connection.send(Flags::SYN);
    connection.expect(Flags::SYN_ACK);
    connection.send(Flags::ACK);
    let (server, _) = listener.accept().expect("it waits");
    drop(server);
    linger(Duration::from_secs(31));
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    let stuck = diagnosis.finding("fin-wait1-stuck");
    assert_eq!(
        stuck["subject"]["addr"],
        Family::V4.peer().to_string(),
        "{stuck:#}"
    );
    assert!(figure(stuck, "unanswered_seconds") >= 30.0, "{stuck:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

/// A firewall drops the SYNs, and the clients' own timeouts are shorter than the kernel's: one closes its socket, another
/// is killed.
pub(crate) fn clients_give_up_before_the_kernel(netns: Netns) {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let _peer = Peer::attach(Family::V4).expect("a device");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.arrows");
    let recording = Recording::start(&file, &file, &[]);
    let filtered = SocketAddr::new(Family::V4.peer(), 5432);
    let diagnosis = thread::scope(|scope| {
        scope.spawn(|| {
            linger(Duration::from_secs(1));
            let program = format!("exec 3<>/dev/tcp/{}/{}", filtered.ip(), filtered.port());
            let mut killed = Command::new("timeout")
                .args([
                    "--signal=KILL",
                    &TIMEOUT.as_secs().to_string(),
                    "bash",
                    "-c",
                    &program,
                ])
                .spawn()
                .expect("timeout(1) can be started");
            let error = TcpStream::connect_timeout(&filtered, TIMEOUT).expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            killed.wait().expect("it is our child");
        });
        Diagnosis::of(netns, &["--duration", "5"])
    });
    recording.stop();
    let recorded = Diagnosis::of(netns, &[file.to_str().expect("a temporary path is text")]);
    for diagnosis in [diagnosis, recorded] {
        let failed = diagnosis.finding("connect-unanswered");
        assert_eq!(failed["level"], "note", "{failed:#}");
        assert_eq!(failed["subject"]["addr"], filtered.ip().to_string(), "{failed:#}");
        assert_eq!(failed["subject"]["port"], filtered.port(), "{failed:#}");
        assert!((figure(failed, "cancelled") - 2.0).abs() < 0.1, "{failed:#}");
        let waited = figure(failed, "cancelled_after_seconds");
        assert!((1.9..2.5).contains(&waited), "{failed:#}");
        assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
    }
    let inode = netns.inode.to_string();
    let hist = recording::read(
        &["hist", "--json", "--by", "endpoint", "--netns", &inode],
        &[&file],
    );
    let rows: Vec<Value> = hist
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|row: &Value| row["group"] == "key" && row["end"] == "cancelled")
        .collect();
    let [cancelled] = rows.as_slice() else {
        panic!("not one destination: {}", hist.out);
    };
    assert_eq!(
        cancelled["key"]["remote"]["port"],
        filtered.port(),
        "{cancelled:#}"
    );
    assert_eq!(cancelled["count"], 2, "{cancelled:#}");
    assert!(
        cancelled["min_ns"].as_u64() >= Some(1_900_000_000),
        "{cancelled:#}"
    );
}

/// Without SYN cookies the kernel keeps a quarter of the backlog for clients that it knows, and drops the SYNs of others.
pub(crate) fn a_listener_drops_without_a_full_queue(netns: Netns) {
    for (name, value) in [("ipv4/tcp_syncookies", "0"), ("ipv4/tcp_max_syn_backlog", "8")] {
        netns.set(name, value).expect("a namespace takes its sysctls");
    }
    let (peer, _listener, address) = towards_peer();
    let diagnosis = thread::scope(|scope| {
        let doctor = scope.spawn(|| Diagnosis::of(netns, &["--duration", "5"]));
        linger(Duration::from_secs(2));
        for port in 1..=12 {
            Conversation::new(&peer, 10_000 + port, address).send(Flags::SYN);
        }
        doctor.join().expect("it has a result")
    });
    let drops = diagnosis.finding("listener-drops");
    assert_eq!(drops["level"], "warning", "{drops:#}");
    assert_eq!(drops["subject"]["port"], address.port(), "{drops:#}");
    // The quarter of 8 is 2: 7 requests are held.
    assert!((figure(drops, "drops") - 5.0).abs() < 0.1, "{drops:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}

/// The kernel drops the bare ACKs of its clients, as Apache httpd's and nginx's listeners have it, and no client is lost.
pub(crate) fn a_listener_that_defers_drops_nothing(netns: Netns) {
    let (listener, address) = bind();
    let listener = Socket::from(listener);
    host::set_tcp_option(&listener, libc::TCP_DEFER_ACCEPT, 30).expect("an option");
    let diagnosis = thread::scope(|scope| {
        let doctor = scope.spawn(|| Diagnosis::of(netns, &["--duration", "5"]));
        linger(Duration::from_secs(2));
        let _clients: Vec<TcpStream> = (0..8)
            .map(|_| TcpStream::connect(address).expect("the kernel answers"))
            .collect();
        doctor.join().expect("it has a result")
    });
    assert_eq!(diagnosis.findings, Vec::<Value>::new());
}

/// The client has connected, and the program does not call `accept`.
pub(crate) fn a_connection_waits_for_accept(netns: Netns) {
    let (_listener, address) = bind();
    let _client = TcpStream::connect(address).expect("the listener takes a connection");
    let diagnosis = Diagnosis::of(netns, &["--duration", "12"]);
    let late = diagnosis.finding("accept-queue-full");
    assert_eq!(late["level"], "warning", "{late:#}");
    assert_eq!(late["subject"]["port"], address.port(), "{late:#}");
    assert!(figure(late, "longest_wait_seconds") >= 10.0, "{late:#}");
    assert_eq!(diagnosis.rules().len(), 1, "{diagnosis:#?}");
}
