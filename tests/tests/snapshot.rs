//! `tcptrace snapshot` lists the sockets of `ss -tan`, faster, and with the same details: queues, holders, age, by
//! state and by port.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::Socket;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    process::{self, Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    binary, by_name,
    clock::{Moment, linger, nanoseconds, poll_until},
    command::tcptrace,
    files, host,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    sockets::{self, Holder, Listed},
    ss,
    state::State,
};

const TIME_WAITS: usize = 100_000;
const OTHERS: usize = 1_000;
/// Maximum time for the kernel.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum error of the age of a timewait sock: its timer counts in ticks of at most 10 ms.
const TIMER_SLACK: Duration = Duration::from_millis(25);

fn main() -> ExitCode {
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Ss);
    let test = |name: &str, body: fn(Netns)| LiveTest::new(name, &requirements, move || Netns::run(body));
    let tests = by_name! {
        test =>
            a_hundred_thousand_sockets_are_those_of_ss_and_come_sooner,
            filters_leave_what_they_say,
            queues_are_those_of_ss,
            every_holder_is_named,
            the_age_of_time_wait_is_what_its_timer_shows;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

/// State and endpoints, as text.
type Line = (String, String, String);

fn a_hundred_thousand_sockets_are_those_of_ss_and_come_sooner(netns: Netns) {
    files::allow(8192).expect("this user may open many files");
    for (name, value) in [
        ("ipv4/tcp_max_tw_buckets", "1000000"),
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("core/somaxconn", "4096"),
        // On loopback the kernel would reuse the port of a TIME_WAIT after a second.
        ("ipv4/tcp_tw_reuse", "0"),
    ] {
        netns.set(name, value).expect("a namespace takes its sysctls");
    }
    let begun = Instant::now();
    fill_with_time_waits();
    println!("{TIME_WAITS} connections made in {:?}", begun.elapsed());
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let kept: Vec<_> = (0..OTHERS / 2).map(|_| pair_on(&listener)).collect();

    let inode = netns.inode.to_string();
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let (earlier, _) = lines_of_ss();
        let (snapshot, took) = lines_of_snapshot(&inode);
        ours = ours.min(took);
        let (later, took) = lines_of_ss();
        theirs = theirs.min(took);
        // In the meantime a TIME_WAIT can end, and nothing else happens.
        assert!(
            later.is_subset(&earlier),
            "{:?}",
            first(later.difference(&earlier))
        );
        assert!(
            later.is_subset(&snapshot),
            "not listed: {:?}",
            first(later.difference(&snapshot))
        );
        assert!(
            snapshot.is_subset(&earlier),
            "not in ss: {:?}",
            first(snapshot.difference(&earlier))
        );
        let time_waits = later.iter().filter(|(state, ..)| state == "TIME_WAIT").count();
        println!("{time_waits} in TIME_WAIT {:?} after the first", begun.elapsed());
        assert!(time_waits >= TIME_WAITS, "only {time_waits} in TIME_WAIT");
        assert!(later.len() > TIME_WAITS + OTHERS, "only {} sockets", later.len());
    }
    println!("best of 3: tcptrace snapshot {ours:?}, ss -tan {theirs:?}");
    if binary::is_release_build() {
        assert!(ours < theirs, "the snapshot takes {ours:?}, ss {theirs:?}");
    } else {
        println!("the times are not compared: the binary is not in a folder of cargo's release profile");
    }
    drop(kept);
}

fn first<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<&'a Line> {
    lines.take(5).collect()
}

/// From two threads to several servers, so that the ports suffice: every client closes first.
fn fill_with_time_waits() {
    const SERVERS: usize = 4;
    thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
                for _ in 0..TIME_WAITS / SERVERS {
                    let (client, server) = pair_on(&listener);
                    drop(client);
                    drop(server);
                }
            });
        }
    });
}

fn pair_on(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("the listener takes a connection");
    let (server, _) = listener.accept().expect("it waits");
    (client, server)
}

fn lines_of_ss() -> (BTreeSet<Line>, Duration) {
    let mut command = Command::new("ss");
    command.arg("-tanH");
    lines_of(command, |state| {
        State::from_ss(state).map(|state| state.name().to_owned())
    })
}

fn lines_of_snapshot(inode: &str) -> (BTreeSet<Line>, Duration) {
    let command = tcptrace(&["snapshot", "--no-header", "--netns", inode]);
    lines_of(command, |state| Some(state.to_owned()))
}

