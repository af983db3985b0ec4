//! `tcptrace snapshot` shows what the network does to a socket as `ss -tinoem` does, field by field, by netlink and by the
//! iterator, and the options that the program has set.

use serde_json::Value;
use socket2::{Socket, TcpKeepalive};
use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    clock::{nanoseconds, poll_until},
    command::{self, tcptrace},
    host,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    peer::{Conversation, Family, Peer},
    sockets::{self, Listed, Network},
    ss_network::{self, Printed},
};

/// Maximum time for the kernel to reach a state, and to be quiet in it for three listings.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel's timers count in ticks of at most 10 ms, of which a reader may round away one.
const TICKS: Duration = Duration::from_millis(20);
const PEER_PORT: u16 = 5_000;

/// The body of a test in its namespace.
type Test = fn(Netns);

fn main() -> ExitCode {
    let tests: [(&str, Test); 6] = [
        (
            "an_idle_connection_is_that_of_ss",
            an_idle_connection_is_that_of_ss,
        ),
        (
            "options_are_those_that_the_program_set",
            options_are_those_that_the_program_set,
        ),
        (
            "a_peer_that_does_not_acknowledge_is_seen",
            a_peer_that_does_not_acknowledge_is_seen,
        ),
        ("a_closed_window_is_seen", a_closed_window_is_seen),
        (
            "text_and_csv_have_the_columns_asked_for",
            text_and_csv_have_the_columns_asked_for,
        ),
        (
            "what_is_no_connection_has_no_evidence",
            what_is_no_connection_has_no_evidence,
        ),
    ];
    let tests = tests
        .into_iter()
        .map(|(name, body)| {
            let mut requirements = live::TRACING.to_vec();
            requirements.extend([Requirement::Ss, Requirement::Tun]);
            LiveTest::new(name, &requirements, move || Netns::run(body))
        })
        .collect();
    live::run(tests, Parallelism::All, || Ok(()))
}

fn an_idle_connection_is_that_of_ss(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    exchange(&client, &server);
    let [client, server] = agreed(netns, [local(&client), local(&server)], |network| {
        network.timer.as_deref() == Some("off")
    });
    for network in [client, server] {
        assert!(network.rtt_ns > Some(0), "{network:?}");
        assert_eq!(network.congestion.as_deref(), Some("open"), "{network:?}");
        assert!(network.receive_window_bytes > Some(0), "{network:?}");
        assert_eq!(network.keepalive, Some(false), "{network:?}");
        assert_eq!(network.user_timeout_ns, Some(0), "{network:?}");
    }
}

fn options_are_those_that_the_program_set(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    let (client, server) = (Socket::from(client), Socket::from(server));
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(77))
        .with_interval(Duration::from_secs(7))
        .with_retries(3);
    client.set_tcp_keepalive(&keepalive).expect("an option");
    client
        .set_tcp_user_timeout(Some(Duration::from_millis(31_500)))
        .expect("an option");
    server.set_keepalive(true).expect("an option");
    let is_limited = host::set_rto_max(&client, Duration::from_secs(9)).is_ok();
    let ends = [&client, &server].map(|socket| host::local_end(socket).expect("connected"));
    let [client, server] = agreed(netns, ends, |network| {
        network.timer.as_deref() == Some("keepalive")
    });
    assert_eq!(
        options(&client),
        (Some(31_500), Some(true), Some(77), Some(7), Some(3))
    );
    // What is not set is 0: the sysctls apply.
    assert_eq!(options(&server), (Some(0), Some(true), Some(0), Some(0), Some(0)));
    // Before Linux 6.15 a socket has no such option.
    let rto_max = |ns: u64| is_limited.then_some(ns);
    assert_eq!(client.rto_max_ns, rto_max(9_000_000_000));
    assert_eq!(server.rto_max_ns, rto_max(120_000_000_000));
}

/// User timeout in milliseconds, keep-alive, its times in seconds, its probes.
type Options = (Option<u64>, Option<bool>, Option<u64>, Option<u64>, Option<u32>);

fn options(network: &Network) -> Options {
    let seconds = |ns: Option<u64>| ns.map(|ns| ns / 1_000_000_000);
    (
        network.user_timeout_ns.map(|ns| ns / 1_000_000),
        network.keepalive,
        seconds(network.keepalive_time_ns),
        seconds(network.keepalive_interval_ns),
        network.keepalive_probes,
    )
}

