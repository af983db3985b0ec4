//! The latest connections to the collector: where it is on this host, its ends of them are traced too, and a log record about
//! each would be pushed by another one, and so on.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

/// How many are remembered; each ends within seconds of its response.
const MOST: usize = 256;

/// Shared by the thread that pushes and the one that traces.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<VecDeque<[SocketAddr; 2]>>);

impl Connections {
    /// Remembers one from `local` to `remote`.
    pub(super) fn note(&self, local: SocketAddr, remote: SocketAddr) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == MOST {
            latest.pop_front();
        }
        latest.push_back([local, remote].map(canonical));
    }

    /// Whether this is the collector's end of one of them.
    pub(crate) fn has_reverse(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.contains(&[remote, local].map(canonical))
    }
}

/// Without flow and scope of IPv6, and IPv4 as such: an end of IPv6 may have an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_by_their_other_ends() {
        let connections = Connections::default();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let collector = at("10.0.0.1:4318");
        connections.note(at("10.0.0.1:40000"), collector);
        assert!(connections.has_reverse(collector, at("10.0.0.1:40000")));
        assert!(connections.has_reverse(at("[::ffff:10.0.0.1]:4318"), at("[::ffff:10.0.0.1]:40000")));
        assert!(!connections.has_reverse(at("10.0.0.1:40000"), collector));
        assert!(!connections.has_reverse(collector, at("10.0.0.2:40000")));
        for port in 1..=256 {
            connections.note(SocketAddr::new(collector.ip(), port), collector);
        }
        assert!(!connections.has_reverse(collector, at("10.0.0.1:40000")));
        assert!(connections.has_reverse(collector, at("10.0.0.1:256")));
    }
}
