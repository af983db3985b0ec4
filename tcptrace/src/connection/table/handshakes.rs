//! Handshakes that come to a listener: the request socks, known by their ends, and the children that listeners make of
//! them, known by their address until one has a cookie.

use super::{super::ends_index::Place, Change, TCP, Table, key_of};
use crate::{
    connection::{
        lifetime::Role,
        machine::{HOLD, Input, Life},
        since::Since,
    },
    decode::Row,
    event::{Event, Nanos, SockRef, TcpState, TimerStep, What},
};
use hashbrown::HashSet;

/// A child that reaches ESTABLISHED within this time of its making came from a SYN cookie: both happen in one
/// run of `tcp_v4_do_rcv`, some 20,000 instructions with all hooks. A Fast Open child waits for a round trip.
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

impl Table {
    /// A listener has made a full socket for a handshake that is not done.
    pub(super) fn child_made(&mut self, event: &Event) {
        if self.children.len() < CHILDREN {
            let child = Child {
                made: event.time,
                netns: event.netns,
                local_port: event.ends.local_port,
            };
            self.children.insert(event.sock.address, child);
        }
    }

    /// What happens to a request sock.
    pub(super) fn request(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let place = self.places.of(event.netns, &event.ends);
        let known = self.ends.get(&place, &self.rows);
        match (event.what, known) {
            (What::RequestStart { listener }, _)
            | (
                What::RequestTimer {
                    step: TimerStep::Start,
                    listener,
                },
                None,
            ) => self.request_start(event, listener, &place, emit),
            (_, None) => {}
            (_, Some(slot)) => self.tell(slot, event, emit),
        }
    }

    fn request_start(
        &mut self,
        event: &Event,
        listener: u64,
        place: &Place<'_>,
        emit: &mut impl FnMut(&Change),
    ) {
        // A timewait sock that was cancelled a moment ago was taken over by this SYN.
        if let Some(slot) = self.cancelled.get(place, &self.rows) {
            self.step(slot, Input::Superseded, event.time, emit);
        }
        if let Some(slot) = self.ends.get(place, &self.rows) {
            // The old request was dropped unseen.
            self.step(slot, Input::RequestDropped, event.time, emit);
            self.step(slot, Input::Release, event.time, emit);
        }
        let life = Life::new(TcpState::SynRecv, Since::at(event.time));
        // A request's cookie is its child's too: the child finds the row by its ends, so it needs none here.
        let slot = self.make(SockRef::default(), event.ends, event.netns, TCP, life);
        let row = &mut self.rows[slot as usize];
        row.listener = listener;
        row.role = Some(Role::Server);
        self.index_by_ends(slot, place);
        let owner = self.listener_owner(event.netns, &event.ends, listener, event.time);
        self.set_owner(slot, owner);
        let change = self.change(slot, event.time, TcpState::Listen, TcpState::SynRecv, None);
        self.report(slot, &change, emit);
    }

    /// A handshake is done: the request's row becomes the child's.
    pub(super) fn promote(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) -> u32 {
        self.wants_scan = true;
        let made = self.children.remove(&event.sock.address).map(|child| child.made);
        let place = self.places.of(event.netns, &event.ends);
        if let Some(slot) = self.ends.get(&place, &self.rows) {
            self.ends.remove(&place, slot);
            let row = &mut self.rows[slot as usize];
            row.by_ends = false;
            row.life.held = None;
            let old_key = std::mem::replace(&mut row.key, key_of(event.sock));
            self.keys.remove(old_key, slot);
            self.keys.insert(slot, &self.rows);
            return slot;
        }
        let Some(made) = made else {
            return self.unknown(event, TcpState::SynRecv, Since::before(event.time));
        };
        let same_segment = if self.hidden.requests {
            SAME_SEGMENT_UNSHOWN
        } else {
            SAME_SEGMENT
        };
        let is_same_segment = event.time.since(made) < same_segment;
        let life = if is_same_segment {
            Life::new(TcpState::Listen, Since::at(event.time))
        } else {
            Life::new(TcpState::SynRecv, Since::at(made))
        };
        let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
        let owner = self.listener_owner(event.netns, &event.ends, 0, event.time);
        self.set_owner(slot, owner);
        if !is_same_segment {
            self.rows[slot as usize].began = Since::at(made);
            self.rows[slot as usize].role = Some(Role::Server);
            let change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
            self.report(slot, &change, emit);
        }
        slot
    }

    /// From now on the row is a full socket's, whatever happens to the request sock.
    pub(super) fn become_child(&mut self, slot: u32) {
        self.unindex_by_ends(slot);
        self.rows[slot as usize].life.held = None;
    }

    pub(super) fn index_by_ends(&mut self, slot: u32, place: &Place<'_>) {
        self.rows[slot as usize].by_ends = true;
        self.ends.insert(place, slot, &self.rows, &self.places);
    }

    pub(super) fn unindex_by_ends(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        row.by_ends = false;
        self.ends.remove(&self.places.of(row.netns, &row.ends), slot);
    }

    /// When a full socket in SYN_RECV was made, of which a snapshot knows the cookie and the table the address: where one
    /// child of its listener waits it is that, else it is at least as old as the youngest of them.
    pub(super) fn child_since(&self, row: &Row) -> Option<Since> {
        let is_candidate = |child: &&Child| {
            (child.netns, child.local_port) == (row.netns, row.ends.local_port) && child.made <= row.time
        };
        let mut candidates = self.children.values().filter(is_candidate);
        let made = candidates.next()?.made;
        Some(match candidates.map(|child| child.made).max() {
            None => Since::at(made),
            Some(other) => Since::before(made.max(other)),
        })
    }

    /// Children that were made so long before `now` that they must be Fast Open's, waiting for their ACK; only a
    /// snapshot can tell which connections they are. Where requests are not seen that is said of no child.
    #[must_use]
    pub fn has_unexplained_children(&self, now: Nanos) -> bool {
        !self.hidden.requests && self.children.values().any(|child| now.since(child.made) > HOLD)
    }

    /// Forgets the children that a snapshot of the namespaces `covered`, begun at `started`, has shown, or that
    /// the kernel had dropped by then.
    pub fn forget_children(&mut self, started: Nanos, covered: &HashSet<u32>) {
        self.children
            .retain(|_, child| child.made >= started || !covered.contains(&child.netns));
    }
}
