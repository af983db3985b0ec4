//! What a reading of the kernel's sockets shows beside the engine's table: queues, and what the network does to those that
//! rules need it of. For commands that trace for long, and evaluate what they trace.

use super::{rules::unnoticed_death, scene::Socket};
use crate::socket::{Flow, Listed, network::Network};
use hashbrown::HashMap;

/// What waits in a socket, as `ss` shows it in `Recv-Q` and `Send-Q`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Bytes that the program has not read, the peer's FIN counting as 1; of a listener, connections that wait for
    /// `accept`.
    pub(crate) unread: u32,
    /// Bytes that the peer has not acknowledged; of a listener, the limit of its queue.
    pub(crate) unsent: u32,
    /// Segments that the kernel dropped at the socket since it was made (`sk_drops`), of a listener those of healthy
    /// handshakes among them; `None` where that is not known.
    pub(crate) drops: Option<u32>,
}

impl Queue {
    pub(crate) const fn of(socket: &Listed) -> Self {
        Self {
            unread: socket.row.unread,
            unsent: socket.row.unsent,
            drops: socket.network.drops,
        }
    }
}

/// What the latest reading of all sockets showed, of those of which it is worth keeping, by cookie.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketEvidence {
    /// Sockets that wait for their peers, or use memory where that is scarce.
    pub(crate) notable: HashMap<u64, Listed>,
    /// Connections that have been silent for long and are not probed.
    pub(crate) silent: HashMap<u64, Flow>,
}

impl SocketEvidence {
    /// Sockets of each kind that are kept; more are not.
    const MOST: usize = 65_536;

    /// Keeps what findings need of a socket.
    pub(crate) fn note(&mut self, socket: &Listed, is_memory_short: bool) {
        let cookie = socket.row.sock.cookie;
        let is_notable = socket.network.is_waiting() || is_memory_short && socket.network.memory() > 0;
        if is_notable && self.notable.len() < Self::MOST {
            self.notable.insert(cookie, *socket);
        } else if unnoticed_death::is_silent(socket.row.state, &socket.row.flow)
            && self.silent.len() < Self::MOST
        {
            self.silent.insert(cookie, socket.row.flow);
        }
    }

    /// Adds what was read, `queues` too, to sockets that come from the engine's table.
    pub(crate) fn complete(&self, sockets: &mut [Socket], queues: &HashMap<u64, Queue>) {
        for socket in sockets {
            if let Some(queue) = queues.get(&socket.cookie) {
                (socket.unread, socket.unsent) = (Some(queue.unread), Some(queue.unsent));
            }
            if let Some(Listed { row, .. }) = self.notable.get(&socket.cookie) {
                (socket.quiet, socket.flow) = (row.idle, row.flow);
                socket.is_orphan = Some(row.is_orphan);
                (socket.unread, socket.unsent) = (Some(row.unread), Some(row.unsent));
            } else if let Some(flow) = self.silent.get(&socket.cookie) {
                socket.flow = *flow;
            }
        }
    }

    /// What the network does to the sockets that wait for their peers.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (u64, Network)> {
        let notable = self.notable.iter();
        notable.map(|(cookie, listed)| (*cookie, listed.network))
    }
}
