//! Owns every live connection: finds the one an event is about, applies the machine, reports changes, bounds
//! and evicts. Time comes with the events.

use super::{
    ends_index::EndsIndex,
    machine::{self, HOLD, Held, Input, Life, Outcome, Since},
    reopenable::Reopenable,
};
use crate::{
    decode::{Row, SockKind},
    event::{Age, ConnectionId, EndReason, Ends, Event, Nanos, SockRef, TcpState, TimerStep, What},
    owner::{
        policy::{self, Evidence, Owner},
        processes::Processes,
    },
};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;

/// `IPPROTO_TCP`.
const TCP: u16 = 6;

/// A child that reaches ESTABLISHED within this time of its making came from a SYN cookie: both happen in one
/// run of `tcp_v4_do_rcv`. A Fast Open child waits for a round trip.
const SAME_SEGMENT: Nanos = Nanos(20_000);

/// The latest `connect` calls, to tell who took over a four-tuple in TIME_WAIT. The kernel kills the timewait
/// sock inside that very call.
const RECENT_CONNECTS: usize = 64;

/// Children whose handshake is not done, at most. All but Fast Open's are gone within the same segment.
const CHILDREN: usize = 65_536;

/// A full socket that a listener made, before it is known which connection it is.
#[derive(Clone, Copy, Debug)]
struct Child {
    made: Nanos,
    netns: u32,
}

/// Which end of a connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sent the SYN.
    Client,
    /// It came to a listener, or is one.
    Server,
}

/// One live connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Which.
    pub id: ConnectionId,
    /// Its ends.
    pub ends: Ends,
    /// Network namespace.
    pub netns: u32,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// State, since when, and what is pending.
    pub life: Life,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Cookie of the listener that it came to, or 0.
    pub listener: u64,
    /// When it began: the first SYN, or `listen`.
    pub began: Since,
    /// Who opened it, where its beginning was seen.
    side: Option<Side>,
    key: u64,
    by_ends: bool,
}

impl Connection {
    /// Whether it is TCP's, and not SCTP's or MPTCP's own.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }
}

/// One change of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// When.
    pub time: Nanos,
    /// Which connection.
    pub id: ConnectionId,
    /// Its ends.
    pub ends: Ends,
    /// Network namespace.
    pub netns: u32,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Who opened the connection.
    pub side: Side,
    /// When it began: the first SYN, or `listen`.
    pub began: Since,
    /// State before; CLOSE or LISTEN for a connection that begins.
    pub old: TcpState,
    /// State after; CLOSE for one that ends.
    pub new: TcpState,
    /// How long it was in `old`; `None` where it begins.
    pub dwell: Option<Age>,
    /// Why it ended.
    pub reason: Option<EndReason>,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Whether the handshake was done by a SYN cookie, without SYN_RECV.
    pub by_syn_cookie: bool,
}

/// What was noticed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events applied.
    pub events: u64,
    /// Changes reported.
    pub changes: u64,
    /// Orders of events that cannot happen.
    pub impossible: u64,
    /// Events of sockets that neither an event nor a snapshot had shown before.
    pub unknown: u64,
    /// Rows given up because the table was full.
    pub evicted: u64,
    /// Ends that were never seen, found by a snapshot.
    pub unseen: u64,
}

/// All live connections.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Connection>,
    keys: HashMap<u64, u32>,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
    ends: EndsIndex,
    listeners: HashMap<(u32, u16), Vec<u32>>,
    held: VecDeque<(Nanos, u32, u64)>,
    cancelled: EndsIndex,
    children: HashMap<u64, Child>,
    connects: VecDeque<(u32, Ends)>,
    reopenable: Reopenable,
    evict_hand: usize,
    without_key: u64,
    lost: u32,
    lost_until: Option<Nanos>,
    /// What was noticed on the way.
    pub tally: Tally,
    /// Processes named by rows.
    pub processes: Processes,
}

