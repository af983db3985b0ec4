//! Reads the TCP sockets of the calling thread's network namespace through netlink (sock_diag(7)), as `ss` does: for
//! kernels without iterators. It tells neither a timewait sock's age nor a request's listener.

use crate::{
    decode::{Row, SockKind},
    event::{Ends, SockRef, TcpState},
    kernel::clock,
};
use bytes::BytesMut;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use std::{io, ops::ControlFlow};

/// The kernel fills at most this much for one `recv` (`netlink_dump`, 32 KiB).
const RECEIVE_BYTES: usize = 64 << 10;

/// `sizeof(struct nlmsghdr)`; no message is shorter.
const HEADER_BYTES: usize = 16;

/// Hands over every socket, IPv4's first, until `each` wants no more. Rows carry the namespace `netns`, which netlink does not tell.
///
/// # Errors
/// Where the kernel has no sock_diag for TCP, or the dump breaks off.
pub fn visit(netns: u32, each: &mut impl FnMut(Row) -> ControlFlow<()>) -> io::Result<()> {
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        if dump(family, socket_id, netns, each)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn dump(
    family: u8,
    socket_id: SocketId,
    netns: u32,
    each: &mut impl FnMut(Row) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(family, socket_id), 0)?;
    let mut buffer = BytesMut::with_capacity(RECEIVE_BYTES);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let wanted = each(row(&response, netns)?);
                    if wanted.is_break() {
                        return Ok(wanted);
                    }
                }
                NetlinkPayload::Done(_) => return Ok(ControlFlow::Continue(())),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are aligned to 4 bytes (NLMSG_ALIGN).
            let length = (message.header.length as usize)
                .next_multiple_of(4)
                .max(HEADER_BYTES);
            rest = rest.get(length..).unwrap_or(&[]);
        }
    }
}

fn request(family: u8, socket_id: SocketId) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn row(response: &InetResponse, netns: u32) -> io::Result<Row> {
    let header = &response.header;
    let id = &header.socket_id;
    let state = TcpState::from_kernel(header.state)
        .ok_or_else(|| io::Error::other(format!("TCP state {} is not known", header.state)))?;
    let kind = if header.timer == Some(Timer::TimeWait) {
        SockKind::Timewait
    } else if state == TcpState::SynRecv && header.inode == 0 {
        SockKind::Request
    } else {
        SockKind::Full
    };
    Ok(Row {
        time: clock::monotonic(),
        sock: SockRef {
            cookie: u64::from_ne_bytes(id.cookie),
            address: 0,
        },
        ends: Ends::new(
            (id.source_address, id.source_port),
            (id.destination_address, id.destination_port),
        ),
        netns,
        kind,
        state,
        uid: header.uid,
        is_orphan: header.inode == 0,
        is_kernel_socket: false,
        unread: header.recv_queue,
        unsent: header.send_queue,
        listener: 0,
        entry_stamp_ms: 0,
        expires_in_ns: None,
        idle: None,
        inode: header.inode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::namespaces;
    use std::net::TcpListener;

    #[test]
    fn a_listener_of_ours_is_found_with_its_cookie() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut found = Vec::new();
        visit(namespaces::current().unwrap(), &mut |row| {
            found.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
        let row = found.iter().find(|row| row.ends.local_port == port).unwrap();
        assert_eq!(row.state, TcpState::Listen);
        assert_ne!(row.sock.cookie, 0);
        assert_ne!(row.inode, 0);
    }
}
