//! Handshakes of listeners: request sockets, identified by their endpoints, and their children, identified by their
//! address until they have a cookie.

use super::Table;
use crate::{
    connection::{
        endpoint_index::EndpointKey,
        lifetime::Role,
        machine::Input,
        recent::Recent,
        row::TCP,
        since::Since,
        state::{ConnectionState, RESOLVE_WINDOW},
    },
    event::{Endpoints, Event, EventData, Nanos, SockRef, TcpState, TimerStep},
    socket::Row,
};
use hashbrown::{HashMap, HashSet};

/// A child that reaches ESTABLISHED within this time of its making came from a SYN cookie, where the peer is another
/// host: both happen in one run of `tcp_v4_do_rcv`, some 20,000 instructions with all hooks. A Fast Open child waits
/// for a round trip.
const SAME_SEGMENT: Nanos = Nanos(50_000);

/// The same where requests are not shown: every child then comes without one, and few of Fast Open. A processor that
/// is slow, or that was taken away meanwhile, is the likelier reason for a while between the two.
const SAME_SEGMENT_UNSHOWN: Nanos = Nanos::from_millis(1);

/// Children whose handshake is not done, at most. All but Fast Open's are gone within the same segment.
const CHILDREN: usize = 65_536;

/// A full socket that a listener made, before it is known which connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) made: Nanos,
    pub(super) netns: u32,
    /// The listener's, which is all that a child knows of its ends.
    local_port: u16,
}

/// A client of this host whose handshake was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    time: Nanos,
    endpoints: Endpoints,
}

/// Handshakes that have no row of their own.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// By the address of the full socket.
    pub(super) children: HashMap<u64, Child>,
    /// The latest clients of this host whose handshake was done. A listener's answer to the last ACK of one comes within
    /// microseconds on the same CPU.
    established: Recent<Established, 64>,
}

impl Handshakes {
    /// A client's handshake is done.
    #[inline]
    pub(super) fn note_established(&mut self, event: &Event) {
        self.established.push(Established {
            time: event.time,
            endpoints: event.endpoints,
        });
    }

    /// Whether a child without a request, made at `made`, came from a SYN cookie. That is made of the ACK, for which a
    /// client is ESTABLISHED first; a Fast Open child of the SYN, whose answer makes it so. Where the client is not
    /// on this host, the time until the event that ends its SYN_RECV decides.
    fn is_by_cookie(&self, event: &Event, made: Nanos, sees_requests: bool) -> bool {
        let client = self
            .established
            .iter()
            .find(|client| client.endpoints.is_other_end_of(&event.endpoints));
        let same_segment = if sees_requests {
            SAME_SEGMENT
        } else {
            SAME_SEGMENT_UNSHOWN
        };
        match client {
            Some(client) => client.time < made,
            None => event.time.since(made) < same_segment,
        }
    }

    /// When a full socket in SYN_RECV was made, of which a snapshot knows the cookie and the table the address: where one
    /// child of its listener waits it is that, else it is at least as old as the youngest of them.
    pub(super) fn child_since(&self, row: &Row) -> Option<Since> {
        let is_candidate = |child: &&Child| {
            (child.netns, child.local_port) == (row.netns, row.endpoints.local_port) && child.made <= row.time
        };
        let mut candidates = self.children.values().filter(is_candidate);
        let made = candidates.next()?.made;
        Some(match candidates.map(|child| child.made).max() {
            None => Since::at(made),
            Some(other) => Since::before(made.max(other)),
        })
    }
}

impl Table {
    /// A listener has made a full socket for a handshake that is not done.
    pub(super) fn child_made(&mut self, event: &Event) {
        // Where sockets have no cookie, another one's address is its own from now on.
        if let Some(slot) = self.rows.find_key(event.sock.address) {
            self.end_former(slot, event.time);
        }
        if self.handshakes.children.len() < CHILDREN {
            let child = Child {
                made: event.time,
                netns: event.netns,
                local_port: event.endpoints.local_port,
            };
            self.handshakes.children.insert(event.sock.address, child);
        }
    }

    /// What happens to a request sock.
    pub(super) fn request(&mut self, event: &Event) {
        let key = self.hasher.key(event.netns, &event.endpoints);
        let known = self.requests.get(&key, &self.rows);
        match (event.data, known) {
            (EventData::RequestStart { listener }, _)
            | (
                EventData::RequestTimer {
                    step: TimerStep::Start,
                    listener,
                },
                None,
            ) => self.request_start(event, listener, &key),
            (_, None) => {}
            (_, Some(slot)) => self.tell(slot, event),
        }
    }