/// Both print state, two queues, and two endpoints. The time is that of the whole run.
fn lines_of(mut command: Command, state_of: impl Fn(&str) -> Option<String>) -> (BTreeSet<Line>, Duration) {
    let begun = Instant::now();
    let output = command.output().expect("the command can be started");
    let took = begun.elapsed();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Line> = text
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let state = words.next().and_then(&state_of);
            let endpoints = words.nth(2).zip(words.next());
            let (local, remote) = endpoints.unwrap_or_else(|| panic!("two ends: {line:?}"));
            (
                state.unwrap_or_else(|| panic!("a state: {line:?}")),
                without_wildcard(local),
                without_wildcard(remote),
            )
        })
        .collect();
    let count = lines.len();
    let set: BTreeSet<Line> = lines.into_iter().collect();
    assert_eq!(set.len(), count, "no socket is listed twice");
    (set, took)
}

/// `ss` prints port 0 as a star.
fn without_wildcard(end: &str) -> String {
    end.replace(":*", ":0")
}

/// Whether a filter with this port matches the socket.
type Keeps = fn(&Listed, u16) -> bool;

fn filters_leave_what_they_say(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let other = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let (client, server) = pair_on(&listener);
    let _half_closed = pair_on(&other);
    let ending = pair_on(&other);
    drop(ending);
    drop(client);
    let filters: [(&[&str], Keeps); 5] = [
        (&["-s", "time-wait"], |socket, _| socket.state == State::TimeWait),
        (&["-s", "close-wait,listen"], |socket, _| {
            matches!(socket.state, State::CloseWait | State::Listen)
        }),
        (&["-L", "PORT"], |socket, port| socket.local.port == port),
        (&["-D", "PORT"], |socket, port| socket.remote.port == port),
        (&["-L", "PORT", "-s", "listen"], |socket, port| {
            socket.local.port == port && socket.state == State::Listen
        }),
    ];
    for (filter, keeps) in filters {
        let port_text = port.to_string();
        let flags: Vec<&str> = filter
            .iter()
            .map(|word| if *word == "PORT" { port_text.as_str() } else { word })
            .collect();
        let wanted: Vec<u64> = sorted(
            sockets::list(netns, &[])
                .iter()
                .filter(|socket| keeps(socket, port)),
        );
        assert!(!wanted.is_empty(), "{filter:?} has something to find");
        let found = sockets::list(netns, &flags);
        assert_eq!(sorted(found.iter()), wanted, "{filter:?}");
    }
    drop(server);
}

fn sorted<'a>(sockets: impl Iterator<Item = &'a Listed>) -> Vec<u64> {
    let mut cookies: Vec<u64> = sockets.map(|socket| socket.cookie).collect();
    cookies.sort_unstable();
    cookies
}

/// Unread and unsent bytes, accept queues and backlogs.
fn queues_are_those_of_ss(netns: Netns) {
    const BACKLOG: i32 = 17;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = host::socket(any).expect("a socket");
    listener.bind(&any.into()).expect("loopback");
    listener.listen(BACKLOG).expect("bound");
    let server = host::local_end(&listener).expect("bound");
    let connect = || {
        let client = host::socket(server).expect("a socket");
        host::connect(&client, server).expect("the listener takes a connection");
        client
    };
    let reading = connect();
    let accepted = host::accept(&listener).expect("it waits");
    reading.send(&[0; 1234]).expect("connected");
    let stuck = connect();
    let _never_reads = host::accept(&listener).expect("it waits");
    while stuck.send(&[0; 4096]).is_ok() {}
    let half_closed = connect();
    let reads_late = host::accept(&listener).expect("it waits");
    half_closed.send(b"12345").expect("connected");
    half_closed
        .shutdown(std::net::Shutdown::Write)
        .expect("connected");
    let unaccepted: Vec<Socket> = (0..3).map(|_| connect()).collect();

    let mut differences = Vec::new();
    let agreed = poll_until(TIMEOUT, || {
        let theirs = ss::list().expect("ss lists sockets");
        let ours = sockets::list(netns, &[]);
        differences = theirs
            .iter()
            .filter(|socket| !ours.iter().any(|listed| listed.as_ss() == **socket))
            .map(|socket| format!("{socket:?}"))
            .collect();
        (differences.is_empty() && ours.len() == theirs.len()).then_some(ours)
    });
    let Some(ours) = agreed else {
        panic!(
            "only in ss: {differences:?}\nours: {:?}",
            sockets::list(netns, &[])
        );
    };
    let of = |socket: &Socket, is_accepted: bool| {
        let end = if is_accepted {
            socket
                .peer_addr()
                .expect("connected")
                .as_socket()
                .expect("internet")
        } else {
            host::local_end(socket).expect("bound")
        };
        let found = ours.iter().find(|listed| {
            let (local, remote) = listed.endpoints();
            if is_accepted {
                remote == end
            } else {
                local == end && listed.state != State::SynRecv
            }
        });
        found.unwrap_or_else(|| panic!("no socket of {end}")).clone()
    };
    let queue = of(&listener, false);
    assert_eq!(
        (queue.accept_queue, queue.backlog),
        (Some(3), Some(17)),
        "{queue:?}"
    );
    assert_eq!(of(&accepted, true).unread_bytes, Some(1234));
    assert_eq!(of(&accepted, true).accepted, Some(true));
    assert!(of(&stuck, false).unsent_bytes > Some(0));
    // The FIN counts as a byte in the receive queue.
    assert_eq!(of(&reads_late, true).unread_bytes, Some(6));
    let first = host::local_end(&unaccepted[0]).expect("bound");
    let child = ours.iter().find(|listed| listed.endpoints().1 == first);
    assert_eq!(child.and_then(|child| child.accepted), Some(false), "{child:?}");
}

