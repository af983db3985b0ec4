//! An independent oracle: `ss -tanoe`, parsed to state, endpoints, cookie and queues.

use crate::state::State;
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    process::Command,
};

/// One socket in the output of `ss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsSocket {
    pub state: State,
    /// The local endpoint; IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub cookie: u64,
    /// Recv-Q: bytes unread; of a listener, the length of its accept queue.
    pub received: u32,
    /// Send-Q: bytes not yet acknowledged; of a listener, its backlog.
    pub sent: u32,
}

/// Lists every TCP socket of the current thread's namespace.
pub fn list() -> io::Result<Vec<SsSocket>> {
    let output = Command::new("ss").arg("-tanoeH").output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "ss: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| parse(line).ok_or_else(|| io::Error::other(format!("ss printed {line:?}"))))
        .collect()
}

/// Parses a line such as
/// `TIME-WAIT 0 0 127.0.0.1:80 127.0.0.1:5000 timer:(timewait,55sec,0) ino:0 sk:1a`.
fn parse(line: &str) -> Option<SsSocket> {
    let mut words = line.split_whitespace();
    let state = State::from_ss(words.next()?)?;
    let [received, sent] = [words.next()?, words.next()?];
    let local = end(words.next()?)?;
    let remote = end(words.next()?)?;
    let cookie = words.find_map(|word| word.strip_prefix("sk:"))?;
    Some(SsSocket {
        state,
        local,
        remote,
        cookie: u64::from_str_radix(cookie, 16).ok()?,
        received: received.parse().ok()?,
        sent: sent.parse().ok()?,
    })
}

/// Parses an endpoint such as `127.0.0.1:80`, `[::1]:80`, `*:80`, `0.0.0.0:*`, with or without `%interface`.
fn end(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.rsplit_once(':')?;
    let address = address.split('%').next()?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = match address {
        "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        address => address.parse::<IpAddr>().ok()?.to_canonical(),
    };
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_an_end() {
        assert_eq!(end("127.0.0.1:80"), "127.0.0.1:80".parse().ok());
        assert_eq!(end("[::1]:80"), "[::1]:80".parse().ok());
        assert_eq!(end("[::ffff:127.0.0.1]:80"), "127.0.0.1:80".parse().ok());
        assert_eq!(end("[fe80::1]%lo:80"), "[fe80::1]:80".parse().ok());
        assert_eq!(end("0.0.0.0:*"), "0.0.0.0:0".parse().ok());
        assert_eq!(end("*:80"), "[::]:80".parse().ok());
    }

    #[test]
    fn reads_a_timewait_line() {
        let line = "TIME-WAIT 0 0 127.0.0.1:80 127.0.0.1:5000 timer:(timewait,55sec,0) ino:0 sk:1a";
        let socket = parse(line).expect("a line of ss");
        assert_eq!(socket.state, State::TimeWait);
        assert_eq!(socket.cookie, 0x1a);
        assert_eq!(socket.remote, "127.0.0.1:5000".parse().unwrap());
    }
}
