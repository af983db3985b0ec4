//! Random connections on loopback, over IPv4 and IPv6, with every kind of ending and every state that can be kept. The
//! seed alone determines which and in which order.

use crate::{host, random::Random};
use socket2::Socket;
use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    time::Duration,
};

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client closes, then the server.
    Active,
    /// The server closes, then the client.
    Passive,
    /// As `Passive`, and then the client's port connects again while the server's socket is in TIME_WAIT.
    Reused,
    /// The client closes, the server does not: CLOSE_WAIT, and FIN_WAIT2 in a timewait sock.
    LeakedCloseWait,
    /// The client shuts down and keeps its socket: FIN_WAIT2 in a full sock.
    HalfClosed,
    /// Neither closes, and data is left unread.
    Kept,
    /// One side closes with unread data, which sends a RST.
    ClosedUnread,
    /// `SO_LINGER` of 0 sends a RST.
    Lingering,
    /// There is no listener.
    Refused,
    /// A listener closes with children that were not accepted.
    ListenerClosed,
    /// A listener stays open, with a child that is not accepted.
    NeverAccepted,
    /// The accept queue is full: SYN_SENT.
    QueueFull,
    /// The listener defers the accept until there is data: SYN_RECV.
    Deferred,
    /// The FIN is queued behind data that is not read: FIN_WAIT1.
    StuckFinWait1,
    /// The same after the server has shut down: LAST_ACK.
    StuckLastAck,
    /// The same, and the server shuts down: CLOSING.
    StuckClosing,
    /// A socket that connects to itself: simultaneous open, and simultaneous close.
    Itself,
    /// Dissolved by `connect` to `AF_UNSPEC` and connected again.
    Reconnected,
}

/// Each ending and its weight.
const ENDINGS: [(Ending, usize); 18] = [
    (Ending::Active, 300),
    (Ending::Passive, 200),
    (Ending::Reused, 30),
    (Ending::LeakedCloseWait, 30),
    (Ending::HalfClosed, 30),
    (Ending::Kept, 30),
    (Ending::ClosedUnread, 40),
    (Ending::Lingering, 80),
    (Ending::Refused, 60),
    (Ending::ListenerClosed, 20),
    (Ending::NeverAccepted, 20),
    (Ending::QueueFull, 10),
    (Ending::Deferred, 20),
    (Ending::StuckFinWait1, 8),
    (Ending::StuckLastAck, 8),
    (Ending::StuckClosing, 8),
    (Ending::Itself, 30),
    (Ending::Reconnected, 20),
];

/// A backlog longer than any round fills.
const LONG_QUEUE: i32 = 4096;

/// The listeners, and the sockets that are kept for a later round.
pub struct Workload {
    random: Random,
    stands: Vec<Stand>,
    held: Vec<Vec<Socket>>,
}

/// The listeners of one IP version.
struct Stand {
    /// The loopback address with port 0.
    any: SocketAddr,
    plain: Listener,
    /// Its children have a small receive buffer.
    narrow: Listener,
    unattended: Listener,
    full: Listener,
    deferring: Listener,
}

struct Listener {
    socket: Socket,
    address: SocketAddr,
}

impl Workload {
    /// Listens in the namespace of the current thread.
    pub fn new(random: Random) -> io::Result<Self> {
        let loopbacks: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        Ok(Self {
            random,
            stands: loopbacks.into_iter().map(Stand::new).collect::<io::Result<_>>()?,
            held: Vec::new(),
        })
    }

    /// Creates `count` connections and ends them, after dropping some sockets of earlier rounds.
    pub fn round(&mut self, count: usize) -> io::Result<()> {
        self.let_go_of_some();
        for _ in 0..count {
            let stand = self.random.below(self.stands.len());
            let ending = self.choose();
            let held = self.stands[stand]
                .play(ending, &mut self.random)
                .map_err(|error| io::Error::new(error.kind(), format!("{ending:?}: {error}")))?;
            if !held.is_empty() {
                self.held.push(held);
            }
        }
        Ok(())
    }

    fn let_go_of_some(&mut self) {
        let groups = std::mem::take(&mut self.held);
        for mut group in groups {
            if !self.random.one_in(2) {
                self.held.push(group);
                continue;
            }
            if self.random.one_in(2) {
                group.reverse();
            }
            for socket in group {
                drop(socket);
            }
        }
    }

    fn choose(&mut self) -> Ending {
        let total = ENDINGS.iter().map(|(_, share)| share).sum();
        let mut left = self.random.below(total);
        for (ending, share) in ENDINGS {
            if left < share {
                return ending;
            }
            left -= share;
        }
        unreachable!("the shares add up to their total")
    }
}

impl Stand {
    fn new(any: SocketAddr) -> io::Result<Self> {
        /// Seconds that a request waits for data: longer than a test.
        const DEFERRED_SECS: i32 = 120;
        let narrow = host::socket(any)?;
        narrow.set_recv_buffer_size(4096)?;
        let deferring = host::socket(any)?;
        host::set_tcp_option(&deferring, libc::TCP_DEFER_ACCEPT, DEFERRED_SECS)?;
        let full = Listener::on(host::socket(any)?, any, 0)?;
        let stand = Self {
            any,
            plain: Listener::on(host::socket(any)?, any, LONG_QUEUE)?,
            narrow: Listener::on(narrow, any, LONG_QUEUE)?,
            unattended: Listener::on(host::socket(any)?, any, LONG_QUEUE)?,
            full,
            deferring: Listener::on(deferring, any, LONG_QUEUE)?,
        };
        // A backlog of 0 holds one.
        drop(stand.full.connect()?);
        Ok(stand)
    }

