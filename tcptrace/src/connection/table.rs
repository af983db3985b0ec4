//! Owns every live connection: finds the one an event is about, applies the machine, reports changes, bounds
//! and evicts. Time comes with the events.

mod handshakes;
mod listeners;
mod outcomes;
mod ownership;
mod rows;
mod snapshots;
mod tally;
#[cfg(test)]
mod tests;
mod timewait_reuse;

pub(super) use self::rows::{Rows, cookie_of};
pub(crate) use self::tally::Tally;
use self::{handshakes::Handshakes, listeners::Listeners, timewait_reuse::RecentConnects};
use super::{
    blindspots::Blindspots,
    change::Change,
    end_evidence::EndEvidences,
    endpoint_index::{EndpointHasher, EndpointIndex},
    handshake,
    lifetime::{LifetimeTracker, Role},
    losses::Losses,
    machine::{self, Input, Sight},
    reopenable::Reopenable,
    row::Connection,
    since::Since,
};
use crate::{
    connection::state::{ConnectionState, PendingEnd, RESOLVE_WINDOW},
    event::{
        Age, ConnectionId, EndReason, Endpoints, Event, EventData, EventSubject, Nanos, SockRef, TcpState,
        TimerStep,
    },
    owner::{
        policy::{self, Evidence, Owner},
        processes::Processes,
    },
};
use hashbrown::HashSet;
use std::{collections::VecDeque, hint::black_box};

/// All live connections.
#[derive(Debug)]
pub struct Table {
    rows: Rows,
    hasher: EndpointHasher,
    requests: EndpointIndex,
    listeners: Listeners,
    pending: VecDeque<(Nanos, u32, u64)>,
    cancelled: EndpointIndex,
    handshakes: Handshakes,
    connects: RecentConnects,
    reopenable: Reopenable,
    losses: Losses,
    evidence: EndEvidences,
    /// The network namespaces that the latest snapshot has read; `None` before the first one.
    covered: Option<HashSet<u32>>,
    wants_scan: bool,
    /// Lifetimes of connections, if requested.
    pub lifetimes: Option<LifetimeTracker>,
    /// What no hook shows.
    pub blindspots: Blindspots,
    /// When the timewait socks in FIN_WAIT2 were looked at before the latest look, if they were.
    pub polled_before: Nanos,
    /// What was noticed on the way.
    pub tally: Tally,
    /// Processes named by rows.
    pub processes: Processes,
    /// Changes, in the order in which they became known; cleared by the owner of the table.
    pub(crate) changes: Vec<Change>,
}

