//! Real clients and servers on loopback: what `tcptrace trace --json` tells is what was done, in IPv4, in IPv6
//! and in IPv4 spoken by IPv6 sockets, and each socket is said to be its own process's.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Child, Command, ExitCode, Stdio},
    time::Duration,
};
use tcptrace_tests::{
    clock::{Moment, linger, monotonic_ns, poll_until},
    kernel_table,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    path::{self, Maker, Path, Step},
    shared,
    state::State,
};

/// Set in a process that is to be the client of this address.
const CLIENT_OF: &str = "TCPTRACE_TEST_CLIENT_OF";
/// How long a state is held.
const HOLD: Duration = Duration::from_millis(50);
/// How long the kernel and the tracer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one test does.
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
    // A process that is being started has all of this one's descriptors open until its `exec`, and may be the last to
    // close one of another test's.
    live::run(live_tests, Parallelism::One, shared::stop)
}

/// Which addresses a test uses.
#[derive(Clone, Copy)]
struct Wires {
    name: &'static str,
    /// What the server listens on.
    listen: SocketAddr,
    /// What the client connects to, less the port.
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

/// A namespace, and the record of what was done in it.
struct Stage {
    wires: Wires,
    paths: Vec<Path>,
    /// Kept, so that a test may leave it to `play` to close it.
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
            let agreed = tracer.wait_until(netns, PATIENCE, |events| {
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

    /// A connection whose two ends are both this process's.
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

    /// Records both ends' way to ESTABLISHED within `moment`.
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

    /// Does something, waits until the kernel's own table shows what it led to, and records that.
    fn act(&mut self, action: impl FnOnce(), outcome: &[(Track, State, Option<&'static str>)]) {
        linger(HOLD);
        let earliest_ns = monotonic_ns();
        action();
        for &(track, state, _) in outcome {
            let wanted = (state != State::Close).then_some(state);
            let seen = poll_until(PATIENCE, || (self.in_kernel(track) == wanted).then_some(()));
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

    /// The state that what follows in the same moment leads through.
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

/// One end sends its FIN, the other acknowledges it.
fn closes_first(stage: &mut Stage, close: impl FnOnce(), first: Track, second: Track) {
    stage.act(
        close,
        &[(second, State::CloseWait, None), (first, State::FinWait2, None)],
    );
    stage.passes(first, State::FinWait1, stage.last_step(first));
}

/// The other end sends its FIN, the first acknowledges it.
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
    // A port that was just free, and that nobody else in the namespace will take.
    let server = stage.listen(stage.wires.listen);
    stage.close_listener();
    let from = SocketAddr::new(stage.wires.connect.ip(), 0);
    let socket = tcptrace_tests::host::socket(from).expect("a socket");
    // Bound, because a refused socket forgets the port that the kernel chose for it.
    socket.bind(&from.into()).expect("loopback has free ports");
    socket.set_nonblocking(false).expect("a socket can block");
    let local = tcptrace_tests::host::local_end(&socket).expect("a bound socket has an address");
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

/// The client is another process, which ends without closing its socket: the kernel does.
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
        .expect("the client says that it is connected");
    assert_eq!(line, "connected\n");
}

fn be_the_client_of(server: &str) -> ExitCode {
    let connection = TcpStream::connect(server).expect("the server listens");
    println!("connected");
    io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("the pipe is closed in time");
    // The connection is the kernel's to close.
    std::mem::forget(connection);
    ExitCode::SUCCESS
}

/// IPv4 spoken by an IPv6 socket is IPv4.
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
