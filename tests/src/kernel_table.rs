//! The state of a connection in the kernel, from `/proc/thread-self/net/tcp`, which has all full, timewait and request
//! socks of the thread's namespace. Unlike `sock_diag`, it assigns no cookie, so that reading it does not change what
//! the tracer reports.

use crate::state::State;
use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, SocketAddr},
};

/// The connection's state, `None` if the kernel has no such socket. For a timewait sock, the state that it stands for:
/// `FIN_WAIT2` or `TIME_WAIT`.
pub fn state_of(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<State>> {
    let found = find(table_of(local), local, remote)?;
    match (found, local.ip(), remote.ip()) {
        // An IPv6 socket with an IPv4-mapped address is in the other table.
        (None, IpAddr::V4(here), IpAddr::V4(there)) => find(
            IPV6_TABLE,
            SocketAddr::new(here.to_ipv6_mapped().into(), local.port()),
            SocketAddr::new(there.to_ipv6_mapped().into(), remote.port()),
        ),
        (found, _, _) => Ok(found),
    }
}

const IPV4_TABLE: &str = "/proc/thread-self/net/tcp";
const IPV6_TABLE: &str = "/proc/thread-self/net/tcp6";

fn table_of(local: SocketAddr) -> &'static str {
    if local.is_ipv4() { IPV4_TABLE } else { IPV6_TABLE }
}

fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<State>> {
    let wanted = format!("{} {}", end(local), end(remote));
    let lines = match fs::read_to_string(table) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && table == IPV6_TABLE => return Ok(None),
        lines => lines?,
    };
    Ok(lines.lines().find_map(|line| state_in(line, &wanted)))
}

/// The state in a line such as `   0: 0100007F:0016 00000000:0000 0A …`, if it has the `wanted` endpoints.
fn state_in(line: &str, wanted: &str) -> Option<State> {
    let (_, endpoints) = line.split_once(": ")?;
    let rest = endpoints.strip_prefix(wanted)?;
    State::from_kernel_number(u8::from_str_radix(rest.split_whitespace().next()?, 16).ok()?)
}

/// An address in the table's format: 32-bit words in the machine's byte order, then the port.
fn end(end: SocketAddr) -> String {
    let octets = match end.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.as_chunks::<4>().0 {
        write!(text, "{:08X}", u32::from_ne_bytes(*word)).expect("a string takes all text");
    }
    write!(text, ":{:04X}", end.port()).expect("a string takes all text");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_this_process_own_listener() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("loopback takes a listener");
            let local = listener.local_addr().unwrap();
            let unspecified = match local {
                SocketAddr::V4(_) => "0.0.0.0:0",
                SocketAddr::V6(_) => "[::]:0",
            };
            let remote = unspecified.parse().unwrap();
            assert_eq!(state_of(local, remote).unwrap(), Some(State::Listen));
        }
    }
}
