//! Real clients and servers on loopback: `tcptrace trace --json` reports exactly what happened, over IPv4, over IPv6
//! and over IPv4 with IPv6 sockets, with the right owner of each socket.

use socket2::{Domain, Socket, Type};
use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Child, Command, ExitCode, Stdio},
    time::Duration,
};
use tcptrace_tests::{
    clock::{Moment, linger, monotonic_ns, poll_until},
    event::Event,
    host, kernel_table,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    path::{self, Maker, Path, Step},
    shared,
    state::State,
};

/// Set in a process that is to be the client of this address.
const CLIENT_OF: &str = "TCPTRACE_TEST_CLIENT_OF";
/// How long a state is kept.
const HOLD: Duration = Duration::from_millis(50);
/// Maximum time for the kernel and the tracer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The body of a test.
type Test = fn(&mut Stage);

fn main() -> ExitCode {
    if let Ok(server) = env::var(CLIENT_OF) {
        return be_the_client_of(&server);
    }
    let tests: &[(&str, Test)] = &[
        ("the_client_closes_first", the_client_closes_first),
        ("the_server_closes_first", the_server_closes_first),
        ("half_closed_and_then_closed", half_closed_and_then_closed),
        ("linger_of_zero_resets_both_ends", linger_of_zero_resets_both_ends),
        (
            "a_connection_to_no_listener_is_refused",
            a_connection_to_no_listener_is_refused,
        ),
        ("a_listener_opens_and_closes", |stage| {
            stage.listen(stage.wires.listen);
        }),
        ("each_end_is_its_own_process_s", each_end_is_its_own_process_s),
    ];
    let mut live_tests = Vec::new();
    for wires in Wires::ALL {
        for &(name, test) in tests {
            let mut requirements = live::TRACING.to_vec();
            if wires.needs_ipv6 {
                requirements.push(Requirement::Ipv6);
            }
            let name = format!("{name}::{}", wires.name);
            live_tests.push(LiveTest::new(name, &requirements, move || {
                Stage::play(wires, test);
            }));
        }
    }
    live_tests.push(LiveTest::new(
        "fast_open_is_no_syn_cookie_however_quick",
        live::TRACING,
        || Netns::run(fast_open_is_no_syn_cookie_however_quick),
    ));
    // A process that is being started has all descriptors of this one open until its `exec`, and may be the last to
    // close one of another test's.
    live::run(live_tests, Parallelism::One, shared::stop)
}

/// On loopback the ACK of a Fast Open child arrives within microseconds, as does that of a SYN cookie.
fn fast_open_is_no_syn_cookie_however_quick(netns: Netns) {
    const CONNECTIONS: usize = 4;
    netns
        .set("ipv4/tcp_fastopen", "3")
        .expect("a namespace takes its sysctls");
    let tracer = shared::tracer();
    let listener = host::socket(IPV4).expect("a socket");
    listener.bind(&IPV4.into()).expect("loopback");
    host::set_tcp_option(&listener, libc::TCP_FASTOPEN, 16).expect("a listener can take Fast Open");
    listener.listen(16).expect("a bound socket can listen");
    listener.set_nonblocking(false).expect("a socket can wait");
    let server = host::local_end(&listener).expect("bound");
    let exchange = || {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let sent = client.send_to_with_flags(b"request", &server.into(), libc::MSG_FASTOPEN);
        assert_eq!(sent.expect("the listener takes a connection"), 7);
        let (mut accepted, _) = listener.accept().expect("a client connects");
        accepted.read_exact(&mut [0; 7]).expect("the request comes");
    };
    let has_begun_fast = |event: &&Event| event.fast_open && event.new == State::SynRecv;
    let children = |count: usize| {
        let reported = tracer.wait_until(netns, TIMEOUT, |events| {
            let is_child = |event: &&Event| {
                event.local.port == server.port()
                    && event.old != State::Close
                    && event.new == State::Established
            };
            let all: Vec<Event> = events.iter().filter(is_child).cloned().collect();
            (all.len() >= count).then_some(all)
        });
        reported.expect("every connection is reported")
    };
    for _ in 0..CONNECTIONS {
        exchange();
    }
    let counters = fs::read_to_string("/proc/thread-self/net/netstat").expect("the kernel counts");
    let names = counters.lines().find(|line| line.starts_with("TcpExt:"));
    let values = counters.lines().filter(|line| line.starts_with("TcpExt:")).nth(1);
    let passive = names
        .into_iter()
        .flat_map(str::split_whitespace)
        .zip(values.into_iter().flat_map(str::split_whitespace))
        .find_map(|(name, value)| (name == "TCPFastOpenPassive").then_some(value));
    // The first one requests the cookie.
    assert_eq!(passive, Some("3"), "the kernel has opened no connection fast");
    for child in children(CONNECTIONS) {
        assert_eq!((child.old, child.syn_cookie), (State::SynRecv, false), "{child}");
    }
    let begun_fast = tracer.events(netns).iter().filter(has_begun_fast).count();
    assert_eq!(begun_fast, 3, "as many as the kernel has opened");
    netns
        .set("ipv4/tcp_syncookies", "2")
        .expect("a namespace takes its sysctls");
    drop(TcpStream::connect(server).expect("the listener takes a connection"));
    drop(listener.accept().expect("a client connects"));
    let last = children(CONNECTIONS + 1).pop().expect("there are some");
    assert_eq!((last.old, last.syn_cookie), (State::Listen, true), "{last}");
}

