//! The stage of the cases: a namespace, the peer, the kernel's sockets, and the record of every action and its moment.
//! Each step is compared with the kernel's table before the tracer's events are.

use crate::replay;
use socket2::{SockAddr, Socket};
use std::{
    cell::RefCell,
    net::{Shutdown, SocketAddr},
    process,
    rc::Rc,
    time::Duration,
};
use tcptrace_tests::{
    clock::{Moment, linger, monotonic_ns, nanoseconds, poll_until},
    host, kernel_table,
    netns::Netns,
    path::{self, Maker, Path, Step},
    peer::{Conversation, Family, Flags, Peer, Segment, Unreachable},
    shared,
    state::State,
    tracer::Tracer,
};

/// How long a state is kept, unless the case sets it: long in relation to the tolerance of 5 ms.
pub(crate) const HOLD: Duration = Duration::from_millis(100);
pub(crate) const SERVICE: u16 = 80;
pub(crate) const PEER_PORT: u16 = 5000;

/// Maximum delay of the kernel's timers on a busy machine.
const LATENESS: Duration = Duration::from_secs(10);
/// Maximum time until the kernel removes a namespace without references, `cleanup_net`.
const NAMESPACE_REMOVAL: Duration = Duration::from_secs(15);
/// Maximum time until the tracer has printed an event.
const REPORT_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Case {
    /// The name, a claim.
    pub(crate) name: &'static str,
    play: Play,
    sysctls: &'static [(&'static str, &'static str)],
    outlived: bool,
}

/// The actions. Returns the connections, as far as they were opened.
type Play = fn(&mut Script) -> Vec<Session>;

impl Case {
    /// A case in a namespace with default settings.
    pub(crate) const fn new(name: &'static str, play: Play) -> Self {
        Self {
            name,
            play,
            sysctls: &[],
            outlived: false,
        }
    }

    /// Sets sysctls, named below `net`, before the case.
    pub(crate) const fn with(self, sysctls: &'static [(&'static str, &'static str)]) -> Self {
        Self { sysctls, ..self }
    }

    /// The namespace is removed at the end, and with it every remaining connection.
    pub(crate) const fn outlived(self) -> Self {
        Self {
            outlived: true,
            ..self
        }
    }
}

pub(crate) struct Script {
    pub(crate) family: Family,
    /// The remote host.
    pub(crate) peer: Rc<Peer>,
    listener: Option<Listener>,
    /// Other sockets' states.
    pub(crate) reported: Vec<Path>,
}

struct Listener {
    socket: Socket,
    path: Path,
}

impl Script {
    /// Runs the case in a namespace of its own and compares the tracer's events.
    pub(crate) fn play(case: &Case, family: Family) {
        let tracer = shared::tracer();
        replay::record();
        let (mut paths, netns, left_ns) = Netns::run(|netns| {
            for (name, value) in case.sysctls {
                netns.set(name, value).expect("a namespace takes its sysctls");
            }
            let peer = Peer::attach(family).expect("a TUN device can be made");
            let mut script = Self {
                family,
                peer,
                listener: None,
                reported: Vec::new(),
            };
            let sessions = (case.play)(&mut script);
            script.close_listener();
            let mut paths = script.reported;
            paths.extend(sessions.iter().map(|session| session.path.clone()));
            // Compared before the sockets that a case leaves open are closed.
            compare(&paths, netns, tracer);
            (paths, netns, monotonic_ns())
        });
        if case.outlived {
            let moment = Moment {
                earliest_ns: left_ns,
                latest_ns: monotonic_ns() + nanoseconds(NAMESPACE_REMOVAL),
            };
            for path in &mut paths {
                if path.steps.last().is_some_and(|step| step.state != State::Close) {
                    path.steps.push(step(State::Close, moment, Some("purged")));
                }
            }
            compare(&paths, netns, tracer);
        }
    }