impl Table {
    /// An empty table for at most `capacity` live connections.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            rows: Rows::new(capacity),
            hasher: EndpointHasher::default(),
            requests: EndpointIndex::default(),
            listeners: Listeners::default(),
            pending: VecDeque::new(),
            cancelled: EndpointIndex::default(),
            handshakes: Handshakes::default(),
            connects: RecentConnects::default(),
            reopenable: Reopenable::default(),
            losses: Losses::default(),
            evidence: EndEvidences::default(),
            covered: None,
            wants_scan: false,
            lifetimes: None,
            blindspots: Blindspots::default(),
            polled_before: Nanos(0),
            tally: Tally::default(),
            processes: Processes::default(),
            changes: Vec::new(),
        }
    }

    /// Live connections, listeners included, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.rows.iter()
    }

    pub(crate) fn row(&self, slot: u32) -> Option<&Connection> {
        self.rows.get(slot)
    }

    /// The ends of a live connection as they are now.
    pub(crate) fn endpoints_of(&self, id: ConnectionId) -> Option<Endpoints> {
        let row = self.rows.get(self.rows.slot_of(SockRef::new(id.cookie, 0))?)?;
        (id.cookie != 0 && row.id() == id).then_some(row.endpoints)
    }

    /// Live connections with their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Connection)> {
        self.rows.slots()
    }

    /// Who owns the row in `slot`.
    pub(crate) fn owner_of(&self, slot: u32) -> Option<Owner> {
        self.row(slot)?.owner
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Looks at the rows of sockets that events are about to come of. Of several in turn the loads do not wait for
    /// each other, as those of [`Self::apply`] do; they are most of its time where the caches do not hold the table.
    pub(crate) fn prefetch(&mut self, socks: impl IntoIterator<Item = SockRef>) {
        for sock in socks {
            if let Some(slot) = self.rows.find(sock) {
                let row = &self.rows[slot];
                // Fields that are cache lines apart.
                black_box((row.endpoints.local_port, row.state.tcp, row.listener, row.netns));
                self.evidence.prefetch(slot);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn apply(&mut self, event: &Event) {
        self.tally.events += 1;
        self.losses.count(event);
        match event.data.subject() {
            EventSubject::Child => self.child_made(event),
            EventSubject::Transition => self.transition(event),
            EventSubject::Request => self.request(event),
            EventSubject::Connection => self.beside(event),
            EventSubject::Task => {
                if let Some(task) = &event.task {
                    self.processes.rename(task);
                }
            }
        }
    }

    /// Ends the waits that are over at `now`.
    pub(crate) fn settle(&mut self, now: Nanos) {
        while let Some((at, slot, key)) = self.pending.front().copied() {
            if now.since(at) < RESOLVE_WINDOW {
                break;
            }
            self.pending.pop_front();
            let row = &mut self.rows[slot];
            if row.key != key {
                continue;
            }
            let held_at = row.state.pending.map(PendingEnd::at);
            if held_at.is_none_or(|held_at| held_at == at) {
                self.forget_cancelled(slot);
            }
            if held_at == Some(at) {
                self.step(slot, Input::Release, now);
            }
        }
    }

    /// Applies one input to a row.
    #[inline(never)]
    fn step(&mut self, slot: u32, input: Input, time: Nanos) {
        let sight = self.sight();
        let outcome = machine::step(&mut self.rows[slot].state, input, time, sight);
        self.carry_out(slot, outcome);
    }

    #[inline(always)]
    const fn sight(&self) -> Sight {
        Sight {
            lost_until: self.losses.until(),
            timewaits: !self.blindspots.timewaits,
        }
    }

    /// A full socket's transition: most of all events are one.
    #[inline(always)]
    fn transition(&mut self, event: &Event) {
        let EventData::State {
            old,
            new,
            error,
            fin_received,
            is_orphan,
            bytes,
            path,
        } = event.data
        else {
            return;
        };
        let slot = match self.find_full(event) {
            Some(slot) if old == TcpState::Close => self.reopen(slot, event),
            Some(slot) => slot,
            None if old == new => return,
            None => match self.begin(event, old, new) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.learn(slot, event);
        if old == TcpState::SynSent && new == TcpState::Established {
            self.handshakes.note_established(event);
        }
        let sight = self.sight();
        let state = &mut self.rows[slot].state;
        let otherwise = match (old, new) {
            (TcpState::SynSent, TcpState::Close) => handshake::given_up(event, error, state.since),
            _ => None,
        };
        let is_child = state.tcp == TcpState::Listen && old == TcpState::SynRecv;
        let data = EventData::State {
            old: if is_child { TcpState::Listen } else { old },
            new,
            error,
            fin_received,
            is_orphan,
            bytes,
            path,
        };
        let input = Input::Event {
            data,
            otherwise,
            polled: None,
        };
        let outcome = machine::step(state, input, event.time, sight);
        self.carry_out(slot, outcome);
    }

    /// The row of a full socket, or of the timewait sock that took it over.
    #[inline(always)]
    fn find_full(&mut self, event: &Event) -> Option<u32> {
        let slot = self.rows.find(event.sock)?;
        if self.rows[slot].is_request {
            self.child_found(slot, event);
        }
        Some(slot)
    }

    /// Handles events of timewait sockets, and those that full sockets' transitions do not show.
    fn beside(&mut self, event: &Event) {
        let known = self.find_full(event);
        let begins = match event.data {
            EventData::TimewaitTimer {
                step: TimerStep::Start,
                substate,
            }
            | EventData::TimewaitStart(substate) => Some(substate),
            // The rest is about a connection that is known, or has been reported as gone.
            _ => None,
        };
        let slot = match (known, begins) {
            (Some(slot), _) => slot,
            (None, Some(substate)) => self.unknown(event, substate, Since::before(event.time)),
            (None, None) => match self.child_reset(event) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.tell(slot, event);
    }

    /// Tells a row of an event that is no full socket's transition.
    fn tell(&mut self, slot: u32, event: &Event) {
        self.learn(slot, event);
        self.step(slot, self.input(slot, event), event.time);
    }

    /// The first event of a full socket.
    fn begin(&mut self, event: &Event, old: TcpState, new: TcpState) -> Option<u32> {
        match (old, new) {
            (TcpState::Close, _) => {
                let state = ConnectionState::new(TcpState::Close, Since::at(event.time));
                let slot = self.make(event.sock, event.endpoints, event.netns, event.protocol, state);
                let incarnation = self.reopenable.next_incarnation(event.sock.cookie);
                self.rows[slot].incarnation = incarnation;
                Some(slot)
            }
            (TcpState::SynRecv, _) => Some(self.promote(event)),
            (_, TcpState::Close) if old == TcpState::Listen => None,
            _ => Some(self.unknown(event, old, Since::before(event.time))),
        }
    }

    fn unknown(&mut self, event: &Event, state: TcpState, since: Since) -> u32 {
        let is_covered = |covered: &HashSet<u32>| covered.contains(&event.netns);
        if self.covered.as_ref().is_some_and(is_covered) {
            self.tally.unknown += 1;
        } else {
            self.tally.unknown_expected += 1;
        }
        self.wants_scan = true;
        let state = ConnectionState::new(state, since);
        let slot = self.make(event.sock, event.endpoints, event.netns, event.protocol, state);
        self.fix_role(slot);
        slot
    }

    /// A socket that is used once more, or another one with its address where sockets have no cookie.
    fn reopen(&mut self, slot: u32, event: &Event) -> u32 {
        let row = self.rows[slot];
        // An event that was overtaken by a newer one, or that came twice.
        let is_overtaken = match row.state.pending {
            Some(held) => event.time < held.at(),
            None => event.time <= row.state.since.time(),
        };
        if is_overtaken {
            return slot;
        }
        self.end_former(slot, event.time);
        let state = ConnectionState::new(TcpState::Close, Since::at(event.time));
        let slot = self.make(event.sock, event.endpoints, event.netns, event.protocol, state);
        if event.sock.cookie != 0 {
            let incarnation = self
                .reopenable
                .next_incarnation(event.sock.cookie)
                .max(row.incarnation + 1);
            self.rows[slot].incarnation = incarnation;
        }
        slot
    }

    /// Ends the row of a socket whose key another connection has from now on.
    fn end_former(&mut self, slot: u32, at: Nanos) {
        if self.rows[slot].state.pending.is_some() {
            self.step(slot, Input::Release, at);
        } else {
            self.end_unseen(slot, at);
        }
    }

    /// Ends a row whose end was not seen.
    fn end_unseen(&mut self, slot: u32, at: Nanos) {
        let state = self.rows[slot].state.tcp;
        let dwell = Age::AtLeast(Nanos(0));
        let mut change = self.change(slot, at, state, TcpState::Close, Some(dwell));
        change.reason = Some(EndReason::Unseen);
        self.tally.unseen += 1;
        self.report(slot, &change);
        self.remove(slot);
    }

    /// Takes from the event what it has in addition to the transition.
    #[inline(always)]
    fn learn(&mut self, slot: u32, event: &Event) {
        let row = &mut self.rows[slot];
        // `connect` learns its port late, and a reconnected socket another one.
        let is_whole = event.endpoints.local_port != 0 && event.endpoints.remote_port != 0;
        if !row.is_request && !row.is_cancelled && (is_whole || row.endpoints.local_port == 0) {
            row.endpoints = event.endpoints;
        }
        if event.is_kernel_socket {
            self.note_kernel_socket(slot);
        }
        self.evidence.note(slot, event);
        if let (
            Some(lifetimes),
            EventData::State {
                new: TcpState::Close,
                bytes,
                fin_received,
                ..
            },
        ) = (&mut self.lifetimes, event.data)
        {
            lifetimes.carry(slot, bytes, fin_received);
        }
        if let Some(task) = &event.task
            && let Some(evidence) = policy::evidence_of(&event.data, task)
        {
            let process = self.processes.intern(task);
            self.set_owner(
                slot,
                Some(Owner {
                    process,
                    evidence,
                    since: event.time,
                }),
            );
            if evidence == Evidence::Connect {
                self.note_connect(event, task);
            }
        }
    }

    /// An event that is no full socket's transition, with what only the table knows.
    fn input(&self, slot: u32, event: &Event) -> Input {
        let began = self.rows[slot].state.since.time();
        Input::Event {
            data: event.data,
            otherwise: match event.data {
                EventData::TimewaitEnd { .. } => self.taken_over_by(event, began, false),
                EventData::TimewaitTimer { .. } => self.taken_over_by(event, began, true),
                _ => None,
            },
            polled: self.blindspots.segments.then_some(self.polled_before),
        }
    }

    /// Who opened the connection. Where its beginning was not seen: a port that somebody listens on is a server's.
    pub(crate) fn role(&self, row: &Connection) -> Role {
        row.role.unwrap_or_else(|| {
            if self.has_listener(row) {
                Role::Server
            } else {
                Role::Client
            }
        })
    }

    fn make(
        &mut self,
        sock: SockRef,
        endpoints: Endpoints,
        netns: u32,
        protocol: u16,
        state: ConnectionState,
    ) -> u32 {
        if self.rows.is_full() {
            self.evict();
        }
        let row = Connection {
            key: 0,
            incarnation: 0,
            endpoints,
            netns,
            protocol,
            state,
            owner: None,
            listener: 0,
            began: state.since,
            role: None,
            is_kernel_socket: false,
            is_request: false,
            is_cancelled: false,
        };
        let slot = self.rows.add(sock, row);
        if let Some(lifetimes) = &mut self.lifetimes {
            lifetimes.begin(slot);
        }
        slot
    }

    /// Makes room for one row more.
    fn evict(&mut self) {
        if let Some(slot) = self.rows.choose_victim() {
            self.remove(slot);
            self.tally.evicted += 1;
        }
    }

    #[inline(never)]
    fn remove(&mut self, slot: u32) {
        if self.rows[slot].is_request {
            self.unindex_request(slot);
        } else {
            self.evidence.clear(slot);
        }
        self.forget_cancelled(slot);
        self.listeners.remove(slot, &self.rows[slot]);
        if self.rows[slot].endpoints.remote_port == 0 {
            self.note_closed_listener(slot);
        }
        if let Some(owner) = self.rows[slot].owner {
            self.processes.release(owner.process);
        }
        self.rows.remove(slot);
    }
}