/// A socket inherited by a child process is held by both, or by one after the other has closed it.
fn every_holder_is_named(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    let shared = server.as_raw_fd();
    let heir = spawn_heir(&server);
    let twice = client.try_clone().expect("a descriptor");
    let this = process::id();
    let comm = comm_of(this);
    let mine = |fd: i32| Holder {
        pid: this,
        comm: comm.clone(),
        fd,
    };
    let its = Holder {
        pid: heir.0.id(),
        comm: comm_of(heir.0.id()),
        fd: shared,
    };
    let (client_end, server_end) = (
        client.local_addr().expect("bound"),
        server.local_addr().expect("bound"),
    );
    let holders = |local: SocketAddr, remote: SocketAddr| {
        let listed = sockets::list(netns, &[]);
        let found = listed
            .into_iter()
            .find(|socket| socket.endpoints() == (local, remote));
        let mut holders = found.expect("an open connection is listed").holders;
        holders.sort_by_key(|holder| (holder.pid, holder.fd));
        holders
    };
    let sorted = |mut expected: Vec<Holder>| {
        expected.sort_by_key(|holder| (holder.pid, holder.fd));
        expected
    };
    assert_eq!(
        holders(client_end, server_end),
        sorted(vec![mine(client.as_raw_fd()), mine(twice.as_raw_fd())])
    );
    assert_eq!(
        holders(server_end, client_end),
        sorted(vec![mine(shared), its.clone()])
    );
    drop(server);
    assert_eq!(holders(server_end, client_end), vec![its]);
    drop(heir);
    let nobody = poll_until(TIMEOUT, || {
        let listed = sockets::list(netns, &[]);
        listed
            .iter()
            .find(|socket| socket.endpoints() == (server_end, client_end))
            .is_none_or(|socket| socket.holders.is_empty())
            .then_some(())
    });
    assert!(nobody.is_some(), "a process that has ended holds nothing");
}

/// A process that only keeps its inherited descriptors, until it is dropped.
struct Heir(Child);

impl Drop for Heir {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("our own child");
    }
}

fn spawn_heir(socket: &TcpStream) -> Heir {
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("our own descriptor");
    let heir = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("cat is everywhere");
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("our own descriptor");
    // `exec` closes the pipe that reports its success before it sets the new name of the process.
    let is_named = poll_until(TIMEOUT, || (comm_of(heir.id()) == "cat").then_some(()));
    assert!(is_named.is_some(), "it is still called {}", comm_of(heir.id()));
    Heir(heir)
}

fn comm_of(pid: u32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
    comm.trim_end().to_owned()
}

fn the_age_of_time_wait_is_what_its_timer_shows(netns: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (client, server) = pair_on(&listener);
    let endpoints = (
        client.local_addr().expect("bound"),
        server.local_addr().expect("bound"),
    );
    drop(client);
    let ((), entered) = Moment::of(|| drop(server));
    for stay in [
        Duration::ZERO,
        Duration::from_millis(300),
        Duration::from_millis(900),
    ] {
        linger(stay);
        let (listed, looked) = Moment::of(|| sockets::list(netns, &["-s", "time-wait"]));
        let socket = listed.iter().find(|socket| socket.endpoints() == endpoints);
        let socket = socket.expect("the client's end is in TIME_WAIT");
        let age = socket.age_ns.expect("the kernel keeps it");
        assert!(!socket.age_exact, "{socket:?}");
        let (shortest, longest) = looked.distance_ns(entered);
        let slack = nanoseconds(TIMER_SLACK);
        assert!(
            age + slack >= shortest && age <= longest,
            "{age} ns old, not {shortest} to {longest}"
        );
        let others = sockets::list(netns, &["-s", "listen"]);
        assert!(others.iter().all(|socket| socket.age_ns.is_none()), "{others:?}");
    }
}