    /// A listener on the service port, with options that are set before it listens.
    pub(crate) fn listen(&mut self, options: impl FnOnce(&Socket)) {
        let local = SocketAddr::new(self.family.host(), SERVICE);
        let remote = SocketAddr::new(self.family.unspecified(), 0);
        let socket = host::socket(local).expect("a socket");
        socket
            .bind(&SockAddr::from(local))
            .expect("the service port is free");
        options(&socket);
        let (result, moment) = Moment::of(|| socket.listen(16));
        result.expect("a bound socket can listen");
        let path = Path {
            name: "listener".to_owned(),
            local,
            remote,
            start: State::Close,
            steps: vec![step(State::Listen, moment, None)],
            maker: this_process(),
        };
        self.listener = Some(Listener { socket, path });
    }

    /// Closes the listener, if there is one.
    pub(crate) fn close_listener(&mut self) -> Option<Moment> {
        let Listener { socket, mut path } = self.listener.take()?;
        let ((), moment) = Moment::of(|| drop(socket));
        path.steps.push(step(State::Close, moment, None));
        self.reported.push(path);
        Some(moment)
    }

    /// A kernel socket that has sent its SYN, which the peer has received: `SYN_SENT`.
    pub(crate) fn connecting(&self, options: impl FnOnce(&Socket)) -> Session {
        let remote = SocketAddr::new(self.family.peer(), PEER_PORT);
        let socket = host::socket(remote).expect("a socket");
        options(&socket);
        Session::of_connect(&self.peer, Rc::new(socket), remote)
    }

    /// A connection that the kernel opened: ESTABLISHED.
    pub(crate) fn connected(&self) -> Session {
        self.connected_with(|_| ())
    }

    /// A connection that the kernel opened from a socket with these options: ESTABLISHED.
    pub(crate) fn connected_with(&self, options: impl FnOnce(&Socket)) -> Session {
        let mut session = self.connecting(options);
        session.complete_connect();
        session
    }

    /// A connection that the kernel opened, and of which the program has sent its FIN by `end`: FIN_WAIT2.
    pub(crate) fn in_fin_wait2(&self, end: fn(&mut Session)) -> Session {
        let mut session = self.connected();
        session.reach_fin_wait2(end);
        session
    }

    /// The peer's conversation with the service port; nothing has been sent.
    pub(crate) fn conversation(&self) -> Conversation {
        Conversation::new(
            &self.peer,
            PEER_PORT,
            SocketAddr::new(self.family.host(), SERVICE),
        )
    }

    /// A SYN to which the kernel has responded: SYN_RECV. Opens the listener, unless there is one.
    pub(crate) fn dialled(&mut self) -> Session {
        if self.listener.is_none() {
            self.listen(|_| ());
        }
        let mut session = Session::of_peer(self.conversation());
        session.send(Flags::SYN);
        session.now(State::SynRecv);
        session.expect(Flags::SYN_ACK);
        session
    }

    /// A connection that the peer opened and the program accepted: ESTABLISHED.
    pub(crate) fn accepted(&mut self) -> Session {
        let mut session = self.dialled();
        linger(HOLD);
        session.send(Flags::ACK);
        session.now(State::Established);
        self.accept(&mut session);
        session
    }

    /// Accepts the conversation's connection.
    pub(crate) fn accept(&self, session: &mut Session) {
        let listener = self.listener.as_ref().expect("the case listens");
        let socket = host::accept(&listener.socket).expect("a connection waits in the accept queue");
        session.socket = Some(Rc::new(socket));
    }
}

/// One connection: the kernel's socket, the peer's conversation, and the record.
pub(crate) struct Session {
    /// The kernel's socket; `None` before it is accepted and after it is closed.
    pub(crate) socket: Option<Rc<Socket>>,
    /// The peer's side.
    pub(crate) wire: Conversation,
    path: Path,
    /// The moment of the last action.
    pub(crate) last: Moment,
}

impl Session {
    /// Connects the socket; the peer receives the SYN.
    pub(crate) fn of_connect(peer: &Rc<Peer>, socket: Rc<Socket>, remote: SocketAddr) -> Self {
        let (result, moment) = Moment::of(|| host::connect(&socket, remote));
        result.expect("a SYN can be sent");
        Self::of_connect_at(peer, socket, remote, moment)
    }