fn a_peer_that_does_not_acknowledge_is_seen(netns: Netns) {
    const BYTES: usize = 5_000;
    let peer = Peer::attach(Family::V4).expect("a TUN device can be made");
    let (socket, _wire) = Conversation::of_connect(&peer, PEER_PORT, |_| {});
    assert_eq!(socket.send(&[0; BYTES]).expect("connected"), BYTES);
    let end = host::local_end(&socket).expect("connected");
    let [network] = agreed(netns, [end], |network| network.retransmits >= Some(3));
    assert_eq!(network.timer.as_deref(), Some("retransmit"), "{network:?}");
    assert_eq!(network.congestion.as_deref(), Some("loss"), "{network:?}");
    assert_eq!(
        network.unacknowledged_bytes,
        u32::try_from(BYTES).ok(),
        "{network:?}"
    );
    assert!(
        network.retransmits_total >= Some(3) && network.backoff >= Some(3),
        "{network:?}"
    );
    // The timeout is the first one, doubled with each back-off.
    assert!(network.timer_expires_ns <= network.rto_ns, "{network:?}");
}

fn a_closed_window_is_seen(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    client.set_nonblocking(true).expect("our own socket");
    let writer = Socket::from(client);
    while writer.send(&[0; 4_096]).is_ok() {}
    let ends = [host::local_end(&writer).expect("connected"), local(&server)];
    let [writer, reader] = agreed(netns, ends, |network| {
        // The reader sends nothing; the writer fills what is left of the window before a probe goes unanswered.
        network.not_sent_bytes == Some(0) || network.backoff >= Some(2)
    });
    assert_eq!(writer.timer.as_deref(), Some("window-probe"), "{writer:?}");
    assert_eq!(writer.send_window_bytes, Some(0), "{writer:?}");
    assert_eq!(writer.unacknowledged_bytes, Some(0), "{writer:?}");
    assert!(writer.not_sent_bytes > Some(0), "{writer:?}");
    assert!(writer.send_memory_bytes >= writer.not_sent_bytes, "{writer:?}");
    assert_eq!(reader.receive_window_bytes, Some(0), "{reader:?}");
    assert!(reader.receive_memory_bytes > Some(0), "{reader:?}");
}

