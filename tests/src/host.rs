//! Kernel sockets on the host's side of a script: non-blocking, so that one thread can act as host and as peer, and
//! with socket options that the usual crates do not have.

use crate::clock::poll_until;
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    time::Duration,
};

/// A non-blocking TCP socket with `SO_REUSEADDR`.
pub fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// A blocking listener whose accept queue holds `queue` connections, up to the limit of the namespace.
pub fn listen(address: SocketAddr, queue: i32) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_nonblocking(false)?;
    socket.bind(&address.into())?;
    socket.listen(queue)?;
    Ok(socket.into())
}

/// Begins to connect: the SYN has been sent when this returns.
pub fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// Accepts the next connection.
pub fn accept(listener: &Socket) -> io::Result<Socket> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let accepted = poll_until(TIMEOUT, || match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        other => Some(other),
    });
    let (socket, _) = accepted.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The local endpoint of this socket.
pub fn local_end(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet socket"))
}

/// Sets an option of this level, a number.
fn set_option(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("a number is four bytes");
    // SAFETY: the kernel reads `length` bytes of a live number.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Sets an integer option of level `IPPROTO_TCP`.
pub fn set_tcp_option(socket: &Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, option, value)
}

/// Sets `TCP_RTO_MAX_MS`, the longest retransmission timeout of the socket.
///
/// # Errors
/// Before Linux 6.15, or if it is less than a second or more than two minutes.
pub fn set_rto_max(socket: &Socket, limit: Duration) -> io::Result<()> {
    /// `TCP_RTO_MAX_MS` of linux/tcp.h.
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    set_tcp_option(
        socket,
        TCP_RTO_MAX_MS,
        libc::c_int::try_from(limit.as_millis()).expect("some minutes"),
    )
}

/// What `TCP_INFO` reports of a socket.
///
/// # Errors
/// If it is no TCP socket.
pub fn tcp_info(socket: &Socket) -> io::Result<libc::tcp_info> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("a struct of some hundred bytes");
    // SAFETY: the kernel writes at most `length` bytes to a live struct.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    // SAFETY: numbers, zeroed before.
    Ok(unsafe { info.assume_init() })
}

/// Dissolves the connection and keeps the socket: `connect` to `AF_UNSPEC`.
pub fn disconnect(socket: &Socket) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sockaddr`, and `AF_UNSPEC` is 0.
    let unspecified: libc::sockaddr = unsafe { std::mem::zeroed() };
    let length = libc::socklen_t::try_from(size_of_val(&unspecified)).expect("an address is sixteen bytes");
    // SAFETY: the kernel reads `length` bytes of a live address.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, length) };
    Errno::result(result)?;
    Ok(())
}

/// Sets an option of `IPPROTO_IP`, a number.
///
/// # Errors
/// If the kernel does not have it, or refuses the number.
pub fn set_ip_option(socket: &Socket, option: libc::c_int, value: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, option, value.cast_signed())
}

/// Sets `IP_LOCAL_PORT_RANGE`, the ports that `connect` may choose for the socket; 0 is no limit.
///
/// # Errors
/// Before Linux 6.3, or if the range is empty.
pub fn set_local_port_range(socket: &Socket, low: u16, high: u16) -> io::Result<()> {
    /// `IP_LOCAL_PORT_RANGE` of linux/in.h.
    const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
    set_ip_option(
        socket,
        IP_LOCAL_PORT_RANGE,
        u32::from(low) | u32::from(high) << 16,
    )
}