    /// The socket began to connect at `moment`; the peer receives the SYN.
    pub(crate) fn of_connect_at(
        peer: &Rc<Peer>,
        socket: Rc<Socket>,
        remote: SocketAddr,
        moment: Moment,
    ) -> Self {
        let local = host::local_end(&socket).expect("a connecting socket has a port");
        let mut wire = Conversation::new(peer, remote.port(), local);
        wire.expect(Flags::SYN);
        let mut session = Self::new(wire, State::Close, moment);
        session.socket = Some(socket);
        session.now(State::SynSent);
        session
    }

    /// A conversation that the peer is about to open.
    pub(crate) fn of_peer(wire: Conversation) -> Self {
        let never = Moment {
            earliest_ns: 0,
            latest_ns: 0,
        };
        Self::new(wire, State::Listen, never)
    }

    fn new(wire: Conversation, start: State, last: Moment) -> Self {
        let (local, remote) = (wire.there(), wire.here());
        let path = Path {
            name: "connection".to_owned(),
            local,
            remote,
            start,
            steps: Vec::new(),
            maker: this_process(),
        };
        Self {
            socket: None,
            wire,
            path,
            last,
        }
    }

    /// The peer responds to the SYN and the kernel to the response: ESTABLISHED.
    pub(crate) fn complete_connect(&mut self) {
        linger(HOLD);
        self.send(Flags::SYN_ACK);
        self.now(State::Established);
        self.expect(Flags::ACK);
    }

