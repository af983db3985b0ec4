//! The requests that netlink's sock_diag takes: a list of TCP sockets, of MPTCP sockets, and one socket.

use super::{Endpoints, Family, INET_DIAG_INFO, INET_DIAG_SKMEMINFO, TcpState};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use std::net::IpAddr;

/// `TCPDIAG_GETSOCK` of `linux/inet_diag.h`: the one request that returns both address families from one walk of the
/// kernel's hash table, which on an idle server is what a dump costs.
pub(super) const TCPDIAG_GETSOCK: u16 = 18;

/// Bits of `idiag_ext`: `struct tcp_info`, and the memory of each socket.
const WITH_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
const WITH_MEMORY: u8 = 1 << (INET_DIAG_SKMEMINFO - 1);

/// `INET_DIAG_REQ_PROTOCOL` of `linux/inet_diag.h`, for protocols whose number does not fit the request: MPTCP's.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const IPPROTO_MPTCP: u32 = libc::IPPROTO_MPTCP.cast_unsigned();

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`: the request for one socket.
pub(super) const BY_FAMILY: u16 = 20;

/// `INET_DIAG_NOCOOKIE` of `linux/inet_diag.h`, twice.
const ANY_COOKIE: u64 = u64::MAX;

/// A bit for each state's number; `SYN_RECV` includes request socks.
const ALL_STATES: u32 = 0xffe;

/// `sizeof(struct nlmsghdr)` and `sizeof(struct inet_diag_req)`.
pub(super) const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 60;

/// `sizeof(struct inet_diag_req_v2)`, and `IPPROTO_TCP` in it.
const REQUEST_V2_BYTES: usize = 56;
const TCP: u8 = 6;

/// `sizeof(struct nlattr)` and a number of 4 bytes.
const ATTRIBUTE_BYTES: u16 = 8;
const MPTCP_REQUEST_BYTES: usize = HEADER_BYTES + REQUEST_V2_BYTES + ATTRIBUTE_BYTES as usize;

/// `struct nlmsghdr` of these flags, and zeroes up to `N` bytes.
fn message<const N: usize>(kind: u16, flags: u16) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..4].copy_from_slice(&u32::try_from(N).unwrap_or(u32::MAX).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// The start of `struct inet_diag_req_v2` for all states: `sdiag_family`, `sdiag_protocol`, `idiag_ext`, `idiag_states`.
fn ask(body: &mut [u8], family: i32, protocol: u8) {
    body[0] = u8::try_from(family).unwrap_or(0);
    body[1] = protocol;
    body[2] = WITH_INFO | WITH_MEMORY;
    body[4..8].copy_from_slice(&ALL_STATES.to_ne_bytes());
}

/// `struct nlmsghdr` and `struct inet_diag_req`, with family, addresses and ports left at "any".
pub(super) fn request(only: Option<TcpState>, with_memory: bool) -> [u8; HEADER_BYTES + REQUEST_BYTES] {
    let mut bytes: [u8; HEADER_BYTES + REQUEST_BYTES] = message(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP);
    // `idiag_ext` and `idiag_states`.
    bytes[HEADER_BYTES + 3] = if with_memory {
        WITH_INFO | WITH_MEMORY
    } else {
        WITH_INFO
    };
    let states: u32 = only.map_or(ALL_STATES, |state| 1 << state as u8);
    bytes[HEADER_BYTES + 52..][..4].copy_from_slice(&states.to_ne_bytes());
    bytes
}

/// `struct nlmsghdr`, `struct inet_diag_req_v2` for all of a family, and the protocol as an attribute.
pub(super) fn mptcp_request(family: i32) -> [u8; MPTCP_REQUEST_BYTES] {
    let mut bytes: [u8; MPTCP_REQUEST_BYTES] = message(BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP);
    let body = &mut bytes[HEADER_BYTES..];
    ask(body, family, 0);
    let attribute = &mut body[REQUEST_V2_BYTES..];
    attribute[..2].copy_from_slice(&ATTRIBUTE_BYTES.to_ne_bytes());
    attribute[2..4].copy_from_slice(&INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
    attribute[4..].copy_from_slice(&IPPROTO_MPTCP.to_ne_bytes());
    bytes
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for one socket.
pub(super) fn request_for(endpoints: &Endpoints, cookie: u64) -> [u8; HEADER_BYTES + REQUEST_V2_BYTES] {
    let mut bytes: [u8; HEADER_BYTES + REQUEST_V2_BYTES] = message(BY_FAMILY, NLM_F_REQUEST);
    let body = &mut bytes[HEADER_BYTES..];
    let family = match endpoints.family() {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    ask(body, family, TCP);
    // `id`.
    body[8..10].copy_from_slice(&endpoints.local_port.to_be_bytes());
    body[10..12].copy_from_slice(&endpoints.remote_port.to_be_bytes());
    put(&mut body[12..28], endpoints.local());
    put(&mut body[28..44], endpoints.remote());
    let cookie = if cookie == 0 { ANY_COOKIE } else { cookie };
    // Its halves, the lower one first, each in the machine's order.
    let halves = [cookie & u64::from(u32::MAX), cookie >> 32];
    let [lower, upper] = halves.map(|half| u32::try_from(half).unwrap_or(0));
    body[48..52].copy_from_slice(&lower.to_ne_bytes());
    body[52..56].copy_from_slice(&upper.to_ne_bytes());
    bytes
}

fn put(field: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => field[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => field.copy_from_slice(&address.octets()),
    }
}
