//! Lifetimes: time in each state, bytes and role of a connection. Kept separately from the table's rows, and only if
//! requested.

use super::change::Change;
use crate::{
    event::{Age, Bytes, ConnectionId, EndReason, Endpoints, Nanos, PathStats, ResetReason, TcpState},
    owner::policy::Owner,
};
use serde::Serialize;

/// Which side of a connection this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It sent the first SYN.
    Client,
    /// It answered one.
    Server,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lifetime {
    /// Cookie and incarnation.
    pub(crate) id: ConnectionId,
    pub(crate) endpoints: Endpoints,
    pub(crate) netns: u32,
    /// Which side this host was. Of a connection from before the tracer: whether anything listens on its port.
    pub(crate) role: Role,
    /// Time of the last transition.
    pub(crate) ended: Nanos,
    /// From the first SYN to the end.
    pub(crate) total: Age,
    /// Time in each state that it was in; several stays in one are added up.
    pub(crate) spans: [Option<Age>; TcpState::COUNT],
    /// What its programs sent and the peer acknowledged, bytes; `None` where the end of the socket was not seen.
    pub(crate) sent: Option<u64>,
    /// What came for its programs in order, bytes.
    pub(crate) received: Option<u64>,
    /// Why it ended, as far as the kernel's evidence shows.
    pub(crate) reason: Option<EndReason>,
    /// Why this host sent a RST at its end.
    pub(crate) reset_reason: Option<ResetReason>,
    /// What the network did to it.
    pub(crate) path: PathStats,
    /// The owner at the end; `None` if unknown.
    pub(crate) owner: Option<Owner>,
    /// Whether the kernel made the socket for itself.
    pub(crate) is_kernel_socket: bool,
}

impl Lifetime {
    /// The states that it was in.
    pub(crate) fn states(&self) -> impl Iterator<Item = TcpState> {
        let all = TcpState::ALL.into_iter();
        all.filter(|state| self.spans[state.index()].is_some())
    }
}

/// What is gathered of one row.
#[derive(Clone, Copy, Debug, Default)]
struct OpenLifetime {
    spans: [u64; TcpState::COUNT],
    /// States that it was in, and those of which a stay is a lower bound: bits by [`TcpState::index`].
    visited: u16,
    inexact: u16,
    role: Option<Role>,
    bytes: Option<Bytes>,
    fin_received: bool,
}

impl OpenLifetime {
    const fn was_in(&self, state: TcpState) -> bool {
        self.visited & 1 << state.index() != 0
    }

    fn ages(&self) -> [Option<Age>; TcpState::COUNT] {
        TcpState::ALL.map(|state| {
            let span = Nanos(self.spans[state.index()]);
            let is_exact = self.inexact & 1 << state.index() == 0;
            self.was_in(state).then_some(if is_exact {
                Age::Exact(span)
            } else {
                Age::AtLeast(span)
            })
        })
    }
}

/// One entry for each slot of the table, and the lifetimes that have ended since they were last taken.
#[derive(Debug, Default)]
pub struct LifetimeTracker {
    slots: Vec<OpenLifetime>,
    ended: Vec<Lifetime>,
}

impl LifetimeTracker {
    /// A row begins in `slot`.
    pub(crate) fn begin(&mut self, slot: u32) {
        *self.entry(slot) = OpenLifetime::default();
    }

    /// The row in `slot` has changed its state.
    pub(crate) fn pass(&mut self, slot: u32, change: &Change) {
        let gathered = self.entry(slot);
        match (change.old, change.dwell) {
            (TcpState::Close, None) if change.new == TcpState::SynSent => gathered.role = Some(Role::Client),
            (TcpState::Listen, None) => gathered.role = Some(Role::Server),
            (_, None) => {}
            (old, Some(dwell)) => {
                let bit = 1 << old.index();
                gathered.spans[old.index()] += dwell.span().0;
                gathered.visited |= bit;
                if !dwell.is_exact() {
                    gathered.inexact |= bit;
                }
            }
        }
    }

    /// The full socket in `slot` has become CLOSE.
    pub(crate) fn carry(&mut self, slot: u32, bytes: Bytes, fin_received: bool) {
        let gathered = self.entry(slot);
        gathered.bytes = Some(bytes);
        gathered.fin_received = fin_received;
    }

    /// The row in `slot` has ended by `change`, which has been passed.
    pub(crate) fn end(&mut self, slot: u32, change: &Change) {
        let gathered = *self.entry(slot);
        if change.old == TcpState::Listen {
            return;
        }
        let role = gathered.role.unwrap_or(change.role);
        let was_in = |state| gathered.was_in(state);
        // The kernel counts SYN and FIN as a byte each where they are acknowledged or come in order.
        let syn = u64::from(role == Role::Client && was_in(TcpState::Established));
        let fin_acknowledged = was_in(TcpState::FinWait2)
            || was_in(TcpState::TimeWait)
            || (change.old == TcpState::LastAck && change.reason.is_none());
        let overhead = syn + u64::from(fin_acknowledged);
        self.ended.push(Lifetime {
            id: change.id,
            endpoints: change.endpoints,
            netns: change.netns,
            role,
            ended: change.time,
            total: lifetime(change),
            spans: gathered.ages(),
            sent: gathered.bytes.map(|bytes| bytes.acked.saturating_sub(overhead)),
            received: gathered
                .bytes
                .map(|bytes| bytes.received.saturating_sub(u64::from(gathered.fin_received))),
            reason: change.reason,
            reset_reason: change.reset_reason,
            path: change.path,
            owner: change.owner,
            is_kernel_socket: change.is_kernel_socket,
        });
    }

    /// The time that the row in `slot` was in states which it has left, as far as that was seen.
    pub(crate) fn so_far(&self, slot: u32) -> [Option<Age>; TcpState::COUNT] {
        let gathered = self.slots.get(slot as usize).copied().unwrap_or_default();
        gathered.ages()
    }

    /// Takes the lifetimes that have ended since the previous call.
    pub(crate) fn take(&mut self, each: impl FnMut(Lifetime)) {
        self.ended.drain(..).for_each(each);
    }

    fn entry(&mut self, slot: u32) -> &mut OpenLifetime {
        let slot = slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, OpenLifetime::default());
        }
        &mut self.slots[slot]
    }
}

/// An end that was not seen makes the lifetime a lower bound.
fn lifetime(change: &Change) -> Age {
    let age = change.began.age(change.time);
    if change.reason == Some(EndReason::Unseen) {
        Age::AtLeast(age.span())
    } else {
        age
    }
}
