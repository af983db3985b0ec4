//! A socket that another process accepts, or is handed over a Unix socket: what is told of its owner is right,
//! or says that it is provisional (`listener`).

use nix::{
    cmsg_space,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
};
use std::{
    env,
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{self, Child, Command, ExitCode, Stdio},
    time::Duration,
};
use tcptrace_tests::{
    event::Event,
    live::{self, LiveTest, Parallelism},
    netns::Netns,
    shared, sockets,
    state::State,
};

/// Set in a process that is to play a part: `accept` or `receive`, and the descriptor that it has inherited.
const PART: &str = "TCPTRACE_TEST_PART";
/// How long the kernel and the tracer may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if let Ok(part) = env::var(PART) {
        return play(&part);
    }
    let test = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let tests = vec![
        test(
            "a_socket_that_a_child_accepts_is_the_child_s_or_provisional",
            a_socket_that_a_child_accepts_is_the_child_s_or_provisional,
        ),
        test(
            "a_socket_handed_over_is_its_holder_s_or_provisional",
            a_socket_handed_over_is_its_holder_s_or_provisional,
        ),
    ];
    live::run(tests, Parallelism::Processors, shared::stop)
}

fn a_socket_that_a_child_accepts_is_the_child_s_or_provisional(netns: Netns) {
    shared::tracer();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut child = Player::start("accept", &listener);
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    child.wait_for_its_word();
    let ends = ends_of_server(&client);
    assert_eq!(holders(netns, ends), [child.pid()]);
    drop(client);
    child.close();
    judge(netns, ends, &[child.pid()], child.pid());
}

fn a_socket_handed_over_is_its_holder_s_or_provisional(netns: Netns) {
    shared::tracer();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut child = Player::start("receive", &theirs);
    drop(theirs);
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("it waits");
    let ends = ends_of_server(&client);
    hand_over(&ours, &server);
    child.wait_for_its_word();
    drop(server);
    assert_eq!(holders(netns, ends), [child.pid()]);
    drop(client);
    child.close();
    // This process accepted it and held it for a while; the child closed it.
    judge(netns, ends, &[process::id(), child.pid()], child.pid());
}

/// Waits for the end of the connection. Whoever is told to own its socket held it at some time, and whoever is
/// told from the moment of the last close on is the one that closed it; or the telling is provisional.
fn judge(netns: Netns, ends: (SocketAddr, SocketAddr), held_by: &[u32], closed_by: u32) {
    let told = shared::tracer().wait_until(netns, PATIENCE, |events| {
        let its: Vec<Event> = events
            .iter()
            .filter(|event| event.ends() == ends)
            .cloned()
            .collect();
        its.iter().any(|event| event.new == State::Close).then_some(its)
    });
    let told = told.expect("the end of the connection is told");
    let mut story = String::new();
    for event in &told {
        writeln!(story, "{event}").expect("a string takes all text");
    }
    print!("{story}");
    for event in &told {
        let owner = event.owner.as_ref();
        let owner = owner.unwrap_or_else(|| panic!("nobody is told to own {event}\n{story}"));
        if owner.evidence == "listener" {
            continue;
        }
        let is_closing = matches!(event.new, State::LastAck | State::Close);
        let right = if is_closing { &[closed_by][..] } else { held_by };
        assert!(
            right.contains(&owner.pid),
            "not one of {right:?}: {event}\n{story}"
        );
    }
}

/// Local end of the server's socket first.
fn ends_of_server(client: &TcpStream) -> (SocketAddr, SocketAddr) {
    (
        client.peer_addr().expect("connected"),
        client.local_addr().expect("connected"),
    )
}

/// The processes that have the socket open, by the snapshot.
fn holders(netns: Netns, ends: (SocketAddr, SocketAddr)) -> Vec<u32> {
    let listed = sockets::list(netns, &[]);
    let found = listed.into_iter().find(|socket| socket.ends() == ends);
    let holders = found.expect("an open connection is listed").holders;
    holders.into_iter().map(|holder| holder.pid).collect()
}

fn hand_over(through: &UnixStream, socket: &TcpStream) {
    sendmsg::<UnixAddr>(
        through.as_raw_fd(),
        &[IoSlice::new(b"!")],
        &[ControlMessage::ScmRights(&[socket.as_raw_fd()])],
        MsgFlags::empty(),
        None,
    )
    .expect("a Unix socket takes descriptors");
}

/// This program again, as another process, that has inherited a descriptor.
struct Player(Child);

impl Player {
    fn start(part: &str, inherited: &impl AsFd) -> Self {
        let descriptor = inherited.as_fd();
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).expect("our own descriptor");
        let child = Command::new(env::current_exe().expect("a process has a program"))
            .env(PART, format!("{part} {}", descriptor.as_raw_fd()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("our own descriptor");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has its socket.
    fn wait_for_its_word(&mut self) {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        assert_eq!(line, "mine\n");
    }

    /// Lets it close its socket and waits for its end.
    fn close(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("our own child").success());
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Best effort: it has ended where the test came so far.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other process: takes its socket, says so, waits for the end of its input and closes.
fn play(part: &str) -> ExitCode {
    let (part, descriptor) = part.split_once(' ').expect("a part and a descriptor");
    let descriptor: RawFd = descriptor.parse().expect("a number");
    // SAFETY: the parent left this descriptor open for this process, in which nothing else knows of it.
    let inherited = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let socket = match part {
        "accept" => {
            TcpListener::from(inherited)
                .accept()
                .expect("a client connects")
                .0
        }
        "receive" => receive(&inherited),
        other => panic!("no such part: {other}"),
    };
    println!("mine");
    io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("the pipe is closed in time");
    drop(socket);
    ExitCode::SUCCESS
}

fn receive(through: &OwnedFd) -> TcpStream {
    let mut byte = [0];
    let mut space = cmsg_space!(RawFd);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<UnixAddr>(
        through.as_raw_fd(),
        &mut bytes,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("a message comes");
    let descriptor = message.cmsgs().expect("whole").find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for this process.
    unsafe { TcpStream::from_raw_fd(descriptor.expect("a descriptor comes with it")) }
}
