//! A flood of connections with as many snapshots as the machine can take, without a warning in the kernel's log.
//! Reading sockets through the `tcp` iterator fails this test on a kernel with the fault of CVE-2026-74714.

use std::{
    env,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    command::{self, tcptrace},
    kernel_log::KernelLog,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
};

/// Duration of the flood in seconds, unless `TCPTRACE_FLOOD_SECONDS` sets it.
const FLOOD_SECONDS: u64 = 15;

fn main() -> ExitCode {
    let tests = vec![LiveTest::new(
        "snapshots_beside_a_flood_leave_the_kernel_unharmed",
        live::TRACING,
        snapshots_beside_a_flood_leave_the_kernel_unharmed,
    )];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn snapshots_beside_a_flood_leave_the_kernel_unharmed() {
    let seconds = env::var("TCPTRACE_FLOOD_SECONDS")
        .ok()
        .map_or(FLOOD_SECONDS, |text| text.parse().expect("a number of seconds"));
    Netns::run(|netns| {
        let mut log = KernelLog::open().expect("root reads the kernel's log");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes a listener");
        let end = Instant::now() + Duration::from_secs(seconds);
        let is_over = AtomicBool::new(false);
        let (connections, mut snapshots) = (AtomicU64::new(0), 0_u64);
        thread::scope(|scope| {
            scope.spawn(|| flood(&listener, &is_over, &connections));
            while Instant::now() < end {
                let output = command::run(tcptrace(&["snapshot", "-N", &netns.inode.to_string()]));
                assert_eq!(output.code, Some(0), "{}", output.err);
                snapshots += 1;
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let connections = connections.into_inner();
        println!("{connections} connections beside {snapshots} snapshots in {seconds} s");
        assert!(
            connections > 100 && snapshots > 1,
            "there was no flood, or nothing beside it"
        );
        let alarms = log.alarms().expect("the log can be read");
        assert!(alarms.is_empty(), "{}", alarms.join("\n"));
    });
}

/// Connects and closes with a RST, so that no port stays in TIME_WAIT.
fn flood(listener: &TcpListener, is_over: &AtomicBool, connections: &AtomicU64) {
    let server = listener.local_addr().expect("a listener has an address");
    while !is_over.load(Ordering::Relaxed) {
        let client = TcpStream::connect(server).expect("the listener takes a connection");
        let (child, _) = listener.accept().expect("the client has connected");
        let client = socket2::Socket::from(client);
        client
            .set_linger(Some(Duration::ZERO))
            .expect("a socket takes the option");
        drop((client, child));
        connections.fetch_add(1, Ordering::Relaxed);
    }
}