/// The addresses of a test.
#[derive(Clone, Copy)]
struct Wires {
    name: &'static str,
    /// The server's address.
    listen: SocketAddr,
    /// The address to which the client connects, without the port.
    connect: SocketAddr,
    needs_ipv6: bool,
}

const IPV4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const IPV6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
const MAPPED: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), 0);

impl Wires {
    const ALL: [Self; 3] = [
        Self {
            name: "ipv4",
            listen: IPV4,
            connect: IPV4,
            needs_ipv6: false,
        },
        Self {
            name: "ipv6",
            listen: IPV6,
            connect: IPV6,
            needs_ipv6: true,
        },
        Self {
            name: "ipv4_by_ipv6_sockets",
            listen: ANY,
            connect: MAPPED,
            needs_ipv6: true,
        },
    ];
}

/// A namespace, and the record of what happened in it.
struct Stage {
    wires: Wires,
    paths: Vec<Path>,
    /// Kept, so that `play` can close the sockets that a test leaves open.
    listener: Option<(TcpListener, usize)>,
}

/// Which recorded path.
type Track = usize;

impl Stage {
    fn play(wires: Wires, test: Test) {
        let tracer = shared::tracer();
        Netns::run(|netns| {
            let mut stage = Self {
                wires,
                paths: Vec::new(),
                listener: None,
            };
            test(&mut stage);
            stage.close_listener();
            let mut mismatch = None;
            let agreed = tracer.wait_until(netns, TIMEOUT, |events| {
                mismatch = path::compare(&stage.paths, events).err();
                mismatch.is_none().then_some(())
            });
            if let (None, Some(mismatch)) = (agreed, mismatch) {
                panic!(
                    "
{mismatch}{}",
                    tracer.messages()
                );
            }
        });
    }

