//! Reads the TCP sockets of the calling thread's network namespace by netlink (sock_diag(7)), as `ss` does. It takes a
//! reference on a sock only where its count is not zero (`inet_diag_dump_icsk`, `refcount_inc_not_zero`), which the
//! `tcp` iterator of many kernels does not (docs/safety.md).

use crate::{
    decode::{Row, SockKind},
    event::{Ends, Nanos, SockRef, TcpState},
    kernel::clock,
};
use bytes::BytesMut;
use netlink_packet_core::{
    ErrorBuffer, ErrorMessage, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator, Parseable as _,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use std::{
    io,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

/// The kernel fills at most this much for one `recv` (`netlink_dump`, 32 KiB).
const RECEIVE_BYTES: usize = 64 << 10;

/// `NLMSG_ERROR` and `NLMSG_DONE` of `linux/netlink.h`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `TCPDIAG_GETSOCK` of `linux/inet_diag.h`: the one request that returns both address families from one walk of the
/// kernel's hash table, which on an idle server is what a dump costs.
const TCPDIAG_GETSOCK: u16 = 18;

/// `INET_DIAG_INFO`, `INET_DIAG_SHUTDOWN`, `INET_DIAG_ULP_INFO` and in it `INET_ULP_INFO_NAME` of `linux/inet_diag.h`.
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_NAME: u16 = 1;

/// What runs above a TCP socket that the kernel makes for a path of a multipath socket, and above no other
/// (`mptcp_subflow_create_socket`).
const MPTCP: &[u8] = b"mptcp\0";

/// A bit for each state's number; `SYN_RECV` includes request socks.
const ALL_STATES: u32 = 0xffe;

/// `sizeof(struct nlmsghdr)` and `sizeof(struct inet_diag_req)`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 60;

/// `inet_diag_msg.idiag_timer` of a timewait sock (`inet_twsk_diag_fill`).
const TIMEWAIT_TIMER: u8 = 3;

/// `TCP_TIMEOUT_INIT`, include/net/tcp.h: after this long a SYN-ACK is sent again, and then after twice as long as
/// before.
const FIRST_TIMEOUT: Nanos = Nanos::from_secs(1);

/// Passes every socket of the calling thread's namespace to `each`, or those in `only` this state, until it returns
/// `Break`. Rows carry the namespace `netns`, which netlink does not report.
///
/// # Errors
/// Where the kernel has no sock_diag for TCP, or the dump breaks off.
pub fn visit(
    netns: u32,
    only: Option<TcpState>,
    each: &mut impl FnMut(Row) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut buffer = BytesMut::with_capacity(RECEIVE_BYTES);
    // The kernel fills the first message while it takes the request, and each later one while it hands over the one
    // before (`netlink_recvmsg`).
    let filled_from = clock::monotonic();
    socket.send(&request(only), 0)?;
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
        each: &mut impl FnMut(Row) -> ControlFlow<()>,
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
                TCPDIAG_GETSOCK if each(self.row(message.payload())?).is_break() => {
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

    fn row(&self, payload: &[u8]) -> io::Result<Row> {
        let message = Message::new(payload)?;
        let number = payload[1];
        let state = TcpState::from_kernel(number)
            .ok_or_else(|| io::Error::other(format!("TCP state {number} is not known")))?;
        let mut is_full = false;
        let mut heard_ms = None;
        let mut is_path = false;
        for attribute in NlasIterator::new(&payload[Message::BYTES..]) {
            let attribute = attribute.map_err(io::Error::other)?;
            match attribute.kind() {
                // Full sockets alone have it.
                INET_DIAG_SHUTDOWN => is_full = true,
                INET_DIAG_INFO => {
                    heard_ms = word(attribute.value(), offset_of!(libc::tcp_info, tcpi_last_ack_recv));
                }
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
            SockKind::Full if state != TcpState::Listen => {
                heard_ms.map(|ms| Nanos::from_millis(ms.into()).since(self.tick))
            }
            SockKind::Full | SockKind::Timewait => None,
        };
        let inode = message.u32(68);
        Ok(Row {
            time: self.filled_from,
            read_by: self.filled_until,
            sock: SockRef {
                cookie: message.cookie(),
                address: 0,
            },
            ends: message.ends(),
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
            inode,
        })
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req`, with family, addresses and ports left at "any".
fn request(only: Option<TcpState>) -> [u8; HEADER_BYTES + REQUEST_BYTES] {
    let mut bytes = [0; HEADER_BYTES + REQUEST_BYTES];
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&TCPDIAG_GETSOCK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // `idiag_ext` and `idiag_states`.
    bytes[HEADER_BYTES + 3] = 1 << (INET_DIAG_INFO - 1);
    let states: u32 = only.map_or(ALL_STATES, |state| 1 << state as u8);
    bytes[HEADER_BYTES + 52..][..4].copy_from_slice(&states.to_ne_bytes());
    bytes
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

    fn ends(&self) -> Ends {
        Ends::new((self.address(8), self.port(4)), (self.address(24), self.port(6)))
    }

    fn cookie(&self) -> u64 {
        u64::from(self.u32(44)) | u64::from(self.u32(48)) << 32
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

/// Whether a protocol above TCP is the kernel's multipath TCP, by its attributes.
fn is_mptcp(attributes: &[u8]) -> io::Result<bool> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(io::Error::other)?;
        if attribute.kind() == INET_ULP_INFO_NAME {
            return Ok(attribute.value() == MPTCP);
        }
    }
    Ok(false)
}

/// How long ago the first SYN of a request came, at least, whose SYN-ACK was sent again so many times: the timeouts
/// that have passed, and what has passed of the current one.
fn request_age(resent: u8, expires: Nanos) -> Nanos {
    let current = FIRST_TIMEOUT.0 << resent.min(16);
    let passed = current - FIRST_TIMEOUT.0;
    Nanos(passed).plus(Nanos(current).since(expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::namespaces;
    use std::net::{TcpListener, TcpStream};

    fn sockets(only: Option<TcpState>) -> Vec<Row> {
        let mut found = Vec::new();
        visit(namespaces::current().unwrap(), only, &mut |row| {
            found.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    #[test]
    fn both_families_are_read_in_one_dump_with_their_cookies() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let before = clock::monotonic();
        let found = sockets(None);
        for listener in [&v4, &v6] {
            let local = listener.local_addr().unwrap();
            let row = found
                .iter()
                .find(|row| row.ends.local_port == local.port() && row.ends.local() == local.ip())
                .unwrap();
            assert_eq!((row.state, row.kind), (TcpState::Listen, SockKind::Full));
            assert!(row.sock.cookie != 0 && row.inode != 0 && !row.is_orphan);
            assert!(before <= row.time && row.time <= row.read_by && row.read_by <= clock::monotonic());
        }
    }

    #[test]
    fn only_the_states_asked_for_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = client.local_addr().unwrap().port();
        let has = |rows: &[Row], port| rows.iter().any(|row| row.ends.local_port == port);
        let open = sockets(Some(TcpState::Established));
        assert!(has(&open, port) && open.iter().all(|row| row.state == TcpState::Established));
        assert!(
            open.iter()
                .find(|row| row.ends.local_port == port)
                .unwrap()
                .idle
                .is_some()
        );
        assert!(!has(&sockets(Some(TcpState::TimeWait)), port));
    }

    #[test]
    fn a_request_is_as_old_as_the_timeouts_that_have_passed() {
        let age = request_age;
        assert_eq!(age(0, Nanos::from_millis(300)), Nanos::from_millis(700));
        assert_eq!(age(2, Nanos::from_millis(3_000)), Nanos::from_millis(4_000));
        // A deferred one waits longer than its SYN-ACKs say.
        assert_eq!(age(0, Nanos::from_secs(8)), Nanos(0));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        assert!(Message::new(&[0; 40]).is_err());
    }
}
