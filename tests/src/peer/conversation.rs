//! The peer's side of one connection: the sequence numbers sent and received, and the next segment. It acknowledges
//! exactly the segments that the script has waited for with `expect`.

use super::{Flags, Options, Peer, Segment, Unreachable};
use crate::{
    clock::{Moment, monotonic_ns},
    host,
};
use socket2::Socket;
use std::{net::SocketAddr, rc::Rc, time::Duration};

/// Maximum time until the kernel sends a segment: more than two of its retransmission timeouts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection, from the peer's point of view.
pub struct Conversation {
    peer: Rc<Peer>,
    here: SocketAddr,
    there: SocketAddr,
    /// The next sequence number.
    pub send_next: u32,
    /// Everything before this has been expected, and is acknowledged.
    pub receive_next: u32,
    /// The kernel's last timestamp, if the conversation uses timestamps.
    echo: Option<u32>,
}

impl Conversation {
    /// A conversation of the peer's port `here` with the kernel's endpoint `there`; nothing is sent yet.
    #[must_use]
    pub fn new(peer: &Rc<Peer>, here: u16, there: SocketAddr) -> Self {
        const FIRST_SEQUENCE_NUMBER: u32 = 0x1000_0000;
        let here = SocketAddr::new(peer.family().peer(), here);
        Self {
            peer: Rc::clone(peer),
            here,
            there,
            send_next: FIRST_SEQUENCE_NUMBER,
            receive_next: 0,
            echo: None,
        }
    }

    /// A socket of the host, with these options, that connects to the peer's port, and the conversation: the handshake is
    /// complete.
    ///
    /// # Panics
    /// If the kernel does not connect.
    #[must_use]
    pub fn of_connect(peer: &Rc<Peer>, port: u16, options: impl FnOnce(&Socket)) -> (Socket, Self) {
        let remote = SocketAddr::new(peer.family().peer(), port);
        let socket = host::socket(remote).expect("a socket");
        options(&socket);
        host::connect(&socket, remote).expect("a SYN can be sent");
        let local = host::local_end(&socket).expect("it has a port");
        let mut wire = Self::new(peer, port, local);
        wire.expect(Flags::SYN);
        wire.send(Flags::SYN_ACK);
        wire.expect(Flags::ACK);
        (socket, wire)
    }

    /// From now on every segment has a timestamp.
    pub fn use_timestamps(&mut self) {
        self.echo = Some(0);
    }

    /// The peer's endpoint.
    #[must_use]
    pub fn here(&self) -> SocketAddr {
        self.here
    }

    /// The kernel's endpoint.
    #[must_use]
    pub fn there(&self) -> SocketAddr {
        self.there
    }

    /// The next segment with these bits, which a script may change before it transmits it.
    #[must_use]
    pub fn segment(&self, flags: Flags) -> Segment {
        Segment {
            from: self.here,
            to: self.there,
            flags,
            seq: self.send_next,
            ack: if flags.contain(Flags::ACK) {
                self.receive_next
            } else {
                0
            },
            options: Options {
                mss: flags.contain(Flags::SYN).then_some(1400),
                timestamps: self.echo.map(|echo| (timestamp(), echo)),
                fast_open: None,
            },
            payload: Vec::new(),
        }
    }

    /// Sends the next segment, without data.
    pub fn send(&mut self, flags: Flags) -> Moment {
        self.transmit(&self.segment(flags))
    }

    /// Sends data with an ACK.
    pub fn send_data(&mut self, data: &[u8]) -> Moment {
        let segment = Segment {
            payload: data.to_vec(),
            ..self.segment(Flags::ACK)
        };
        self.transmit(&segment)
    }

    /// Sends exactly this segment. Sequence numbers beyond those sent before count as sent.
    pub fn transmit(&mut self, segment: &Segment) -> Moment {
        let end = segment.seq.wrapping_add(segment.length());
        if is_after(end, self.send_next) {
            self.send_next = end;
        }
        self.peer.transmit(segment)
    }

    /// Responds to a segment of the host with an ICMP error.
    pub fn refuse(&mut self, segment: &Segment, what: Unreachable) -> Moment {
        self.peer.refuse(segment, what)
    }

    /// Waits for a segment with exactly these bits; from now on it is acknowledged.
    pub fn expect(&mut self, flags: Flags) -> Segment {
        self.expect_that(&flags.to_string(), |segment| segment.flags == flags)
    }

    /// Waits for a segment with data; from now on it is acknowledged.
    pub fn expect_data(&mut self) -> Segment {
        self.expect_that("data", |segment| !segment.payload.is_empty())
    }

    /// Waits for a RST.
    pub fn expect_reset(&mut self) -> Segment {
        self.expect_that("RST", |segment| segment.flags.contain(Flags::RST))
    }

    fn expect_that(&mut self, what: &str, wanted: impl Fn(&Segment) -> bool) -> Segment {
        let segment = self.peer.receive(self.there, self.here, TIMEOUT, wanted);
        let segment = segment.unwrap_or_else(|| panic!("no {what} from {} within {TIMEOUT:?}", self.there));
        let end = segment.seq.wrapping_add(segment.length());
        if segment.flags.contain(Flags::SYN) || is_after(end, self.receive_next) {
            self.receive_next = end;
        }
        if let (Some(echo), Some((value, _))) = (&mut self.echo, segment.options.timestamps) {
            *echo = value;
        }
        segment
    }
}

/// Comparison in sequence space, RFC 9293 section 3.4.
fn is_after(left: u32, right: u32) -> bool {
    left.wrapping_sub(right).cast_signed() > 0
}

/// The peer's timestamp clock, in milliseconds.
fn timestamp() -> u32 {
    u32::try_from(monotonic_ns() / 1_000_000 % u64::from(u32::MAX)).expect("reduced to 32 bits")
}
