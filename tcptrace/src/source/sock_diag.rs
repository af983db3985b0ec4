//! Reads the TCP sockets of the calling thread's network namespace by netlink (sock_diag(7)), as `ss` does. It takes a
//! reference on a sock only where its count is not zero (`inet_diag_dump_icsk`, `refcount_inc_not_zero`), which the
//! `tcp` iterator of many kernels does not (docs/safety.md).

use self::request::{BY_FAMILY, HEADER_BYTES, TCPDIAG_GETSOCK, mptcp_request, request, request_for};
use crate::{
    event::{Endpoints, Family, Nanos, SockRef, TcpState},
    kernel::clock,
    socket::{
        Flow, HeldUp, Listed, Row, SockKind,
        network::{Network, Timer, TimerPurpose},
        snapshot::MptcpSocket,
    },
};
use bytes::BytesMut;
use netlink_packet_core::{ErrorBuffer, ErrorMessage, NetlinkBuffer, NlasIterator, Parseable as _};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use std::{
    io,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

mod network;
mod request;

/// The kernel fills at most this much for one `recv` (`netlink_dump`, 32 KiB).
const RECEIVE_BYTES: usize = 64 << 10;

/// `NLMSG_ERROR` and `NLMSG_DONE` of `linux/netlink.h`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `INET_DIAG_INFO`, `INET_DIAG_SKMEMINFO`, `INET_DIAG_SHUTDOWN`, `INET_DIAG_SOCKOPT`, `INET_DIAG_ULP_INFO` and in it
/// `INET_ULP_INFO_NAME` of `linux/inet_diag.h`.
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_DIAG_SOCKOPT: u16 = 22;
const INET_ULP_INFO_NAME: u16 = 1;

/// What runs above a TCP socket that the kernel makes for a path of an MPTCP socket, and above no other
/// (`mptcp_subflow_create_socket`).
const MPTCP: &[u8] = b"mptcp\0";

/// Where `struct mptcp_info` has the number of additional subflows, and how many milliseconds ago the peer last
/// acknowledged, which Linux 6.10 added.
const MPTCP_INFO_SUBFLOWS: usize = 0;
const MPTCP_INFO_LAST_ACK: usize = 92;

/// `inet_diag_msg.idiag_timer` of a timewait sock (`inet_twsk_diag_fill`), and of a full sock that has sent what is not
/// acknowledged, is idle and has keep-alive, or probes a closed window (`inet_sk_diag_fill`).
const TIMEWAIT_TIMER: u8 = 3;
const RETRANSMIT_TIMER: u8 = 1;
const KEEPALIVE_TIMER: u8 = 2;
const WINDOW_TIMER: u8 = 4;

/// `TCP_TIMEOUT_INIT`, include/net/tcp.h: after this long a SYN-ACK is sent again, and then after twice as long as
/// before.
const FIRST_TIMEOUT: Nanos = Nanos::from_secs(1);

/// Passes every socket of the calling thread's namespace to `each`, or those in `only` this state, until it returns
/// `Break`. The memory of sockets is read if `with_memory`. Rows carry the namespace `netns`, which netlink does not report. Fails if the kernel has no sock_diag for
/// TCP, or the dump breaks off.
pub(crate) fn visit(
    netns: u32,
    only: Option<TcpState>,
    with_memory: bool,
    each: &mut impl FnMut(Listed) -> ControlFlow<()>,
) -> io::Result<()> {
    list(netns, &request(only, with_memory), &mut |dump, payload| {
        Ok(each(dump.socket(payload)?))
    })
}

/// The MPTCP sockets of the calling thread's namespace. Fails if the kernel has no sock_diag for MPTCP, or the dump
/// breaks off.
pub(crate) fn mptcp(netns: u32) -> io::Result<Vec<MptcpSocket>> {
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        list(netns, &mptcp_request(family), &mut |dump, payload| {
            sockets.push(dump.mptcp(payload)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(sockets)
}

/// Sends a request for a list, and passes each socket of the answer to `each` until it breaks.
fn list(
    netns: u32,
    request: &[u8],
    each: &mut impl FnMut(&Dump, &[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut buffer = BytesMut::with_capacity(RECEIVE_BYTES);
    // The kernel fills the first message while it takes the request, and each later one while it hands over the one
    // before (`netlink_recvmsg`).
    let filled_from = clock::monotonic();
    socket.send(request, 0)?;
    let mut dump = Dump {
        netns,
        tick: clock::tick(),
        filled_from,
        filled_until: clock::monotonic(),
    };
    loop {
        buffer.clear();
        let filled_from = clock::monotonic();
        socket.recv(&mut buffer, 0)?;
        let filled_until = clock::monotonic();
        if dump.read(&buffer, each)?.is_break() {
            return Ok(());
        }
        dump = Dump {
            filled_from,
            filled_until,
            ..dump
        };
    }
}

/// Asks for single sockets of the calling thread's namespace.
pub(crate) struct Finder {
    socket: Socket,
    buffer: BytesMut,
    netns: u32,
    tick: Nanos,
}

impl Finder {
    /// Rows carry the namespace `netns`.
    pub(crate) fn new(netns: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            buffer: BytesMut::with_capacity(RECEIVE_BYTES),
            netns,
            tick: clock::tick(),
        })
    }

    /// The connected socket with these ends and, unless it is 0, this cookie. One that is bound to a device is not
    /// found (`inet_match`). Fails if the kernel answers with neither a socket nor that it has none.
    pub(crate) fn find(&mut self, endpoints: &Endpoints, cookie: u64) -> io::Result<Option<Listed>> {
        let filled_from = clock::monotonic();
        self.socket.send(&request_for(endpoints, cookie), 0)?;
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        let dump = Dump {
            netns: self.netns,
            tick: self.tick,
            filled_from,
            filled_until: clock::monotonic(),
        };
        let message = NetlinkBuffer::new_checked(&self.buffer).map_err(io::Error::other)?;
        match message.message_type() {
            BY_FAMILY => dump.socket(message.payload()).map(Some),
            ERROR => {
                let error = ErrorBuffer::new_checked(&message.payload())
                    .and_then(|buffer| ErrorMessage::parse(&buffer))
                    .map_err(io::Error::other)?
                    .to_io();
                match error.raw_os_error() {
                    // None with these ends, or another one has them (`sock_diag_check_cookie`).
                    Some(libc::ENOENT | libc::ESTALE) => Ok(None),
                    _ => Err(error),
                }
            }
            other => Err(io::Error::other(format!(
                "sock_diag answered with a message {other}"
            ))),
        }
    }
}

/// What messages are read with.
struct Dump {
    netns: u32,
    /// What the kernel's timers count in.
    tick: Nanos,
    /// When the kernel began to fill the current messages, and when it had.
    filled_from: Nanos,
    filled_until: Nanos,
}

impl Dump {
    /// Breaks at the end of the dump, and where `each` does.
    fn read(
        &self,
        mut rest: &[u8],
        each: &mut impl FnMut(&Self, &[u8]) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<ControlFlow<()>> {
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            match message.message_type() {
                DONE => return Ok(ControlFlow::Break(())),
                ERROR => {
                    let error = ErrorBuffer::new_checked(&message.payload())
                        .and_then(|buffer| ErrorMessage::parse(&buffer));
                    return Err(error.map_or_else(io::Error::other, |error| error.to_io()));
                }
                TCPDIAG_GETSOCK | BY_FAMILY if each(self, message.payload())?.is_break() => {
                    return Ok(ControlFlow::Break(()));
                }
                _ => {}
            }
            // Messages are aligned to 4 bytes (NLMSG_ALIGN).
            let length = (message.length() as usize).next_multiple_of(4).max(HEADER_BYTES);
            rest = rest.get(length..).unwrap_or(&[]);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn mptcp(&self, payload: &[u8]) -> io::Result<MptcpSocket> {
        let message = Message::new(payload)?;
        let (mut more_paths, mut idle) = (0, None);
        for attribute in NlasIterator::new(&payload[Message::BYTES..]) {
            let attribute = attribute.map_err(io::Error::other)?;
            if attribute.kind() == INET_DIAG_INFO {
                let info = attribute.value();
                more_paths = info.get(MPTCP_INFO_SUBFLOWS).copied().unwrap_or(0);
                idle =
                    word(info, MPTCP_INFO_LAST_ACK).map(|ms| Nanos::from_millis(ms.into()).since(self.tick));
            }
        }
        Ok(MptcpSocket {
            netns: self.netns,
            endpoints: message.endpoints(),
            state: message.state()?,
            more_paths,
            idle,
        })
    }

    fn socket(&self, payload: &[u8]) -> io::Result<Listed> {
        let message = Message::new(payload)?;
        let state = message.state()?;
        let mut is_full = false;
        let mut heard_ms = None;
        let (mut sent_ms, mut received_ms) = (None, None);
        let mut is_path = false;
        let mut binds_late = None;
        let mut network = Network::default();
        for attribute in NlasIterator::new(&payload[Message::BYTES..]) {
            let attribute = attribute.map_err(io::Error::other)?;
            match attribute.kind() {
                // Full sockets alone have it.
                INET_DIAG_SHUTDOWN => is_full = true,
                INET_DIAG_INFO => {
                    let info = |at| word(attribute.value(), at);
                    heard_ms = info(offset_of!(libc::tcp_info, tcpi_last_ack_recv));
                    sent_ms = info(offset_of!(libc::tcp_info, tcpi_last_data_sent));
                    received_ms = info(offset_of!(libc::tcp_info, tcpi_last_data_recv));
                    if state != TcpState::Listen {
                        network::add_info(&mut network, attribute.value());
                    }
                }
                INET_DIAG_SKMEMINFO => network::add_memory(&mut network, attribute.value()),
                INET_DIAG_SOCKOPT => binds_late = bind_address_no_port(attribute.value()),
                INET_DIAG_ULP_INFO => is_path = is_mptcp(attribute.value())?,
                _ => {}
            }
        }
        let (timer, resent) = (payload[2], payload[3]);
        let kind = if timer == TIMEWAIT_TIMER {
            SockKind::Timewait
        } else if state == TcpState::SynRecv && !is_full {
            SockKind::Request
        } else {
            SockKind::Full
        };
        // The kernel reckons in whole ticks, and the current one may only just have begun.
        let expires = Nanos::from_millis(message.u32(52).into()).plus(self.tick);
        let idle = match kind {
            SockKind::Request => Some(request_age(resent, expires)),
            // What arrived last: data that acknowledges nothing new is no acknowledgement (`keepalive_time_elapsed`).
            SockKind::Full if state != TcpState::Listen => heard_ms
                .zip(received_ms)
                .map(|(heard, received)| Nanos::from_millis(heard.min(received).into()).since(self.tick)),
            SockKind::Full | SockKind::Timewait => None,
        };
        let held_up = match timer {
            WINDOW_TIMER => HeldUp::Window,
            RETRANSMIT_TIMER if resent > 0 => HeldUp::Unanswered,
            _ => HeldUp::No,
        };
        let inode = message.u32(68);
        let row = Row {
            time: self.filled_from,
            read_by: self.filled_until,
            sock: SockRef::new(message.cookie(), 0),
            endpoints: message.endpoints(),
            netns: self.netns,
            kind,
            state,
            uid: message.u32(64),
            is_orphan: inode == 0,
            is_kernel_socket: is_path,
            unread: message.u32(56),
            unsent: message.u32(60),
            listener: 0,
            entry_stamp_ms: 0,
            expires_in_ns: (kind != SockKind::Full).then(|| expires.0.cast_signed()),
            idle,
            flow: Flow {
                sent_ms,
                received_ms,
                held_up,
                has_keepalive: timer == KEEPALIVE_TIMER,
                binds_late,
            },
            inode,
        };
        if kind == SockKind::Full && state != TcpState::Listen {
            // The queue that netlink reports includes what was not sent (`tcp_diag_get_info`).
            network.unacknowledged = network.not_sent.map(|waiting| row.unsent.saturating_sub(waiting));
            network.timer = network::timer(timer, message.u32(52));
        }
        Ok(Listed { row, network })
    }
}

/// `struct inet_diag_msg` in bytes: what follows are attributes.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    const BYTES: usize = 72;

    fn new(payload: &'a [u8]) -> io::Result<Self> {
        if payload.len() < Self::BYTES {
            return Err(io::Error::other(format!(
                "sock_diag answered with {} bytes for a socket, fewer than {}",
                payload.len(),
                Self::BYTES
            )));
        }
        Ok(Self(payload))
    }

    fn u32(&self, at: usize) -> u32 {
        word(self.0, at).unwrap_or(0)
    }

    fn state(&self) -> io::Result<TcpState> {
        let number = self.0[1];
        TcpState::from_kernel(number).ok_or_else(|| io::Error::other(format!("unknown TCP state {number}")))
    }

    fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    fn address(&self, at: usize) -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.0[at..at + 16]);
        if i32::from(self.0[0]) == libc::AF_INET {
            let [a, b, c, d, ..] = octets;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints::new((self.address(8), self.port(4)), (self.address(24), self.port(6)))
    }

    fn cookie(&self) -> u64 {
        u64::from(self.u32(44)) | u64::from(self.u32(48)) << 32
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

/// The bit `bind_address_no_port` of `struct inet_diag_sockopt` (linux/inet_diag.h), the first of its second byte.
fn bind_address_no_port(options: &[u8]) -> Option<bool> {
    let bit = if cfg!(target_endian = "big") { 1 << 7 } else { 1 };
    options.get(1).map(|byte| byte & bit != 0)
}

/// Whether a protocol above TCP is MPTCP, by its attributes.
fn is_mptcp(attributes: &[u8]) -> io::Result<bool> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(io::Error::other)?;
        if attribute.kind() == INET_ULP_INFO_NAME {
            return Ok(attribute.value() == MPTCP);
        }
    }
    Ok(false)
}

/// How long ago the first SYN of a request came, at least: the timeouts that have passed, and what has passed of the
/// current one. That has been doubled at most as often as the SYN-ACK was sent again, and no more often than the time left
/// shows: a SYN that the client repeats has the SYN-ACK sent again too, and does not double it (`tcp_check_req`,
/// `inet_rtx_syn_ack`; Linux 6.18).
fn request_age(resent: u8, expires: Nanos) -> Nanos {
    let doublings = (0..resent.min(16)).find(|times| FIRST_TIMEOUT.0 << times >= expires.0);
    let current = FIRST_TIMEOUT.0 << doublings.unwrap_or(resent.min(16));
    let passed = current - FIRST_TIMEOUT.0;
    Nanos(passed).plus(Nanos(current).since(expires))
}

#[cfg(test)]
mod tests;
