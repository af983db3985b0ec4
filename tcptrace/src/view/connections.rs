//! The connections of a moment, one small row each: whoever draws them formats the few that are seen.

use super::wanted_process;
use crate::{
    connection::{lifetime::Role, since::Since, table::Connection},
    engine::Engine,
    event::{Age, ConnectionId, Ends, Nanos, ProcessKey, TcpState},
    filter::{Filter, Subject},
    owner::{
        policy::{Evidence, Owner},
        processes::{Process, ProcessId, comm_text},
    },
    stats::key::{By, Facts, Key},
};
use std::borrow::Cow;

/// Tells a connection from all others, also one that has no cookie yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Socket cookie, 0 where the kernel has made none, and incarnation.
    pub id: ConnectionId,
    /// Network namespace.
    pub netns: u32,
    /// Both ends.
    pub ends: Ends,
}

impl Identity {
    /// Whether both are the same connection: by cookie where both have one, else by ends.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        if self.id.cookie != 0 && other.id.cookie != 0 {
            self.id == other.id
        } else {
            self.netns == other.netns && self.ends == other.ends
        }
    }
}

/// The process that a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerView {
    /// Which.
    pub key: ProcessKey,
    /// `comm`, zero-padded.
    pub comm: [u8; 16],
    /// How it is known; `None` where it is one of several that have the socket open, and not the owner.
    pub evidence: Option<Evidence>,
}

impl OwnerView {
    /// A process, as known by `evidence`.
    #[must_use]
    pub const fn new(process: &Process, evidence: Option<Evidence>) -> Self {
        Self {
            key: process.key,
            comm: process.comm,
            evidence,
        }
    }

    /// An owner, where its process is still known.
    #[must_use]
    pub fn of(engine: &Engine, owner: Owner) -> Option<Self> {
        let process = engine.table.processes.get(owner.process)?;
        Some(Self::new(process, Some(owner.evidence)))
    }

    /// The name, safe to print.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        comm_text(&self.comm)
    }

    /// Whether it is a guess.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        self.evidence.is_some_and(Evidence::is_provisional)
    }
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Which.
    pub identity: Identity,
    /// State.
    pub state: TcpState,
    /// How long it has been in it; `None` where nobody knows, as of a socket that was reset and is still open.
    pub age: Option<Age>,
    /// When it began: the first SYN, or `listen`.
    pub began: Since,
    /// Which side this host is.
    pub role: Role,
    /// Whom it counts for.
    pub owner: Option<OwnerView>,
    /// Whether a process may have it open.
    pub may_be_held: bool,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
}

/// Which connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// All that the filter lets pass.
    #[default]
    All,
    /// Those that count for a process; `None` for those whose owner is not known.
    Process(Option<ProcessKey>),
    /// Those of an endpoint.
    Endpoint(Key),
}

/// Puts all connections of `of` that `filter` lets pass into `rows`, in no order.
pub fn gather(rows: &mut Vec<ConnectionView>, engine: &Engine, now: Nanos, filter: &Filter, of: Of) {
    rows.clear();
    if of == Of::All {
        rows.reserve(engine.table.len());
    }
    for connection in engine.table.iter() {
        if let Some(process) = wanted(engine, connection, filter) {
            let row = row(engine, connection, process, now);
            if belongs(&row, of) {
                rows.push(row);
            }
        }
    }
    let closed = engine.holders.closed().iter().filter_map(|closed| {
        let process = engine.table.processes.get(closed.process)?;
        let subject = Subject {
            ends: &closed.ends,
            netns: closed.netns,
            states: &[TcpState::Close],
            owner: Some(process),
        };
        let row = ConnectionView {
            identity: Identity {
                id: ConnectionId {
                    cookie: closed.cookie,
                    incarnation: 0,
                },
                netns: closed.netns,
                ends: closed.ends,
            },
            state: TcpState::Close,
            age: None,
            began: Since::before(now),
            role: Role::Client,
            owner: Some(OwnerView::new(process, Some(Evidence::Holder))),
            may_be_held: true,
            is_kernel_socket: false,
        };
        (filter.accepts(&subject) && belongs(&row, of)).then_some(row)
    });
    rows.extend(closed);
}

/// The process that a wanted connection counts for, as in [`wanted_process`].
#[expect(
    clippy::option_option,
    reason = "wanted or not, and owned by somebody known or not"
)]
pub(super) fn wanted(engine: &Engine, connection: &Connection, filter: &Filter) -> Option<Option<ProcessId>> {
    let is_wanted = filter.accepts_ends(&Subject {
        ends: &connection.ends,
        netns: connection.netns,
        states: &[connection.life.state],
        owner: None,
    });
    if !is_wanted {
        return None;
    }
    wanted_process(engine, connection.owner, connection.id().cookie, filter)
}

fn row(engine: &Engine, connection: &Connection, process: Option<ProcessId>, now: Nanos) -> ConnectionView {
    let owner = process.and_then(|id| {
        let process = engine.table.processes.get(id)?;
        let evidence = connection
            .owner
            .filter(|owner| owner.process == id)
            .map(|owner| owner.evidence);
        Some(OwnerView::new(process, evidence))
    });
    ConnectionView {
        identity: Identity {
            id: connection.id(),
            netns: connection.netns,
            ends: connection.ends,
        },
        state: connection.life.state,
        age: Some(connection.life.since.age(now)),
        began: connection.began,
        role: engine.table.role(connection),
        owner,
        may_be_held: connection.may_be_held(),
        is_kernel_socket: connection.is_kernel_socket,
    }
}

/// The endpoint of a connection, as `hist --by endpoint` tells them apart.
#[must_use]
pub fn endpoint_of(ends: &Ends, netns: u32, role: Role) -> Option<Key> {
    Key::of(
        By::Endpoint,
        &Facts {
            ends,
            netns,
            role,
            owner: None,
        },
    )
}

fn belongs(row: &ConnectionView, of: Of) -> bool {
    match of {
        Of::All => true,
        Of::Process(key) => row.owner.map(|owner| owner.key) == key,
        Of::Endpoint(key) => endpoint_of(&row.identity.ends, row.identity.netns, row.role) == Some(key),
    }
}
