//! Owns every live connection: finds the one an event is about, applies the machine, reports changes, bounds
//! and evicts. Time comes with the events.

mod eviction;
mod handshakes;
mod ownership;
mod snapshots;
mod takeovers;

use self::{
    handshakes::Child,
    takeovers::{Connect, RECENT_CONNECTS},
};
use super::{
    ends_index::{EndsIndex, Places},
    hidden::Hidden,
    key_index::KeyIndex,
    lifetime::{Lives, Role},
    machine::{self, HOLD, Held, Input, Life, Outcome},
    reopenable::Reopenable,
    since::Since,
};
use crate::{
    event::{Age, ConnectionId, EndReason, Ends, Event, Nanos, SockRef, TcpState, TimerStep, What},
    owner::{
        policy::{self, Evidence, Owner},
        processes::Processes,
    },
};
use hashbrown::HashMap;
use std::{collections::VecDeque, hint::black_box};

/// `IPPROTO_TCP`.
const TCP: u16 = 6;

/// One live connection: two cache lines of which the processor fetches both.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub struct Connection {
    /// Its cookie, or what it is found by where it has none.
    pub(super) key: u64,
    incarnation: u32,
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
    role: Option<Role>,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
    by_ends: bool,
    is_cancelled: bool,
}

const _: () = assert!(size_of::<Connection>() == 128, "a field more costs a cache line");

impl Connection {
    /// Which.
    #[must_use]
    #[inline]
    pub const fn id(&self) -> ConnectionId {
        ConnectionId {
            cookie: if self.key < FIRST_MADE_UP { self.key } else { 0 },
            incarnation: self.incarnation,
        }
    }

