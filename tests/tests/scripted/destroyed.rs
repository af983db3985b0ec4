//! Sockets that the kernel is asked to destroy, as by `ss -K`.

use crate::script::{Case, HOLD, Session};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
};
use tcptrace_tests::clock::{Moment, linger};

pub(crate) const CASES: &[Case] = &[
    Case::new("an_established_connection", |script| {
        let mut connection = script.connected();
        linger(HOLD);
        destroy(&mut connection);
        vec![connection]
    }),
    Case::new("closing", |script| {
        let mut connection = script.connected();
        connection.reach_closing();
        linger(HOLD);
        destroy(&mut connection);
        vec![connection]
    }),
    Case::new("fin_wait2_in_a_timewait_sock", |script| {
        let mut connection = script.in_fin_wait2(Session::close);
        linger(HOLD);
        destroy(&mut connection);
        vec![connection]
    }),
    Case::new("time_wait", |script| {
        let mut connection = script.connected();
        connection.reach_time_wait_at_once();
        linger(HOLD);
        destroy(&mut connection);
        vec![connection]
    }),
];

/// Asks the kernel to destroy a socket, without a process: it would have the sockets of all cases open for a moment.
fn destroy(connection: &mut Session) {
    let (local, remote) = (connection.wire.there(), connection.wire.here());
    let request = request(local, remote);
    let netlink = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    );
    let netlink = netlink.expect("the kernel has sock_diag");
    let (sent, moment) = Moment::of(|| netlink.send(&request));
    assert_eq!(sent.expect("the kernel takes requests"), request.len());
    let mut answer = [0; 64];
    let length = (&netlink).read(&mut answer).expect("the kernel answers");
    assert!(length >= 20, "an answer of {length} bytes");
    // `struct nlmsgerr` begins with a negative errno, or 0.
    assert_eq!(answer[16..20], [0; 4], "the kernel refuses");
    connection.last = moment;
    connection.ended(Some("destroyed"));
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` of `linux/inet_diag.h`: `SOCK_DESTROY` with acknowledgement, for the
/// socket with these endpoints and any cookie.
fn request(local: SocketAddr, remote: SocketAddr) -> [u8; 72] {
    const SOCK_DESTROY: u16 = 21;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const TCP: u8 = 6;
    let mut bytes = [0; 72];
    bytes[..4].copy_from_slice(&72u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    // `AF_INET` and `AF_INET6`.
    bytes[16] = if local.is_ipv4() { 2 } else { 10 };
    bytes[17] = TCP;
    bytes[20..24].fill(0xff);
    bytes[24..26].copy_from_slice(&local.port().to_be_bytes());
    bytes[26..28].copy_from_slice(&remote.port().to_be_bytes());
    for (at, address) in [(28, local.ip()), (44, remote.ip())] {
        match address {
            IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
        }
    }
    bytes[64..].fill(0xff);
    bytes
}