fn text_and_csv_have_the_columns_asked_for(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, _server) = pair_on(&listener);
    let inode = netns.inode.to_string();
    let list = |more: &[&str]| {
        let mut arguments = vec!["snapshot", "--netns", &inode];
        arguments.extend(more);
        command::run(tcptrace(&arguments))
    };
    let port = local(&client).port().to_string();
    let csv = list(&[
        "-L",
        &port,
        "--csv",
        "--columns",
        "timer,local_port,keepalive,rtt_ns",
    ]);
    let lines: Vec<&str> = csv.out.lines().collect();
    assert_eq!(lines[0], "timer,local_port,keepalive,rtt_ns", "{}", csv.err);
    assert!(lines[1].starts_with(&format!("off,{port},false,")), "{lines:?}");
    let text = list(&["-L", &port, "--columns", "state,local_port,rtt_ns"]);
    let words: Vec<&str> = text.out.split_whitespace().collect();
    assert_eq!(words[..5], ["STATE", "LOCAL_PORT", "RTT", "ESTABLISHED", &port]);
    let wide = list(&["-L", &port, "-w"]);
    assert!(wide.out.contains("\n            rtt "), "{}", wide.out);
    let wrong = list(&["--columns", "state,speed"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    assert!(wrong.err.contains("unknown column \"speed\""), "{}", wrong.err);
    assert!(wrong.err.contains(",rtt_ns,"), "{}", wrong.err);
}

fn what_is_no_connection_has_no_evidence(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    let gone = local(&client);
    // At once: a program that another test starts has the descriptors, too, until it is executed.
    client.shutdown(Shutdown::Write).expect("it is connected");
    drop(client);
    drop(server);
    let listed = poll_until(TIMEOUT, || {
        let listed = sockets::list(netns, &["-s", "time-wait"]);
        let is_listed = listed.iter().any(|socket| socket.endpoints().0 == gone);
        is_listed.then_some(listed)
    });
    let listed = listed.expect("the end that closes first is in TIME_WAIT");
    assert!(listed.iter().all(|socket| socket.network.is_none()), "{listed:?}");
    let listening = sockets::list(netns, &["-s", "listen"]);
    let network = listening[0].network.as_ref().expect("a listener has options");
    assert_eq!((network.rtt_ns, network.timer.as_ref()), (None, None));
    assert_eq!(network.keepalive, Some(false));
}

/// What every reader and `ss` report on the sockets with these local ends, once `is_ready` holds of each and nothing
/// changes for as long as they are read.
fn agreed<const N: usize>(
    netns: Netns,
    ends: [SocketAddr; N],
    is_ready: impl Fn(&Network) -> bool,
) -> [Network; N] {
    let mut last = String::new();
    let found = poll_until(TIMEOUT, || {
        // Of a delayed ACK, which newer kernels report, an older ss prints no name.
        let mut ss = || {
            ss_network::by_cookie()
                .map_err(|error| last = error.to_string())
                .ok()
        };
        let before = ss()?;
        let by_netlink = sockets::list(netns, &[]);
        // No connection is made here, so that no request socket is in the table that the iterator walks.
        let by_iterator = sockets::list(netns, &["--sockets", "iterator"]);
        let after = ss()?;
        let networks = ends.map(|end| {
            let netlink = of(&by_netlink, end);
            let iterator = of(&by_iterator, end);
            let network = evidence(netlink);
            let differences = [
                difference(
                    "netlink",
                    network,
                    &before[&netlink.cookie],
                    &after[&netlink.cookie],
                ),
                difference(
                    "iterator",
                    evidence(iterator),
                    &before[&netlink.cookie],
                    &after[&netlink.cookie],
                ),
                differing("iterator", evidence(iterator), "netlink", network),
            ];
            let differences: Vec<String> = differences.into_iter().flatten().collect();
            // The iterator reports all of it on every kernel.
            let network = evidence(iterator);
            if differences.is_empty() && is_ready(network) {
                Ok(network.clone())
            } else {
                Err(format!("{}\n{network:?}", differences.join("\n")))
            }
        });
        for network in &networks {
            if let Err(why) = network {
                last.clone_from(why);
                return None;
            }
        }
        Some(networks.map(|network| network.expect("checked above")))
    });
    found.unwrap_or_else(|| panic!("no agreement: {last}"))
}

fn of(listed: &[Listed], end: SocketAddr) -> &Listed {
    let found = listed
        .iter()
        .find(|socket| socket.endpoints().0 == end && socket.endpoints().1.port() != 0);
    found.unwrap_or_else(|| panic!("no socket of {end}: {listed:?}"))
}

fn evidence(socket: &Listed) -> &Network {
    socket.network.as_ref().expect("a connection has evidence")
}

/// The values of the other that are not the same, but for the time that passes.
fn differing(one: &str, network: &Network, other: &str, its_network: &Network) -> Option<String> {
    let fields = |network: &Network| {
        let network = Network {
            timer_expires_ns: None,
            ..network.clone()
        };
        match serde_json::to_value(network).expect("plain data") {
            Value::Object(fields) => fields,
            other => panic!("no object: {other}"),
        }
    };
    let its_fields = fields(its_network);
    let unequal: Vec<String> = fields(network)
        .into_iter()
        .filter_map(|(name, value)| {
            let its_value = &its_fields[&name];
            // Netlink reports the receive window since Linux 6.2.
            let is_absent = its_value.is_null() && name == "receive_window_bytes";
            (value != *its_value && !is_absent).then(|| format!("{name}: {one} {value}, {other} {its_value}"))
        })
        .collect();
    (!unequal.is_empty()).then(|| unequal.join("; "))
}

/// What a reader and `ss` do not agree on, if `ss` printed the same before and after.
fn difference(reader: &str, ours: &Network, before: &Printed, after: &Printed) -> Option<String> {
    // What `ss` does not print.
    let comparable = Network {
        receive_window_bytes: None,
        unacknowledged_bytes: None,
        congestion: None,
        user_timeout_ns: None,
        rto_max_ns: None,
        keepalive: None,
        keepalive_time_ns: None,
        keepalive_interval_ns: None,
        keepalive_probes: None,
        // Which of the two counts `ss` prints depends on the timer.
        retransmits: after.network.retransmits.and(ours.retransmits),
        probes: after.network.probes.and(ours.probes),
        ..ours.clone()
    };
    let unequal = differing("ss before", &before.network, "ss after", &after.network)
        .or_else(|| differing(reader, &comparable, "ss", &after.network));
    if unequal.is_some() {
        return unequal;
    }
    let slack = nanoseconds(TICKS);
    let latest = before
        .network
        .timer_expires_ns
        .map(|ns| ns + before.timer_precision_ns + slack);
    let earliest = after.network.timer_expires_ns.map(|ns| ns.saturating_sub(slack));
    let expires = ours.timer_expires_ns;
    (expires > latest || expires < earliest)
        .then(|| format!("{reader}: the timer expires in {expires:?}, ss: {earliest:?} to {latest:?}"))
}

fn pair_on(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("the listener takes a connection");
    let (server, _) = listener.accept().expect("it waits");
    (client, server)
}

fn local(stream: &TcpStream) -> SocketAddr {
    stream.local_addr().expect("connected")
}

/// A few bytes each way, so that both ends have measured the round-trip time.
fn exchange(client: &TcpStream, server: &TcpStream) {
    let (client, server) = (socket2::SockRef::from(client), socket2::SockRef::from(server));
    for (from, to) in [(&client, &server), (&server, &client)] {
        from.send(b"hello").expect("connected");
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8];
        assert_eq!(to.recv(&mut buffer).expect("connected"), 5);
    }
}