    /// Whether it is TCP's, and not SCTP's or MPTCP's own.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether a process may have it open: it is a full socket that nobody is known to have given up.
    #[must_use]
    pub const fn may_be_held(&self) -> bool {
        !self.by_ends && !self.life.is_timewait && !self.life.is_orphan && !self.is_kernel_socket
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
    pub role: Role,
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
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
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
    keys: KeyIndex,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
    places: Places,
    ends: EndsIndex,
    listeners: HashMap<(u32, u16), Vec<u32>>,
    held: VecDeque<(Nanos, u32, u64)>,
    cancelled: EndsIndex,
    children: HashMap<u64, Child>,
    connects: VecDeque<Connect>,
    reopenable: Reopenable,
    evict_hand: usize,
    without_key: u64,
    lost: u32,
    lost_until: Option<Nanos>,
    wants_scan: bool,
    /// Whole lives, where somebody asks for them.
    pub lives: Option<Lives>,
    /// What no hook shows.
    pub hidden: Hidden,
    /// When the timewait socks in FIN_WAIT2 were looked at before the latest look, if they were.
    pub looked_before: Nanos,
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
            keys: KeyIndex::default(),
            free: Vec::new(),
            live: 0,
            capacity: capacity.max(1),
            places: Places::default(),
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
            wants_scan: false,
            lives: None,
            hidden: Hidden::default(),
            looked_before: Nanos(0),
            tally: Tally::default(),
            processes: Processes::default(),
        }
    }

    /// Live connections, listeners included, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.rows.iter().filter(|row| row.key != VACANT)
    }

    /// The row in `slot`, if there is one.
    #[must_use]
    pub fn row(&self, slot: u32) -> Option<&Connection> {
        self.rows.get(slot as usize).filter(|row| row.key != VACANT)
    }

    /// Live connections with their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Connection)> {
        (0..).zip(&self.rows).filter(|(_, row)| row.key != VACANT)
    }

    /// Who owns the row in `slot`.
    #[must_use]
    pub fn owner_of(&self, slot: u32) -> Option<Owner> {
        self.row(slot)?.owner
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

    /// Looks at the rows of sockets that events are about to come of. Of several in turn the loads do not wait for
    /// each other, as those of [`Self::apply`] do; they are most of its time where the caches do not hold the table.
    pub fn foresee(&mut self, socks: impl IntoIterator<Item = SockRef>) {
        for sock in socks {
            if let Some(slot) = self.keys.find(key_of(sock), &self.rows) {
                let row = &self.rows[slot as usize];
                // Fields that are cache lines apart.
                black_box((row.ends.local_port, row.life.state, row.listener, row.netns));
            }
        }
    }

    /// Applies one event.
    #[inline(always)]
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
            } => self.child_made(event),
            What::State { .. } => self.transition(event, emit),
            What::Renamed => {
                if let Some(task) = &event.task {
                    self.processes.rename(task);
                }
            }
            What::RequestStart { .. } | What::RequestEnd | What::RequestTimer { .. } => {
                self.request(event, emit);
            }
            What::TimewaitTimer { .. }
            | What::TimewaitStart(_)
            | What::TimewaitSegment { .. }
            | What::TimewaitEnd { .. }
            | What::TimewaitFull
            | What::ResetReceived
            | What::ResetSent
            | What::Accept => self.beside(event, emit),
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
            if row.key != key {
                continue;
            }
            let held_at = row.life.held.map(Held::at);
            if held_at.is_none_or(|held_at| held_at == at) {
                self.forget_cancelled(slot);
            }
            if held_at == Some(at) {
                self.step(slot, Input::Release, now, emit);
            }
        }
    }

    /// Applies one input to a row.
    #[inline(never)]
    fn step(&mut self, slot: u32, input: Input, time: Nanos, emit: &mut impl FnMut(&Change)) {
        let after_loss = self.lost_until.is_some();
        let outcome = machine::step(&mut self.rows[slot as usize].life, input, time, after_loss);
        self.carry_out(slot, outcome, emit);
    }

    /// A full socket's transition: most of all events are one.
    #[inline(always)]
    fn transition(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let What::State {
            old,
            new,
            error,
            fin_received,
            is_orphan,
            ..
        } = event.what
        else {
            return;
        };
        let slot = match self.find_full(event.sock) {
            Some(slot) if new == TcpState::SynSent => self.reopen(slot, event, emit),
            Some(slot) => slot,
            None if old == new => return,
            None => match self.begin(event, old, new, emit) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.learn(slot, event);
        let after_loss = self.lost_until.is_some();
        let life = &mut self.rows[slot as usize].life;
        let is_child = life.state == TcpState::Listen && old == TcpState::SynRecv;
        let input = Input::State {
            old: if is_child { TcpState::Listen } else { old },
            new,
            error,
            fin_received,
            is_orphan,
        };
        let outcome = machine::step(life, input, event.time, after_loss);
        self.carry_out(slot, outcome, emit);
    }

    /// The row of a full socket, or of the timewait sock that took it over.
    #[inline(always)]
    fn find_full(&mut self, sock: SockRef) -> Option<u32> {
        let slot = self.keys.find(key_of(sock), &self.rows)?;
        // A request that a snapshot showed with the cookie that its child has too.
        if self.rows[slot as usize].by_ends {
            self.become_child(slot);
            self.children.remove(&sock.address);
        }
        Some(slot)
    }

    /// What happens to a timewait sock, and what a full socket's transition does not tell.
    fn beside(&mut self, event: &Event, emit: &mut impl FnMut(&Change)) {
        let known = self.find_full(event.sock);
        let begins = match event.what {
            What::TimewaitTimer {
                step: TimerStep::Start,
                substate,
            }
            | What::TimewaitStart(substate) => Some(substate),
            // The rest is about a connection that is known, or has been reported as gone.
            _ => None,
        };
        let slot = match (known, begins) {
            (Some(slot), _) => slot,
            (None, Some(substate)) => self.unknown(event, substate, Since::before(event.time)),
            (None, None) => return,
        };
        self.tell(slot, event, emit);
    }

    /// Tells a row of an event that is no full socket's transition.
    fn tell(&mut self, slot: u32, event: &Event, emit: &mut impl FnMut(&Change)) {
        self.learn(slot, event);
        if let Some(input) = self.input(event) {
            self.step(slot, input, event.time, emit);
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
                let life = Life::new(TcpState::Close, Since::at(event.time));
                let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
                let incarnation = self.reopenable.next_incarnation(event.sock.cookie);
                self.rows[slot as usize].incarnation = incarnation;
                Some(slot)
            }
            (TcpState::SynRecv, _) => Some(self.promote(event, emit)),
            (_, TcpState::Close) if old == TcpState::Listen => None,
            _ => Some(self.unknown(event, old, Since::before(event.time))),
        }
    }

    fn unknown(&mut self, event: &Event, state: TcpState, since: Since) -> u32 {
        self.tally.unknown += 1;
        self.wants_scan = true;
        let life = Life::new(state, since);
        self.make(event.sock, event.ends, event.netns, event.protocol, life)
    }

    /// A socket that is connected once more.
    fn reopen(&mut self, slot: u32, event: &Event, emit: &mut impl FnMut(&Change)) -> u32 {
        let row = self.rows[slot as usize];
        if row.life.held.is_some() {
            self.step(slot, Input::Release, event.time, emit);
        } else if row.life.state != TcpState::Close {
            return slot;
        }
        let life = Life::new(TcpState::Close, Since::at(event.time));
        let slot = self.make(event.sock, event.ends, event.netns, event.protocol, life);
        let incarnation = self
            .reopenable
            .next_incarnation(event.sock.cookie)
            .max(row.incarnation + 1);
        self.rows[slot as usize].incarnation = incarnation;
        slot
    }

    /// Takes from the event what it tells beside the change.
    #[inline(always)]
    fn learn(&mut self, slot: u32, event: &Event) {
        let row = &mut self.rows[slot as usize];
        // `connect` learns its port late, and a reconnected socket another one.
        let is_whole = event.ends.local_port != 0 && event.ends.remote_port != 0;
        if !row.by_ends && !row.is_cancelled && (is_whole || row.ends.local_port == 0) {
            row.ends = event.ends;
        }
        row.is_kernel_socket |= event.is_kernel_socket;
        if let (
            Some(lives),
            What::State {
                new: TcpState::Close,
                bytes,
                fin_received,
                ..
            },
        ) = (&mut self.lives, event.what)
        {
            lives.carry(slot, bytes, fin_received);
        }
        if let Some(task) = &event.task
            && let Some(evidence) = policy::evidence_of(&event.what, task)
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

    /// What an event that is no full socket's transition tells the machine.
    fn input(&self, event: &Event) -> Option<Input> {
        Some(match event.what {
            What::ResetReceived => Input::ResetReceived,
            What::ResetSent => Input::ResetSent,
            What::TimewaitStart(substate) => Input::TimewaitStart(substate),
            What::TimewaitFull => Input::TimewaitFull,
            What::TimewaitSegment { substate, is_reset } => Input::TimewaitSegment { substate, is_reset },
            What::TimewaitEnd { substate, how } => Input::TimewaitEnd {
                substate,
                how,
                otherwise: self.taken_over_by(event),
            },
            What::TimewaitTimer { step, substate } => Input::TimewaitTimer {
                step,
                substate,
                otherwise: self.taken_over_by(event),
                looked: self.hidden.segments.then_some(self.looked_before),
            },
            What::RequestTimer { step, .. } => Input::RequestTimer(step),
            What::RequestEnd => Input::RequestDropped,
            What::State { .. } | What::Accept | What::RequestStart { .. } | What::Renamed => return None,
        })
    }

    #[inline(always)]
    fn carry_out(&mut self, slot: u32, outcome: Outcome, emit: &mut impl FnMut(&Change)) {
        match outcome {
            Outcome::Same => {}
            Outcome::Moved { at, old, new, dwell } => {
                let begins = matches!(old, TcpState::Close | TcpState::Listen);
                if begins {
                    let row = &mut self.rows[slot as usize];
                    row.began = Since::at(at);
                    row.role = Some(if new == TcpState::SynSent {
                        Role::Client
                    } else {
                        Role::Server
                    });
                }
                if new == TcpState::Listen {
                    self.index_listener(slot);
                }
                let mut change = self.change(slot, at, old, new, (!begins).then_some(dwell));
                change.by_syn_cookie =
                    old == TcpState::Listen && new == TcpState::Established && !self.hidden.requests;
                self.report(slot, &change, emit);
            }
            Outcome::Impossible { at, old, new } => {
                self.tally.impossible += 1;
                if new == TcpState::Listen {
                    self.index_listener(slot);
                }
                let change = self.change(slot, at, old, new, Some(Age::AtLeast(Nanos(0))));
                self.report(slot, &change, emit);
            }
            Outcome::Holding => {
                let row = &mut self.rows[slot as usize];
                if let Some(held) = row.life.held {
                    self.held.push_back((held.at(), slot, row.key));
                    if let Held::TimerCancelled { .. } = held {
                        self.note_cancelled(slot);
                    }
                }
            }
            Outcome::Ended {
                at,
                old,
                dwell,
                reason,
                before,
            } => {
                if let Some(before) = before {
                    let change = self.change(slot, at, before, old, Some(Age::AtLeast(Nanos(0))));
                    self.report(slot, &change, emit);
                }
                let mut change = self.change(slot, at, old, TcpState::Close, Some(dwell));
                change.reason = reason;
                self.report(slot, &change, emit);
                // It may be held for as long as its process likes, and `ss` does not show it.
                self.wants_scan |= self.rows[slot as usize].may_be_held();
                self.remember_for_reopening(slot);
                self.remove(slot);
            }
        }
    }

    fn remember_for_reopening(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        let id = row.id();
        if row.life.is_orphan || row.life.is_timewait || id.cookie == 0 {
            return;
        }
        self.reopenable.remember(id);
    }

    #[inline(always)]
    fn change(&self, slot: u32, time: Nanos, old: TcpState, new: TcpState, dwell: Option<Age>) -> Change {
        let row = &self.rows[slot as usize];
        Change {
            time,
            id: row.id(),
            ends: row.ends,
            netns: row.netns,
            protocol: row.protocol,
            role: self.role(row),
            began: row.began,
            old,
            new,
            dwell,
            reason: None,
            owner: row.owner,
            by_syn_cookie: false,
            is_kernel_socket: row.is_kernel_socket,
        }
    }

    /// Who opened the connection. Where its beginning was not seen: a port that somebody listens on is a server's.
    #[must_use]
    pub fn role(&self, row: &Connection) -> Role {
        row.role.unwrap_or_else(|| {
            if self.listeners.contains_key(&(row.netns, row.ends.local_port)) {
                Role::Server
            } else {
                Role::Client
            }
        })
    }

    #[inline(always)]
    fn report(&mut self, slot: u32, change: &Change, emit: &mut impl FnMut(&Change)) {
        self.tally.changes += 1;
        if self.lives.is_some() {
            self.tell_life(slot, *change);
        }
        emit(change);
    }

    #[cold]
    fn tell_life(&mut self, slot: u32, change: Change) {
        let Some(lives) = &mut self.lives else { return };
        lives.pass(slot, &change);
        if change.new == TcpState::Close {
            let has_listener = self
                .listeners
                .contains_key(&(change.netns, change.ends.local_port));
            lives.end(slot, &self.rows[slot as usize], &change, has_listener);
        }
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
            key,
            incarnation: 0,
            ends,
            netns,
            protocol,
            life,
            owner: None,
            listener: 0,
            began: life.since,
            role: None,
            is_kernel_socket: false,
            by_ends: false,
            is_cancelled: false,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.rows[slot as usize] = row;
            slot
        } else {
            let slot = u32::try_from(self.rows.len()).expect("the table's capacity is far below 2^32");
            self.rows.push(row);
            slot
        };
        if sock != SockRef::default() {
            self.keys.insert(slot, &self.rows);
        }
        self.live += 1;
        if let Some(lives) = &mut self.lives {
            lives.begin(slot);
        }
        slot
    }

    /// Keys of rows that have neither cookie nor address.
    fn next_key(&mut self) -> u64 {
        self.without_key += 1;
        FIRST_MADE_UP | self.without_key
    }

    #[inline(never)]
    fn remove(&mut self, slot: u32) {
        if self.rows[slot as usize].by_ends {
            self.unindex_by_ends(slot);
        }
        self.forget_cancelled(slot);
        self.unindex_listener(slot);
        let row = &mut self.rows[slot as usize];
        let key = std::mem::replace(&mut row.key, VACANT);
        if let Some(owner) = row.owner {
            self.processes.release(owner.process);
        }
        self.keys.remove(key, slot);
        self.free.push(slot);
        self.live -= 1;
    }
}

/// From here on keys are no cookies, and below the upper half, where addresses are, they are nobody else's.
const FIRST_MADE_UP: u64 = SockRef::COOKIE_END;

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