impl Table {
    /// An empty table for at most `capacity` live connections.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            rows: Vec::new(),
            keys: HashMap::new(),
            free: Vec::new(),
            live: 0,
            capacity: capacity.max(1),
            ends: EndsIndex::default(),
            listeners: HashMap::new(),
            held: VecDeque::new(),
            cancelled: EndsIndex::default(),
            children: HashMap::new(),
            connects: VecDeque::with_capacity(RECENT_CONNECTS),
            reopenable: Reopenable::default(),
            evict_hand: 0,
            without_key: 0,
            lost: 0,
            lost_until: None,
            tally: Tally::default(),
            processes: Processes::default(),
        }
    }

    /// Live connections, listeners included, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.rows.iter().filter(|row| row.key != VACANT)
    }

    /// The row in `slot`, if there is one.
    pub(super) fn row(&self, slot: u32) -> Option<&Connection> {
        self.rows.get(slot as usize).filter(|row| row.key != VACANT)
    }

    /// Live connections with their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Connection)> {
        (0..).zip(&self.rows).filter(|(_, row)| row.key != VACANT)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Applies one event.
    pub fn apply(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        self.tally.events += 1;
        if event.lost != self.lost {
            self.lost = event.lost;
            self.lost_until = Some(event.time);
        }
        match event.what {
            What::State {
                old: TcpState::Listen,
                new: TcpState::SynRecv,
                ..
            } => {
                if self.children.len() < CHILDREN {
                    self.children.insert(
                        event.sock.address,
                        Child {
                            made: event.time,
                            netns: event.netns,
                        },
                    );
                }
                return;
            }
            What::RequestStart { listener } => return self.request_start(event, listener, emit),
            What::RequestTimer {
                step: TimerStep::Start,
                listener,
            } if self.ends.get(event.netns, &event.ends).is_none() => {
                return self.request_start(event, listener, emit);
            }
            _ => {}
        }
        let Some(slot) = self.find_or_make(event, emit) else {
            return;
        };
        self.learn(slot, event);
        if let Some(input) = self.input(slot, event) {
            let outcome = machine::step(&mut self.rows[slot as usize].life, input, event.time);
            self.carry_out(slot, outcome, emit);
        }
    }

    /// Ends the waits that are over at `now`.
    pub fn settle(&mut self, now: Nanos, emit: &mut impl FnMut(&Change)) {
        while let Some((at, slot, key)) = self.held.front().copied() {
            if now.since(at) < HOLD {
                break;
            }
            self.held.pop_front();
            let row = &mut self.rows[slot as usize];
            self.cancelled.remove(row.netns, &row.ends, slot);
            if row.key == key && row.life.held.is_some_and(|held| held.at() == at) {
                let outcome = machine::step(&mut row.life, Input::Release, now);
                self.carry_out(slot, outcome, emit);
            }
        }
    }

    /// Takes in one row of a snapshot, unless an event has told something newer.
    pub fn observe(&mut self, row: &Row, emit: &mut impl FnMut(&Change)) -> bool {
        let slot = self.find_row(row);
        let Some(slot) = slot else {
            let since = self.since_of(row);
            let slot = self.make(row.sock, row.ends, row.netns, TCP, Life::new(row.state, since));
            let connection = &mut self.rows[slot as usize];
            connection.life.is_timewait = row.kind == SockKind::Timewait;
            connection.life.is_orphan = row.is_orphan && row.kind == SockKind::Full;
            connection.listener = row.listener;
            connection.began = Since::Before(row.time);
            if row.kind == SockKind::Request {
                self.index_by_ends(slot);
            }
            if row.state == TcpState::Listen {
                self.index_listener(slot);
            }
            if let (TcpState::SynRecv, SockKind::Full, Since::At(made)) = (row.state, row.kind, since) {
                // Fast Open's child, which was seen to begin without its name.
                self.children.remove(&row.sock.address);
                self.rows[slot as usize].began = since;
                let owner = self.listener_owner(row.netns, &row.ends, 0);
                self.set_owner(slot, owner);
                let change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
                self.report(&change, emit);
            }
            return true;
        };
        let since = self.since_of(row);
        if row.state == TcpState::Listen && row.ends != self.rows[slot as usize].ends {
            // `listen` without `bind` chooses the port after the state is set.
            self.unindex_listener(slot);
            self.rows[slot as usize].ends = row.ends;
            self.index_listener(slot);
        }
        let connection = &mut self.rows[slot as usize];
        if !row.ends.is_unbound() && !connection.by_ends {
            connection.ends = row.ends;
        }
        connection.life.is_timewait |= row.kind == SockKind::Timewait;
        let is_newer = row.time > connection.life.since.time() && connection.life.held.is_none();
        if connection.life.state == row.state || !is_newer {
            return false;
        }
        let old = connection.life.state;
        // When it left the old state was not seen: it may have been at once.
        let dwell = Age::AtLeast(Nanos(0));
        connection.life = Life::new(row.state, since);
        connection.life.is_timewait = row.kind == SockKind::Timewait;
        let change = self.change(slot, row.time, old, row.state, Some(dwell));
        self.report(&change, emit);
        true
    }

    /// Ends what the kernel no longer has: rows of the namespaces `covered` that a snapshot, begun at `started`,
    /// did not show. Returns how many.
    pub fn retire_missing(
        &mut self,
        started: Nanos,
        covered: &HashSet<u32>,
        shown: &[Row],
        emit: &mut impl FnMut(&Change),
    ) -> u64 {
        let found: HashSet<u32> = shown.iter().filter_map(|row| self.find_row(row)).collect();
        let missing: Vec<u32> = self
            .slots()
            .filter(|(slot, row)| {
                row.is_tcp()
                    && covered.contains(&row.netns)
                    && row.life.since.time() < started
                    && row.life.held.is_none()
                    && !found.contains(slot)
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in &missing {
            let row = self.rows[*slot as usize];
            let dwell = Age::AtLeast(Nanos(0));
            let mut change = self.change(*slot, started, row.life.state, TcpState::Close, Some(dwell));
            change.reason = Some(EndReason::Unseen);
            self.tally.unseen += 1;
            self.report(&change, emit);
            self.remove(*slot);
        }
        missing.len() as u64
    }

    /// Notes that a snapshot begun at `started` has made up for what was lost before.
    pub fn forget_losses(&mut self, started: Nanos) {
        self.lost_until = self.lost_until.filter(|until| *until >= started);
    }

    /// Children that were made so long before `now` that they must be Fast Open's, waiting for their ACK; only a
    /// snapshot can tell which connections they are.
    #[must_use]
    pub fn has_unexplained_children(&self, now: Nanos) -> bool {
        self.children.values().any(|child| now.since(child.made) > HOLD)
    }

    /// Forgets the children that a snapshot of the namespaces `covered`, begun at `started`, has shown, or that
    /// the kernel had dropped by then.
    pub fn forget_children(&mut self, started: Nanos, covered: &HashSet<u32>) {
        self.children
            .retain(|_, child| child.made >= started || !covered.contains(&child.netns));
    }

    fn since_of(&self, row: &Row) -> Since {
        if row.state == TcpState::TimeWait && row.entry_stamp_ms != 0 {
            return Since::At(stamp_time(row.time, row.entry_stamp_ms));
        }
        match self.children.get(&row.sock.address) {
            Some(child) if row.state == TcpState::SynRecv => Since::At(child.made),
            Some(_) | None => Since::Before(row.time),
        }
    }

    pub(super) fn find_row(&self, row: &Row) -> Option<u32> {
        if row.kind == SockKind::Request {
            return self.ends.get(row.netns, &row.ends);
        }
        self.keys.get(&key_of(row.sock)).copied()
    }

    fn request_start(&mut self, event: &Event, listener: u64, emit: &mut impl FnMut(&Change)) {
        self.supersede(event, emit);
        if let Some(slot) = self.ends.get(event.netns, &event.ends) {
            // The old request was dropped unseen.
            let outcome = machine::step(
                &mut self.rows[slot as usize].life,
                Input::RequestDropped,
                event.time,
            );
            self.carry_out(slot, outcome, emit);
            let outcome = machine::step(&mut self.rows[slot as usize].life, Input::Release, event.time);
            self.carry_out(slot, outcome, emit);
        }
        let life = Life::new(TcpState::SynRecv, Since::At(event.time));
        // A request's cookie is its child's too: the child finds the row by its ends, so it needs none here.
        let sock = SockRef {
            cookie: 0,
            address: 0,
        };
        let slot = self.make(sock, event.ends, event.netns, TCP, life);
        self.rows[slot as usize].listener = listener;
        self.rows[slot as usize].side = Some(Side::Server);
        self.index_by_ends(slot);
        let owner = self.listener_owner(event.netns, &event.ends, listener);
        self.set_owner(slot, owner);
        let change = self.change(slot, event.time, TcpState::Listen, TcpState::SynRecv, None);
        self.report(&change, emit);
    }

    /// A timewait sock that was cancelled a moment ago was taken over by this SYN.
    fn supersede(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let taken = self.cancelled.get(event.netns, &event.ends);
        if let Some(slot) = taken {
            let outcome = machine::step(&mut self.rows[slot as usize].life, Input::Superseded, event.time);
            self.carry_out(slot, outcome, emit);
        }
    }

    fn find_or_make(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) -> Option<u32> {
        if let What::RequestTimer { .. } | What::RequestEnd = event.what {
            return self.ends.get(event.netns, &event.ends);
        }
        let key = key_of(event.sock);
        let known = self.keys.get(&key).copied();
        match event.what {
            What::State { old, new, .. } => match known {
                Some(slot) if new == TcpState::SynSent => Some(self.reopen(slot, event, emit)),
                Some(slot) => {
                    // A request that a snapshot showed with the cookie that its child has too.
                    if self.rows[slot as usize].by_ends && old == TcpState::SynRecv {
                        self.become_child(slot);
                        self.children.remove(&event.sock.address);
                    }
                    Some(slot)
                }
                None if old == new => None,
                None => self.begin(event, old, new, emit),
            },
            What::TimewaitTimer {
                step: TimerStep::Start,
                substate,
            }
            | What::TimewaitStart(substate) => {
                Some(known.unwrap_or_else(|| self.unknown(event, substate, Since::Before(event.time))))
            }
            // The rest is about a connection that is known, or has been reported as gone.
            What::TimewaitTimer { .. }
            | What::TimewaitSegment { .. }
            | What::TimewaitEnd { .. }
            | What::TimewaitFull
            | What::ResetReceived
            | What::ResetSent
            | What::Accept => known,
            What::RequestStart { .. } | What::RequestEnd | What::RequestTimer { .. } => None,
        }
    }

    /// The first event of a full socket.
    fn begin(
        &mut self,
        event: &Event,
        old: TcpState,
        new: TcpState,
        emit: &mut impl FnMut(&Change),
    ) -> Option<u32> {
        match (old, new) {
            (TcpState::Close, _) => {
                let life = Life::new(TcpState::Close, Since::At(event.time));
                let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
                let incarnation = self.reopenable.next_incarnation(event.sock.cookie);
                self.rows[slot as usize].id.incarnation = incarnation;
                Some(slot)
            }
            (TcpState::SynRecv, _) => Some(self.promote(event, emit)),
            (_, TcpState::Close) if old == TcpState::Listen => None,
            _ => Some(self.unknown(event, old, Since::Before(event.time))),
        }
    }

    fn unknown(&mut self, event: &Event, state: TcpState, since: Since) -> u32 {
        self.tally.unknown += 1;
        let life = Life::new(state, since);
        self.make(event.sock, event.ends, event.netns, event.protocol, life)
    }

    /// A handshake is done: the request's row becomes the child's.
    fn promote(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) -> u32 {
        let made = self.children.remove(&event.sock.address).map(|child| child.made);
        if let Some(slot) = self.ends.get(event.netns, &event.ends) {
            self.become_child(slot);
            let row = &mut self.rows[slot as usize];
            row.id.cookie = event.sock.cookie;
            let (old_key, new_key) = (row.key, key_of(event.sock));
            row.key = new_key;
            self.keys.remove(&old_key);
            self.keys.insert(new_key, slot);
            return slot;
        }
        let Some(made) = made else {
            return self.unknown(event, TcpState::SynRecv, Since::Before(event.time));
        };
        let by_syn_cookie = event.time.since(made) < SAME_SEGMENT;
        let life = if by_syn_cookie {
            Life::new(TcpState::Listen, Since::At(event.time))
        } else {
            Life::new(TcpState::SynRecv, Since::At(made))
        };
        let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
        let owner = self.listener_owner(event.netns, &event.ends, 0);
        self.set_owner(slot, owner);
        if !by_syn_cookie {
            self.rows[slot as usize].began = Since::At(made);
            self.rows[slot as usize].side = Some(Side::Server);
            let change = self.change(slot, made, TcpState::Listen, TcpState::SynRecv, None);
            self.report(&change, emit);
        }
        slot
    }

    /// From now on the row is a full socket's, whatever happens to the request sock.
    fn become_child(&mut self, slot: u32) {
        self.unindex_by_ends(slot);
        self.rows[slot as usize].life.held = None;
    }

    /// A socket that is connected once more.
    fn reopen(&mut self, slot: u32, event: &Event, emit: &mut impl FnMut(&Change)) -> u32 {
        let row = self.rows[slot as usize];
        if row.life.held.is_some() {
            let outcome = machine::step(&mut self.rows[slot as usize].life, Input::Release, event.time);
            self.carry_out(slot, outcome, emit);
        } else if row.life.state != TcpState::Close {
            return slot;
        }
        let life = Life::new(TcpState::Close, Since::At(event.time));
        let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
        let incarnation = self
            .reopenable
            .next_incarnation(event.sock.cookie)
            .max(row.id.incarnation + 1);
        self.rows[slot as usize].id.incarnation = incarnation;
        slot
    }

    /// Takes from the event what it tells beside the change.
    fn learn(&mut self, slot: u32, event: &Event) {
        let row = &mut self.rows[slot as usize];
        // `connect` learns its port late, and a reconnected socket another one.
        let is_whole = event.ends.local_port != 0 && event.ends.remote_port != 0;
        if !row.by_ends && (is_whole || row.ends.local_port == 0) {
            row.ends = event.ends;
        }
        if let Some(task) = &event.task
            && let Some(evidence) = policy::evidence_of(&event.what, task)
        {
            let process = self.processes.intern(task);
            self.set_owner(slot, Some(Owner { process, evidence }));
            if evidence == Evidence::Connect {
                if self.connects.len() == RECENT_CONNECTS {
                    self.connects.pop_front();
                }
                self.connects.push_back((task.process.pid, event.ends));
            }
        }
    }

    fn input(&self, slot: u32, event: &Event) -> Option<Input> {
        Some(match event.what {
            What::State {
                old,
                new,
                error,
                fin_received,
                is_orphan,
            } => {
                let old =
                    if self.rows[slot as usize].life.state == TcpState::Listen && old == TcpState::SynRecv {
                        TcpState::Listen
                    } else {
                        old
                    };
                Input::State {
                    old,
                    new,
                    error,
                    fin_received,
                    is_orphan,
                    after_loss: self.lost_until.is_some(),
                }
            }
            What::ResetReceived => Input::ResetReceived,
            What::ResetSent => Input::ResetSent,
            What::TimewaitStart(substate) => Input::TimewaitStart(substate),
            What::TimewaitFull => Input::TimewaitFull,
            What::TimewaitSegment { substate, is_reset } => Input::TimewaitSegment { substate, is_reset },
            What::TimewaitEnd { how, .. } => Input::TimewaitEnd {
                how,
                otherwise: self.taken_over_by(event),
            },
            What::TimewaitTimer { step, substate } => Input::TimewaitTimer {
                step,
                substate,
                otherwise: self.taken_over_by(event),
            },
            What::RequestTimer { step, .. } => Input::RequestTimer(step),
            What::RequestEnd => Input::RequestDropped,
            What::Accept | What::RequestStart { .. } => return None,
        })
    }

    /// Why a timewait sock ends where no segment and no expiry ends it: `connect` takes the four-tuple over in
    /// the caller's own context, the namespace's going is a kernel worker's.
    fn taken_over_by(&self, event: &Event) -> EndReason {
        let Some(task) = &event.task else {
            return EndReason::Purged;
        };
        let connecting = self
            .connects
            .iter()
            .rev()
            .any(|(pid, ends)| *pid == task.process.pid && ends.has_remote_of(&event.ends));
        if connecting || !task.is_kernel_thread {
            EndReason::TimewaitReused
        } else {
            EndReason::Purged
        }
    }

    fn carry_out(&mut self, slot: u32, outcome: Outcome, emit: &mut impl FnMut(&Change)) {
        match outcome {
            Outcome::Same => {}
            Outcome::Moved { at, old, new, dwell } => {
                let begins = matches!(old, TcpState::Close | TcpState::Listen);
                if begins {
                    let row = &mut self.rows[slot as usize];
                    row.began = Since::At(at);
                    row.side = Some(if new == TcpState::SynSent {
                        Side::Client
                    } else {
                        Side::Server
                    });
                }
                if new == TcpState::Listen {
                    self.index_listener(slot);
                }
                let mut change = self.change(slot, at, old, new, (!begins).then_some(dwell));
                change.by_syn_cookie = old == TcpState::Listen && new == TcpState::Established;
                self.report(&change, emit);
            }
            Outcome::Impossible { at, old, new } => {
                self.tally.impossible += 1;
                if new == TcpState::Listen {
                    self.index_listener(slot);
                }
                let change = self.change(slot, at, old, new, Some(Age::AtLeast(Nanos(0))));
                self.report(&change, emit);
            }
            Outcome::Holding => {
                let row = &self.rows[slot as usize];
                if let Some(held) = row.life.held {
                    self.held.push_back((held.at(), slot, row.key));
                    if let Held::TimerCancelled { .. } = held {
                        self.cancelled.insert(row.netns, row.ends, slot);
                    }
                }
            }
            Outcome::Ended {
                at,
                old,
                dwell,
                reason,
            } => {
                let mut change = self.change(slot, at, old, TcpState::Close, Some(dwell));
                change.reason = reason;
                self.report(&change, emit);
                self.remember_for_reopening(slot);
                self.remove(slot);
            }
        }
    }

    fn remember_for_reopening(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        if row.life.is_orphan || row.life.is_timewait || row.id.cookie == 0 {
            return;
        }
        self.reopenable.remember(row.id);
    }

    fn change(&self, slot: u32, time: Nanos, old: TcpState, new: TcpState, dwell: Option<Age>) -> Change {
        let row = &self.rows[slot as usize];
        Change {
            time,
            id: row.id,
            ends: row.ends,
            netns: row.netns,
            protocol: row.protocol,
            side: self.side(row),
            began: row.began,
            old,
            new,
            dwell,
            reason: None,
            owner: row.owner,
            by_syn_cookie: false,
        }
    }

    /// Who opened the connection. Where its beginning was not seen: a port that somebody listens on is a server's.
    #[must_use]
    pub fn side(&self, row: &Connection) -> Side {
        row.side.unwrap_or_else(|| {
            if self.listeners.contains_key(&(row.netns, row.ends.local_port)) {
                Side::Server
            } else {
                Side::Client
            }
        })
    }

    fn report(&mut self, change: &Change, emit: &mut impl FnMut(&Change)) {
        self.tally.changes += 1;
        emit(change);
    }

    fn listener_owner(&self, netns: u32, ends: &Ends, listener: u64) -> Option<Owner> {
        let by_cookie = (listener != 0)
            .then(|| self.keys.get(&listener).copied())
            .flatten();
        let slot = by_cookie.or_else(|| {
            let slots = self.listeners.get(&(netns, ends.local_port))?;
            slots
                .iter()
                .find(|slot| self.rows[**slot as usize].ends.local() == ends.local())
                .or_else(|| slots.first())
                .copied()
        })?;
        let owner = self.rows[slot as usize].owner?;
        Some(Owner {
            process: owner.process,
            evidence: Evidence::Listener,
        })
    }

    /// Gives the row this evidence of its owner, which counts unless stronger is known.
    pub fn set_owner(&mut self, slot: u32, owner: Option<Owner>) {
        let Some(new) = owner else { return };
        let row = &mut self.rows[slot as usize];
        let known = row.owner;
        let owner = policy::weigh(known, new);
        if known == Some(owner) {
            return;
        }
        row.owner = Some(owner);
        self.processes.retain(owner.process);
        if let Some(known) = known {
            self.processes.release(known.process);
        }
    }

    /// The row of the socket with this cookie.
    #[must_use]
    pub fn slot_of_cookie(&self, cookie: u64) -> Option<u32> {
        self.keys.get(&cookie).copied()
    }

    fn make(&mut self, sock: SockRef, ends: Ends, netns: u32, protocol: u16, life: Life) -> u32 {
        if self.live >= self.capacity {
            self.evict();
        }
        let key = if sock == SockRef::default() {
            self.next_key()
        } else {
            key_of(sock)
        };
        let row = Connection {
            id: ConnectionId {
                cookie: sock.cookie,
                incarnation: 0,
            },
            ends,
            netns,
            protocol,
            life,
            owner: None,
            listener: 0,
            began: life.since,
            side: None,
            key,
            by_ends: false,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.rows[slot as usize] = row;
            slot
        } else {
            let slot = u32::try_from(self.rows.len()).expect("the table's capacity is far below 2^32");
            self.rows.push(row);
            slot
        };
        self.keys.insert(key, slot);
        self.live += 1;
        slot
    }

    /// Keys of rows that have neither cookie nor address: cookies count up from 1 and addresses are in the upper
    /// half, so nothing else is here.
    fn next_key(&mut self) -> u64 {
        self.without_key += 1;
        (1 << 62) | self.without_key
    }

    fn remove(&mut self, slot: u32) {
        if self.rows[slot as usize].by_ends {
            self.unindex_by_ends(slot);
        }
        let row = self.rows[slot as usize];
        self.cancelled.remove(row.netns, &row.ends, slot);
        if self.keys.get(&row.key) == Some(&slot) {
            self.keys.remove(&row.key);
        }
        self.unindex_listener(slot);
        if let Some(owner) = row.owner {
            self.processes.release(owner.process);
        }
        self.rows[slot as usize].key = VACANT;
        self.free.push(slot);
        self.live -= 1;
    }

    fn index_by_ends(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        row.by_ends = true;
        self.ends.insert(row.netns, row.ends, slot);
    }

    fn unindex_by_ends(&mut self, slot: u32) {
        let row = &mut self.rows[slot as usize];
        row.by_ends = false;
        self.ends.remove(row.netns, &row.ends, slot);
    }

    fn unindex_listener(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        let place = (row.netns, row.ends.local_port);
        if let Some(slots) = self.listeners.get_mut(&place) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.listeners.remove(&place);
            }
        }
    }

    fn index_listener(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        self.listeners
            .entry((row.netns, row.ends.local_port))
            .or_default()
            .push(slot);
    }

    /// Gives up one row, passing over the rows in turn; a timewait or request row is taken where one is near,
    /// since it would end by itself.
    fn evict(&mut self) {
        const LOOK_AHEAD: usize = 32;
        let count = self.rows.len();
        let mut chosen = None;
        for step in 0..count {
            let at = (self.evict_hand + step) % count;
            let row = &self.rows[at];
            if row.key == VACANT {
                continue;
            }
            let short_lived = row.life.is_timewait || row.by_ends;
            if chosen.is_none() || short_lived {
                chosen = Some(at);
            }
            if short_lived || (step >= LOOK_AHEAD && chosen.is_some()) {
                break;
            }
        }
        if let Some(slot) = chosen.and_then(|at| u32::try_from(at).ok()) {
            self.evict_hand = slot as usize + 1;
            self.remove(slot);
            self.tally.evicted += 1;
        }
    }
}

/// Marks a slot that is free.
const VACANT: u64 = u64::MAX;

/// Cookies count up from 1, kernel addresses are in the upper half: the two never meet.
const fn key_of(sock: SockRef) -> u64 {
    if sock.cookie != 0 {
        sock.cookie
    } else {
        sock.address
    }
}

/// The monotonic time of a 32-bit millisecond stamp that is at most 49 days before `now`.
#[must_use]
pub fn stamp_time(now: Nanos, stamp_ms: u32) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the stamp is the low half of the kernel's milliseconds"
    )]
    let ago_ms = ((now.0 / 1_000_000) as u32).wrapping_sub(stamp_ms);
    Nanos(now.0.saturating_sub(u64::from(ago_ms) * 1_000_000))
}