    fn request_start(&mut self, event: &Event, listener: u64, key: &EndpointKey<'_>) {
        // A timewait sock that was cancelled a moment ago was taken over by this SYN.
        if let Some(slot) = self.cancelled.get(key, &self.rows) {
            self.step(slot, Input::Superseded, event.time);
        }
        if let Some(slot) = self.requests.get(key, &self.rows) {
            // The old request was dropped unseen.
            self.step(slot, EventData::RequestEnd.into(), event.time);
            self.step(slot, Input::Release, event.time);
        }
        // A timer that starts may be one that starts again, where its first start was lost.
        let is_first = !self.has_losses() || matches!(event.data, EventData::RequestStart { .. });
        let since = if is_first {
            Since::at(event.time)
        } else {
            Since::before(event.time)
        };
        let state = ConnectionState::new(TcpState::SynRecv, since);
        // A request's cookie is its child's too: the child finds the row by its ends, so it needs none here.
        let slot = self.make(SockRef::default(), event.endpoints, event.netns, TCP, state);
        let row = &mut self.rows[slot];
        row.listener = listener;
        row.role = Some(Role::Server);
        self.index_request(slot, key);
        let owner = self.child_owner(event.netns, &event.endpoints, listener, event.time);
        self.set_owner(slot, owner);
        let change = self.change(slot, event.time, TcpState::Listen, TcpState::SynRecv, None);
        self.report(slot, &change);
    }

    /// A handshake is done: the request's row becomes the child's.
    pub(super) fn promote(&mut self, event: &Event) -> u32 {
        self.wants_scan = true;
        let made = self
            .handshakes
            .children
            .remove(&event.sock.address)
            .map(|child| child.made);
        let key = self.hasher.key(event.netns, &event.endpoints);
        if let Some(slot) = self.requests.get(&key, &self.rows) {
            self.become_child(slot);
            self.rows.rekey(slot, event.sock);
            return slot;
        }
        let Some(made) = made else {
            return self.unknown(event, TcpState::SynRecv, Since::before(event.time));
        };
        let is_done = matches!(
            event.data,
            EventData::State {
                new: TcpState::Established,
                ..
            }
        );
        if is_done
            && self
                .handshakes
                .is_by_cookie(event, made, !self.blindspots.requests)
        {
            let state = ConnectionState::new(TcpState::Listen, Since::at(event.time));
            let slot = self.make(event.sock, event.endpoints, event.netns, event.protocol, state);
            let owner = self.child_owner(event.netns, &event.endpoints, 0, event.time);
            self.set_owner(slot, owner);
            return slot;
        }
        let state = ConnectionState::new(TcpState::SynRecv, Since::at(made));
        let slot = self.make(event.sock, event.endpoints, event.netns, event.protocol, state);
        let owner = self.child_owner(event.netns, &event.endpoints, 0, event.time);
        self.set_owner(slot, owner);
        self.rows[slot].role = Some(Role::Server);
        let mut change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
        // Else it may have had a request: in a row that was evicted, or before the listener was known.
        let is_known = self.tally.evicted == 0 && self.listeners.has(event.netns, event.endpoints.local_port);
        change.by_fast_open = is_known && !self.blindspots.requests && !self.has_losses();
        self.report(slot, &change);
        slot
    }

    /// A RST came for a child that is only known by its address: Fast Open's, since others have none before they are
    /// ESTABLISHED.
    pub(super) fn child_reset(&mut self, event: &Event) -> Option<u32> {
        let is_reset = matches!(event.data, EventData::ResetReceived | EventData::ResetSent(_));
        (is_reset && self.handshakes.children.contains_key(&event.sock.address)).then(|| self.promote(event))
    }

    /// An event of a child has found its request, which a snapshot showed with the cookie of both.
    pub(super) fn child_found(&mut self, slot: u32, event: &Event) {
        self.become_child(slot);
        let is_of_handshake = matches!(
            event.data,
            EventData::State {
                old: TcpState::SynRecv,
                ..
            }
        );
        // A recording keeps the address only for these: a removal by others would not happen in its replay.
        if is_of_handshake {
            self.handshakes.children.remove(&event.sock.address);
        }
    }

    /// From now on the row is a full socket's, whatever happens to the request sock.
    pub(super) fn become_child(&mut self, slot: u32) {
        self.unindex_request(slot);
        self.rows[slot].state.pending = None;
    }

    pub(super) fn index_request(&mut self, slot: u32, key: &EndpointKey<'_>) {
        self.rows[slot].is_request = true;
        self.requests.insert(key, slot, &self.rows, &self.hasher);
    }

    pub(super) fn unindex_request(&mut self, slot: u32) {
        let row = &mut self.rows[slot];
        row.is_request = false;
        self.requests
            .remove(&self.hasher.key(row.netns, &row.endpoints), slot);
    }

    /// Children that were made so long before `now` that they must be Fast Open's, waiting for their ACK; only a
    /// snapshot can tell which connections they are. Where requests are not seen that is said of no child.
    pub(crate) fn has_unexplained_children(&self, now: Nanos) -> bool {
        !self.blindspots.requests
            && self
                .handshakes
                .children
                .values()
                .any(|child| now.since(child.made) > RESOLVE_WINDOW)
    }

    /// Forgets the children that a snapshot of the namespaces `covered`, begun at `started`, has shown, or that
    /// the kernel had dropped by then.
    pub(crate) fn forget_children(&mut self, started: Nanos, covered: &HashSet<u32>) {
        self.handshakes
            .children
            .retain(|_, child| child.made >= started || !covered.contains(&child.netns));
    }
}