    fn listen(&mut self, on: SocketAddr) -> SocketAddr {
        let (listener, moment) = Moment::of(|| TcpListener::bind(on).expect("loopback takes a listener"));
        let local = listener.local_addr().expect("a listener has an address");
        let remote = SocketAddr::new(
            if local.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            },
            0,
        );
        let track = self.track("listener", local, remote, State::Close, this_process());
        self.paths[track].steps.push(step(State::Listen, moment, None));
        self.listener = Some((listener, track));
        SocketAddr::new(self.wires.connect.ip(), local.port())
    }

    fn close_listener(&mut self) {
        if let Some((listener, track)) = self.listener.take() {
            let ((), moment) = Moment::of(|| drop(listener));
            self.paths[track].steps.push(step(State::Close, moment, None));
        }
    }

    fn track(
        &mut self,
        name: &str,
        local: SocketAddr,
        remote: SocketAddr,
        start: State,
        maker: Maker,
    ) -> Track {
        let (local, remote) = (canonical(local), canonical(remote));
        self.paths.push(Path {
            name: name.to_owned(),
            local,
            remote,
            start,
            steps: Vec::new(),
            maker,
        });
        self.paths.len() - 1
    }

    /// A connection of which this process has both sockets.
    fn connection(&mut self) -> Connection {
        let server = self.listen(self.wires.listen);
        let earliest_ns = monotonic_ns();
        let client = TcpStream::connect(server).expect("the listener takes a connection");
        let (accepted, _) = self
            .listener
            .as_ref()
            .expect("just made")
            .0
            .accept()
            .expect("it waits");
        let moment = Moment {
            earliest_ns,
            latest_ns: monotonic_ns(),
        };
        let (here, there) = (
            client.local_addr().expect("connected"),
            client.peer_addr().expect("connected"),
        );
        let [client_track, server_track] = self.handshake(here, there, this_process(), moment);
        Connection {
            client: Some(client),
            server: Some(accepted),
            client_track,
            server_track,
        }
    }

    /// Records the states of both sockets up to ESTABLISHED within `moment`.
    fn handshake(
        &mut self,
        client: SocketAddr,
        server: SocketAddr,
        client_maker: Maker,
        moment: Moment,
    ) -> [Track; 2] {
        let client_track = self.track("client", client, server, State::Close, client_maker);
        let server_track = self.track("server", server, client, State::Listen, this_process());
        for (track, first) in [(client_track, State::SynSent), (server_track, State::SynRecv)] {
            let steps = &mut self.paths[track].steps;
            steps.extend([step(first, moment, None), step(State::Established, moment, None)]);
        }
        [client_track, server_track]
    }

    /// Performs an action, waits until the kernel's table shows its result, and records that.
    fn act(&mut self, action: impl FnOnce(), outcome: &[(Track, State, Option<&'static str>)]) {
        linger(HOLD);
        let earliest_ns = monotonic_ns();
        action();
        for &(track, state, _) in outcome {
            let wanted = (state != State::Close).then_some(state);
            let seen = poll_until(TIMEOUT, || (self.in_kernel(track) == wanted).then_some(()));
            assert!(
                seen.is_some(),
                "the kernel has {:?}, not {state}",
                self.in_kernel(track)
            );
        }
        let moment = Moment {
            earliest_ns,
            latest_ns: monotonic_ns(),
        };
        for &(track, state, reason) in outcome {
            self.paths[track].steps.push(step(state, moment, reason));
        }
    }

    /// A state that the next recorded one passes within the same moment.
    fn passes(&mut self, track: Track, state: State, after: usize) {
        let steps = &mut self.paths[track].steps;
        let moment = steps[after].moment;
        steps.insert(after, step(state, moment, None));
    }

    fn in_kernel(&self, track: Track) -> Option<State> {
        let path = &self.paths[track];
        kernel_table::state_of(path.local, path.remote).expect("the kernel's table can be read")
    }

    /// The last step that was recorded.
    fn last_step(&self, track: Track) -> usize {
        self.paths[track].steps.len() - 1
    }
}

struct Connection {
    client: Option<TcpStream>,
    server: Option<TcpStream>,
    client_track: Track,
    server_track: Track,
}

fn the_client_closes_first(stage: &mut Stage) {
    let Connection {
        mut client,
        mut server,
        client_track,
        server_track,
    } = stage.connection();
    closes_first(stage, || drop(client.take()), client_track, server_track);
    closes_second(stage, || drop(server.take()), server_track, client_track);
}

fn the_server_closes_first(stage: &mut Stage) {
    let Connection {
        mut client,
        mut server,
        client_track,
        server_track,
    } = stage.connection();
    closes_first(stage, || drop(server.take()), server_track, client_track);
    closes_second(stage, || drop(client.take()), client_track, server_track);
}

fn half_closed_and_then_closed(stage: &mut Stage) {
    let Connection {
        client,
        mut server,
        client_track,
        server_track,
    } = stage.connection();
    let client = client.expect("connected");
    closes_first(
        stage,
        || {
            client
                .shutdown(Shutdown::Write)
                .expect("a connection can be shut");
        },
        client_track,
        server_track,
    );
    closes_second(stage, || drop(server.take()), server_track, client_track);
}

/// One side sends its FIN, the other acknowledges it.
fn closes_first(stage: &mut Stage, close: impl FnOnce(), first: Track, second: Track) {
    stage.act(
        close,
        &[(second, State::CloseWait, None), (first, State::FinWait2, None)],
    );
    stage.passes(first, State::FinWait1, stage.last_step(first));
}

/// The other side sends its FIN, the first acknowledges it.
fn closes_second(stage: &mut Stage, close: impl FnOnce(), second: Track, first: Track) {
    stage.act(
        close,
        &[(first, State::TimeWait, None), (second, State::Close, None)],
    );
    stage.passes(second, State::LastAck, stage.last_step(second));
}

fn linger_of_zero_resets_both_ends(stage: &mut Stage) {
    let Connection {
        mut client,
        server: _server,
        client_track,
        server_track,
    } = stage.connection();
    let socket = socket2::SockRef::from(client.as_ref().expect("connected"));
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a socket can linger");
    stage.act(
        || drop(client.take()),
        &[
            (client_track, State::Close, Some("reset-sent")),
            (server_track, State::Close, Some("reset-received")),
        ],
    );
}

fn a_connection_to_no_listener_is_refused(stage: &mut Stage) {
    // A port that was free a moment ago, and that nothing else in the namespace binds.
    let server = stage.listen(stage.wires.listen);
    stage.close_listener();
    let from = SocketAddr::new(stage.wires.connect.ip(), 0);
    let socket = host::socket(from).expect("a socket");
    // Bound, because a refused socket loses the port that the kernel chose for it.
    socket.bind(&from.into()).expect("loopback has free ports");
    socket.set_nonblocking(false).expect("a socket can block");
    let local = host::local_end(&socket).expect("a bound socket has an address");
    let (result, moment) = Moment::of(|| socket.connect(&server.into()));
    assert_eq!(
        result.expect_err("nobody listens").kind(),
        io::ErrorKind::ConnectionRefused
    );
    let track = stage.track("client", local, server, State::Close, this_process());
    stage.paths[track].steps.extend([
        step(State::SynSent, moment, None),
        step(State::Close, moment, Some("reset-received")),
    ]);
}

/// The client is another process, which exits without closing its socket: the kernel does.
fn each_end_is_its_own_process_s(stage: &mut Stage) {
    let server = stage.listen(stage.wires.listen);
    let earliest_ns = monotonic_ns();
    let mut client = Command::new(env::current_exe().expect("a process has a program"))
        .env(CLIENT_OF, server.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client can be started");
    let (mut accepted, remote) = stage
        .listener
        .as_ref()
        .expect("just made")
        .0
        .accept()
        .expect("the client connects");
    wait_for_a_line(&mut client);
    let moment = Moment {
        earliest_ns,
        latest_ns: monotonic_ns(),
    };
    let client_maker = Maker::of(client.id()).expect("the client runs");
    let [client_track, server_track] = stage.handshake(remote, server, client_maker, moment);
    closes_first(
        stage,
        || {
            drop(client.stdin.take());
            assert!(client.wait().expect("our own child").success());
        },
        client_track,
        server_track,
    );
    let mut rest = Vec::new();
    accepted
        .read_to_end(&mut rest)
        .expect("the client ended the connection in order");
    closes_second(stage, || drop(accepted), server_track, client_track);
}

fn wait_for_a_line(client: &mut Child) {
    let mut line = String::new();
    let stdout = client.stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("the client reports that it is connected");
    assert_eq!(line, "connected\n");
}

fn be_the_client_of(server: &str) -> ExitCode {
    let connection = TcpStream::connect(server).expect("the server listens");
    println!("connected");
    io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("the pipe is closed in time");
    // The connection is closed by the kernel.
    std::mem::forget(connection);
    ExitCode::SUCCESS
}

/// IPv4 of an IPv6 socket is reported as IPv4.
fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn step(state: State, moment: Moment, reason: Option<&'static str>) -> Step {
    Step {
        state,
        moment,
        reason,
        fleeting: false,
    }
}

fn this_process() -> Maker {
    Maker::of(process::id()).expect("a process has a name")
}
