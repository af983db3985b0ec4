//! The peers of half-closed connections, if they are on this host. Pure.

use crate::{
    event::{Endpoints, TcpState},
    socket::{Row, SockKind},
};
use hashbrown::HashMap;

/// The other end of a connection, in a namespace whose sockets were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// The cookie of the other socket.
    pub cookie: u64,
    /// The state of the other socket.
    pub state: TcpState,
    /// Whether a file of a process, or one in flight, has it.
    pub is_open: bool,
}

/// The other ends of all connections in CLOSE_WAIT and FIN_WAIT2.
#[derive(Debug, Default)]
pub struct Peers(HashMap<(u32, Endpoints), Option<Half>>);

impl Peers {
    /// Looks among all sockets that are no listeners, whatever is to be shown of them: their namespaces and ends. Gone
    /// through twice.
    #[must_use]
    pub fn find<I: Iterator<Item = (u32, Endpoints, Half)>>(sockets: impl Fn() -> I) -> Self {
        let mut halves: HashMap<(u32, Endpoints), Option<Half>> = sockets()
            .filter(|(_, _, half)| matches!(half.state, TcpState::CloseWait | TcpState::FinWait2))
            .map(|(netns, endpoints, _)| (key(netns, endpoints.reversed()), None))
            .collect();
        if !halves.is_empty() {
            for (netns, endpoints, half) in sockets() {
                if let Some(found) = halves.get_mut(&key(netns, endpoints)) {
                    *found = Some(half);
                }
            }
        }
        Self(halves)
    }

    /// Looks among the rows of a snapshot.
    #[must_use]
    pub fn of_rows(rows: &[Row]) -> Self {
        let half = |row: &Row| Half {
            cookie: row.sock.cookie,
            state: row.state,
            is_open: row.kind == SockKind::Full && !row.is_orphan,
        };
        let connected = || rows.iter().filter(|row| row.state != TcpState::Listen);
        Self::find(|| connected().map(|row| (row.netns, row.endpoints, half(row))))
    }

    /// The other end of a socket in CLOSE_WAIT or FIN_WAIT2; `None` where it is on another host, or gone.
    #[must_use]
    pub fn of(&self, netns: u32, endpoints: &Endpoints) -> Option<Half> {
        *self.0.get(&key(netns, endpoints.reversed()))?
    }
}

/// Loopback addresses mean another host in each namespace; all others are taken to mean the same one.
fn key(netns: u32, endpoints: Endpoints) -> (u32, Endpoints) {
    let netns = if endpoints.remote().is_loopback() {
        netns
    } else {
        0
    };
    (netns, endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::kernel_age::fixture::row;

    fn half(state: TcpState, netns: u32, local: &str, remote: &str, is_orphan: bool) -> Row {
        let end = |text: &str| {
            let end: std::net::SocketAddr = text.parse().unwrap();
            (end.ip(), end.port())
        };
        let mut row = row(SockKind::Full);
        row.sock.cookie = 7;
        Row {
            state,
            netns,
            is_orphan,
            endpoints: Endpoints::new(end(local), end(remote)),
            ..row
        }
    }

    #[test]
    fn the_other_end_is_found_with_what_its_process_does() {
        let (a, b) = ("127.0.0.1:80", "127.0.0.1:4000");
        let ours = half(TcpState::CloseWait, 1, a, b, false);
        let theirs = half(TcpState::FinWait2, 1, b, a, false);
        let found = Peers::of_rows(&[theirs, ours])
            .of(ours.netns, &ours.endpoints)
            .unwrap();
        assert_eq!(
            (found.state, found.is_open, found.cookie),
            (TcpState::FinWait2, true, 7)
        );
        let orphan = Row {
            is_orphan: true,
            ..theirs
        };
        assert!(
            !Peers::of_rows(&[ours, orphan])
                .of(ours.netns, &ours.endpoints)
                .unwrap()
                .is_open
        );
        assert_eq!(Peers::of_rows(&[ours]).of(ours.netns, &ours.endpoints), None);
    }

    #[test]
    fn loopback_is_one_host_for_each_namespace_and_other_addresses_are_not() {
        let (a, b) = ("127.0.0.1:80", "127.0.0.1:4000");
        let ours = half(TcpState::CloseWait, 1, a, b, false);
        assert_eq!(
            Peers::of_rows(&[ours, half(TcpState::FinWait2, 2, b, a, false)]).of(ours.netns, &ours.endpoints),
            None
        );
        let (a, b) = ("10.0.0.1:80", "10.0.0.2:4000");
        let ours = half(TcpState::CloseWait, 1, a, b, false);
        assert!(
            Peers::of_rows(&[ours, half(TcpState::FinWait2, 2, b, a, false)])
                .of(ours.netns, &ours.endpoints)
                .is_some()
        );
    }
}