    /// Creates and ends one connection; returns the sockets that are to be kept, in the order in which to close them.
    fn play(&self, ending: Ending, random: &mut Random) -> io::Result<Vec<Socket>> {
        Ok(match ending {
            Ending::Active => {
                let (client, server) = self.plain.pair()?;
                drop((client, server));
                vec![]
            }
            Ending::Passive => {
                let (client, server) = self.plain.pair()?;
                drop((server, client));
                vec![]
            }
            Ending::Reused => self.reused()?,
            Ending::LeakedCloseWait => {
                let (client, server) = self.plain.pair()?;
                drop(client);
                vec![server]
            }
            Ending::HalfClosed => {
                let (client, server) = self.plain.pair()?;
                client.shutdown(Shutdown::Write)?;
                vec![client, server]
            }
            Ending::Kept => {
                let (client, server) = self.plain.pair()?;
                client.send(&vec![0; 1 + random.below(2000)])?;
                vec![client, server]
            }
            Ending::ClosedUnread => {
                let (client, server) = self.plain.pair()?;
                client.send(b"unread")?;
                drop(server);
                vec![client]
            }
            Ending::Lingering => {
                let (client, server) = self.plain.pair()?;
                let (hasty, other) = if random.one_in(2) {
                    (client, server)
                } else {
                    (server, client)
                };
                hasty.set_linger(Some(Duration::ZERO))?;
                drop(hasty);
                if random.one_in(2) { vec![other] } else { vec![] }
            }
            Ending::Refused => self.refused()?,
            Ending::ListenerClosed => {
                let listener = Listener::on(host::socket(self.any)?, self.any, LONG_QUEUE)?;
                let count = 1 + random.below(5);
                (0..count)
                    .map(|_| listener.connect())
                    .collect::<io::Result<_>>()?
            }
            Ending::NeverAccepted => vec![self.unattended.connect()?],
            Ending::QueueFull => vec![self.full.connect()?],
            Ending::Deferred => vec![self.deferring.connect()?],
            Ending::StuckFinWait1 => {
                let (client, server) = self.narrow.filled_pair()?;
                drop(client);
                vec![server]
            }
            Ending::StuckLastAck => {
                let (client, server) = self.narrow.filled_pair()?;
                server.shutdown(Shutdown::Write)?;
                drop(client);
                vec![server]
            }
            Ending::StuckClosing => {
                let (client, server) = self.narrow.filled_pair()?;
                client.shutdown(Shutdown::Write)?;
                server.shutdown(Shutdown::Write)?;
                vec![client, server]
            }
            Ending::Itself => {
                let socket = host::socket(self.any)?;
                socket.bind(&self.any.into())?;
                host::connect(&socket, host::local_end(&socket)?)?;
                if random.one_in(2) { vec![socket] } else { vec![] }
            }
            Ending::Reconnected => {
                let (client, first) = self.plain.pair()?;
                host::disconnect(&client)?;
                host::connect(&client, self.plain.address)?;
                let second = host::accept(&self.plain.socket)?;
                vec![client, first, second]
            }
        })
    }

    fn reused(&self) -> io::Result<Vec<Socket>> {
        let client = host::socket(self.any)?;
        client.bind(&self.any.into())?;
        let end = host::local_end(&client)?;
        host::connect(&client, self.plain.address)?;
        drop(host::accept(&self.plain.socket)?);
        drop(client);
        let client = host::socket(self.any)?;
        match client.bind(&end.into()) {
            // Another connection has bound the port in the meantime.
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(vec![]),
            bound => bound?,
        }
        host::connect(&client, self.plain.address)?;
        Ok(vec![client, host::accept(&self.plain.socket)?])
    }

    fn refused(&self) -> io::Result<Vec<Socket>> {
        // Bound but not listening, so that no other socket gets the port.
        let closed = host::socket(self.any)?;
        closed.set_reuse_address(false)?;
        closed.bind(&self.any.into())?;
        let socket = host::socket(self.any)?;
        match host::connect(&socket, host::local_end(&closed)?) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(vec![]),
            other => other.map(|()| vec![]),
        }
    }
}

impl Listener {
    fn on(socket: Socket, any: SocketAddr, queue: i32) -> io::Result<Self> {
        socket.bind(&any.into())?;
        socket.listen(queue)?;
        let address = host::local_end(&socket)?;
        Ok(Self { socket, address })
    }

    fn connect(&self) -> io::Result<Socket> {
        let client = host::socket(self.address)?;
        host::connect(&client, self.address)?;
        Ok(client)
    }

    /// A connected pair, the client first.
    fn pair(&self) -> io::Result<(Socket, Socket)> {
        let client = self.connect()?;
        Ok((client, host::accept(&self.socket)?))
    }

    /// Like `pair`, and the client sends more than the server's buffer holds.
    fn filled_pair(&self) -> io::Result<(Socket, Socket)> {
        let client = host::socket(self.address)?;
        // Much more than the receive buffer: the rest stays in the send queue.
        client.set_send_buffer_size(64 << 10)?;
        host::connect(&client, self.address)?;
        let server = host::accept(&self.socket)?;
        loop {
            match client.send(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((client, server)),
                Err(error) => return Err(error),
            }
        }
    }
}