    /// Names the connection, if a case has several.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.path.name);
        self
    }

    /// The kernel's socket.
    pub(crate) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("the case holds the socket")
    }

    /// The peer sends the next segment.
    pub(crate) fn send(&mut self, flags: Flags) {
        self.last = self.wire.send(flags);
    }

    /// The peer sends data.
    pub(crate) fn send_data(&mut self, data: &[u8]) {
        self.last = self.wire.send_data(data);
    }

    /// The peer sends exactly this segment.
    pub(crate) fn transmit(&mut self, segment: &Segment) {
        self.last = self.wire.transmit(segment);
    }

    /// A router responds to a segment of the program with an ICMP error.
    pub(crate) fn refuse(&mut self, segment: &Segment, what: Unreachable) {
        self.last = self.wire.refuse(segment, what);
    }

    /// The peer waits for data.
    pub(crate) fn expect_data(&mut self) -> Segment {
        self.wire.expect_data()
    }

    /// The peer waits for a segment.
    pub(crate) fn expect(&mut self, flags: Flags) -> Segment {
        self.wire.expect(flags)
    }

    /// The program closes its only descriptor.
    pub(crate) fn close(&mut self) {
        let socket = self
            .socket
            .take()
            .and_then(Rc::into_inner)
            .expect("the case holds the only descriptor");
        ((), self.last) = Moment::of(|| drop(socket));
    }

    /// The program sends its FIN and keeps the descriptor.
    pub(crate) fn shut(&mut self) {
        let (result, moment) = Moment::of(|| self.socket().shutdown(Shutdown::Write));
        result.expect("a connection can be shut");
        self.last = moment;
    }

    /// The program sends its FIN by `end`, and the peer acknowledges it.
    pub(crate) fn reach_fin_wait2(&mut self, end: fn(&mut Self)) {
        linger(HOLD);
        end(self);
        self.now(State::FinWait1);
        self.expect(Flags::FIN_ACK);
        linger(HOLD);
        self.send(Flags::ACK);
        self.now(State::FinWait2);
    }

    /// The program closes, and the peer's FIN does not acknowledge that of the program.
    pub(crate) fn reach_closing(&mut self) {
        linger(HOLD);
        self.close();
        self.now(State::FinWait1);
        linger(HOLD);
        self.send(Flags::FIN_ACK);
        self.now(State::Closing);
    }

    /// The program closes, and the peer's FIN acknowledges that of the program.
    pub(crate) fn reach_time_wait_at_once(&mut self) {
        linger(HOLD);
        self.close();
        self.now(State::FinWait1);
        self.expect(Flags::FIN_ACK);
        linger(HOLD);
        self.send(Flags::FIN_ACK);
        self.passed(State::FinWait2);
        self.now(State::TimeWait);
    }

    /// The program sends data.
    pub(crate) fn write(&mut self, data: &[u8]) {
        let (result, moment) = Moment::of(|| self.socket().send(data));
        assert_eq!(result.expect("a connection takes data"), data.len());
        self.last = moment;
    }

    /// The last action has led to `state`.
    pub(crate) fn now(&mut self, state: State) {
        let seen = poll_until(Duration::from_secs(2), || {
            (self.in_kernel() == Some(state)).then_some(())
        });
        assert!(
            seen.is_some(),
            "the kernel has {:?}, not {state}",
            self.in_kernel()
        );
        self.record(step(state, self.last, None));
    }

    /// The last action has led through `state` without stopping there.
    pub(crate) fn passed(&mut self, state: State) {
        self.record(Step {
            fleeting: true,
            ..step(state, self.last, None)
        });
    }

    /// The last action has not changed the state.
    pub(crate) fn still(&self, state: State) {
        assert_eq!(self.in_kernel(), Some(state), "the state was to stay");
    }

    /// The last action has ended the connection.
    pub(crate) fn ended(&mut self, reason: Option<&'static str>) {
        let gone = poll_until(Duration::from_secs(2), || {
            self.in_kernel().is_none().then_some(())
        });
        assert!(gone.is_some(), "the kernel still has {:?}", self.in_kernel());
        self.record(step(State::Close, self.last, reason));
    }

    /// Something else has ended the connection, which the kernel's table cannot show, because another connection has
    /// the same endpoints.
    pub(crate) fn ended_at(&mut self, moment: Moment, reason: &'static str) {
        self.record(step(State::Close, moment, Some(reason)));
    }

    /// The kernel ends the connection by itself, `shortest` to `longest` after the last action.
    pub(crate) fn runs_out(&mut self, shortest: Duration, longest: Duration, reason: &'static str) {
        /// Polls from this long before the earliest end.
        const AHEAD: Duration = Duration::from_millis(200);
        /// Interval of the polls, and so the precision of the end.
        const INTERVAL: Duration = Duration::from_millis(20);
        let before = self.in_kernel();
        assert!(before.is_some(), "nothing to run out");
        let start = self.last;
        let due_ns = start.latest_ns + nanoseconds(shortest.saturating_sub(AHEAD));
        linger(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        let late_ns = start.latest_ns + nanoseconds(longest + LATENESS);
        let mut earliest_ns = start.earliest_ns;
        loop {
            let (state, look) = Moment::of(|| self.in_kernel());
            if state.is_none() {
                self.last = Moment {
                    earliest_ns,
                    latest_ns: look.latest_ns,
                };
                break;
            }
            assert_eq!(state, before, "it was to run out in this state");
            assert!(
                look.earliest_ns < late_ns,
                "the kernel has not ended it after {longest:?}"
            );
            earliest_ns = look.earliest_ns;
            linger(INTERVAL);
        }
        let (_, longest_seen) = self.last.distance_ns(start);
        assert!(
            longest_seen >= nanoseconds(shortest),
            "the kernel ended it after {longest_seen} ns"
        );
        self.record(step(State::Close, self.last, Some(reason)));
    }

    fn record(&mut self, step: Step) {
        self.path.steps.push(step);
    }

    fn in_kernel(&self) -> Option<State> {
        kernel_table::state_of(self.path.local, self.path.remote).expect("the kernel's table can be read")
    }
}

pub(crate) fn step(state: State, moment: Moment, reason: Option<&'static str>) -> Step {
    Step {
        state,
        moment,
        reason,
        fleeting: false,
    }
}

fn compare(paths: &[Path], netns: Netns, tracer: &Tracer) {
    let last = RefCell::new(None);
    let reported = tracer.wait_until(netns, REPORT_TIMEOUT, |events| {
        // After the purge, only another namespace of the same number can have events.
        let purge = events
            .iter()
            .position(|event| event.reason.as_deref() == Some("purged"));
        let outcome = path::compare(paths, &events[..purge.map_or(events.len(), |index| index + 1)]);
        let agreed = outcome.is_ok().then_some(());
        last.replace(outcome.err());
        agreed
    });
    if reported.is_none() {
        let mismatch = last.take().expect("the question was asked at least once");
        panic!("\n{mismatch}{}", tracer.messages());
    }
}

/// This process owns all sockets of all cases.
pub(crate) fn this_process() -> Maker {
    Maker::of(process::id()).expect("a process has a name")
}
