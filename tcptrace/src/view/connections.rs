//! The connections of a moment, one small row each; the view formats only the visible ones.

use super::left_over;
use crate::{
    connection::{lifetime::Role, row::Connection, since::Since},
    engine::Engine,
    event::{Age, ConnectionId, Endpoints, Nanos, ProcessKey, TcpState},
    filter::{Filter, FilterInput},
    owner::{
        policy::{Evidence, Owner},
        processes::{Process, ProcessId, comm_text},
    },
    stats::key::{By, Facts, Key},
};
use hashbrown::HashSet;
use std::borrow::Cow;

/// Identifies a connection, with or without a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Socket cookie, 0 where the kernel has made none, and incarnation.
    pub(crate) id: ConnectionId,
    pub(crate) netns: u32,
    pub(crate) endpoints: Endpoints,
}

impl Identity {
    /// Whether both are the same connection: by cookie where both have one, else by ends.
    pub(crate) fn is(&self, other: &Self) -> bool {
        if self.id.cookie != 0 && other.id.cookie != 0 {
            self.id == other.id
        } else {
            self.netns == other.netns && self.endpoints == other.endpoints
        }
    }
}

/// The process that a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerView {
    pub(crate) key: ProcessKey,
    /// `comm`, zero-padded.
    pub(crate) comm: [u8; 16],
    /// How it is known; `None` where it is one of several that have the socket open, and not the owner.
    pub(crate) evidence: Option<Evidence>,
}

impl OwnerView {
    pub(crate) const fn new(process: &Process, evidence: Option<Evidence>) -> Self {
        Self {
            key: process.key,
            comm: process.comm,
            evidence,
        }
    }

    /// An owner, where its process is still known.
    pub(crate) fn of(engine: &Engine, owner: Owner) -> Option<Self> {
        let process = engine.table.processes.get(owner.process)?;
        Some(Self::new(process, Some(owner.evidence)))
    }

    pub(crate) fn name(&self) -> Cow<'_, str> {
        comm_text(&self.comm)
    }

    pub(crate) fn is_guess(&self) -> bool {
        self.evidence.is_some_and(Evidence::is_provisional)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionView {
    pub(crate) identity: Identity,
    pub(crate) state: TcpState,
    /// Time in the state; `None` where unknown, as of a socket that was reset and is still open.
    pub(crate) age: Option<Age>,
    /// When it began: the first SYN, or `listen`.
    pub(crate) began: Since,
    pub(crate) role: Role,
    pub(crate) owner: Option<OwnerView>,
    /// How many other processes have it open too.
    pub(crate) sharers: u32,
    /// Whether a process may have it open.
    pub(crate) may_be_held: bool,
    /// Whether the kernel made the socket for itself.
    pub(crate) is_kernel_socket: bool,
}

/// The connections that a view is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All that the filter lets pass.
    #[default]
    All,
    /// Those that count for a process; `None` for those whose owner is not known.
    Process(Option<ProcessKey>),
    /// Those left by processes of this name that have no socket open.
    LeftOver([u8; 16]),
    Endpoint(Key),
}

/// A selection whose processes have been looked up.
#[derive(Debug)]
pub(crate) enum Matcher {
    All,
    /// `None`: those whose owner is unknown.
    Process(Option<ProcessKey>),
    Processes(HashSet<ProcessKey>),
    Endpoint(Key),
}

impl Matcher {
    /// Looks up the processes of a name among those with connections that `filter` lets pass.
    pub(crate) fn new(of: Selection, engine: &Engine, filter: &Filter) -> Self {
        match of {
            Selection::All => Self::All,
            Selection::Process(key) => Self::Process(key),
            Selection::LeftOver(name) => Self::Processes(left_over::processes(engine, filter, name)),
            Selection::Endpoint(key) => Self::Endpoint(key),
        }
    }

    pub(crate) fn matches(&self, owner: Option<ProcessKey>, endpoint: impl FnOnce() -> Option<Key>) -> bool {
        match self {
            Self::All => true,
            Self::Process(key) => owner == *key,
            Self::Processes(keys) => owner.is_some_and(|key| keys.contains(&key)),
            Self::Endpoint(key) => endpoint() == Some(*key),
        }
    }

    fn matches_row(&self, row: &ConnectionView) -> bool {
        let Identity { endpoints, netns, .. } = &row.identity;
        self.matches(row.owner.map(|owner| owner.key), || {
            endpoint_of(endpoints, *netns, row.role)
        })
    }
}

/// Puts all connections of `of` that `filter` lets pass into `rows`, in no order.
pub(crate) fn gather(
    rows: &mut Vec<ConnectionView>,
    engine: &Engine,
    now: Nanos,
    filter: &Filter,
    of: Selection,
) {
    rows.clear();
    let matcher = Matcher::new(of, engine, filter);
    if of == Selection::All {
        rows.reserve(engine.table.len());
    }
    for connection in engine.table.iter() {
        if let Some(process) = engine.accepted_row(connection, filter) {
            let row = row(engine, connection, process, now);
            if matcher.matches_row(&row) {
                rows.push(row);
            }
        }
    }
    let closed = engine.holders.closed().iter().filter_map(|closed| {
        let process = engine.table.processes.get(closed.process)?;
        let subject = FilterInput {
            endpoints: &closed.endpoints,
            netns: closed.netns,
            states: &[TcpState::Close],
            owner: Some(process),
        };
        let row = ConnectionView {
            identity: Identity {
                id: ConnectionId::first(closed.cookie),
                netns: closed.netns,
                endpoints: closed.endpoints,
            },
            state: TcpState::Close,
            age: None,
            began: Since::before(now),
            role: Role::Client,
            owner: Some(OwnerView::new(process, Some(Evidence::Holder))),
            sharers: sharers(engine, closed.cookie),
            may_be_held: true,
            is_kernel_socket: false,
        };
        (filter.accepts(&subject) && matcher.matches_row(&row)).then_some(row)
    });
    rows.extend(closed);
}

pub(super) fn row(
    engine: &Engine,
    connection: &Connection,
    process: Option<ProcessId>,
    now: Nanos,
) -> ConnectionView {
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
            endpoints: connection.endpoints,
        },
        state: connection.state.tcp,
        age: Some(connection.state.since.age(now)),
        began: connection.began,
        role: engine.table.role(connection),
        owner,
        sharers: sharers(engine, connection.id().cookie),
        may_be_held: connection.may_be_held(),
        is_kernel_socket: connection.is_kernel_socket,
    }
}

/// Number of other holders.
pub(super) fn sharers(engine: &Engine, cookie: u64) -> u32 {
    u32::try_from(engine.holders.of(cookie).len().saturating_sub(1)).unwrap_or(u32::MAX)
}

/// The endpoint of a connection, as `hist --by endpoint` groups them.
pub(crate) fn endpoint_of(endpoints: &Endpoints, netns: u32, role: Role) -> Option<Key> {
    Key::of(
        By::Endpoint,
        &Facts {
            endpoints,
            netns,
            role,
            owner: None,
        },
    )
}
