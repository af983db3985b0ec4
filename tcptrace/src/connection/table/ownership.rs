//! Owners of rows: applies evidence, finds the listener of a connection, and decides whether a scan of open files is
//! needed.

use super::Table;
use crate::{
    connection::{change::Change, lifetime::Role, row::Connection, sides::Sides},
    event::{ConnectionId, Endpoints, Nanos, TcpState},
    owner::policy::{self, Evidence, Owner},
};

impl Table {
    /// Notes who owned a listener that is about to be removed.
    pub(super) fn note_closed_listener(&mut self, slot: u32) {
        let row = &self.rows[slot];
        let Some(owner) = row.owner else { return };
        self.processes.retain(owner.process);
        if let Some(forgotten) = self.listeners.note_closed(row, owner) {
            self.processes.release(forgotten.process);
        }
    }

    /// Keeps who opened the connection, where a listener shows it: that may be closed before the connection.
    pub(super) fn fix_role(&mut self, slot: u32) {
        let row = &self.rows[slot];
        if row.role.is_none() && self.has_listener(row) {
            self.rows[slot].role = Some(Role::Server);
        }
    }

    /// The same for all that a snapshot has shown; where no listener does, their ports may show it.
    pub(crate) fn fix_roles(&mut self) {
        let is_open = |row: &&Connection| row.role.is_none() && row.state.tcp != TcpState::Listen;
        let sides = Sides::of(
            self.rows
                .iter()
                .filter(is_open)
                .map(|row| (row.netns, &row.endpoints)),
        );
        if sides.is_empty() {
            return;
        }
        for slot in self.rows.slot_range() {
            if let Some(row) = self.rows.get(slot).filter(is_open)
                && (self.has_listener(row) || sides.is_server(row.netns, &row.endpoints))
            {
                self.rows[slot].role = Some(Role::Server);
            }
        }
    }

    pub(super) fn has_listener(&self, row: &Connection) -> bool {
        self.listeners.has(row.netns, row.endpoints.local_port)
    }

    /// The owner of the listener that a connection came to, as a guess at the connection's own.
    pub(super) fn listener_owner(
        &self,
        netns: u32,
        endpoints: &Endpoints,
        listener: u64,
        at: Nanos,
    ) -> Option<Owner> {
        let by_cookie = (listener != 0).then(|| self.slot_of_cookie(listener)).flatten();
        let slot = by_cookie.or_else(|| {
            let slots = self.listeners.at(netns, endpoints.local_port);
            slots
                .iter()
                .find(|slot| self.rows[**slot].endpoints.local() == endpoints.local())
                .or_else(|| slots.first())
                .copied()
        })?;
        let owner = self.rows[slot].owner?;
        Some(Owner {
            process: owner.process,
            evidence: Evidence::Listener,
            since: at,
        })
    }

    /// The same for a connection that has only just come to its listener, which may be being closed.
    pub(super) fn child_owner(
        &self,
        netns: u32,
        endpoints: &Endpoints,
        listener: u64,
        at: Nanos,
    ) -> Option<Owner> {
        self.listener_owner(netns, endpoints, listener, at).or_else(|| {
            let former = self.listeners.owner_of_closed(netns, endpoints.local_port)?;
            Some(Owner {
                process: former.process,
                evidence: Evidence::Listener,
                since: at,
            })
        })
    }

    /// Notes that the kernel has marked the socket as its own. What comes to a listener of MPTCP and does not speak it
    /// has the mark of that listener's path until it is accepted (`mptcp_stream_accept`), and is the program's as the
    /// listener is.
    #[cold]
    pub(super) fn note_kernel_socket(&mut self, slot: u32) {
        let row = &self.rows[slot];
        let came_to_a_program = row.state.tcp != TcpState::Listen
            && self
                .listeners
                .at(row.netns, row.endpoints.local_port)
                .iter()
                .any(|slot| self.rows[*slot].is_a_program_s());
        self.rows[slot].is_kernel_socket |= !came_to_a_program;
    }

    /// Notes that a process has the socket open: the kernel made it for that process, if at all.
    pub(crate) fn note_held(&mut self, slot: u32) {
        self.rows[slot].is_kernel_socket = false;
    }

    /// Gives the row this evidence of its owner, which counts unless [`policy::weigh`] prefers what is known.
    pub(crate) fn set_owner(&mut self, slot: u32, owner: Option<Owner>) {
        let Some(new) = owner else { return };
        let row = &mut self.rows[slot];
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

    /// Adds what a snapshot and a scan have told since the change: the connection's owner, or where it has ended its
    /// listener's as a guess, and that it came to that listener.
    pub(crate) fn complete(&self, change: &mut Change) {
        if let Some(slot) = self.slot_of(change.id, change.netns, &change.endpoints) {
            change.owner = change.owner.or_else(|| self.owner_of(slot));
        }
        let is_of_a_client = [change.old, change.new].contains(&TcpState::SynSent);
        if !is_of_a_client && self.listeners.has(change.netns, change.endpoints.local_port) {
            change.role = Role::Server;
            let of_listener = || self.listener_owner(change.netns, &change.endpoints, 0, change.time);
            change.owner = change.owner.or_else(of_listener);
        }
    }

    /// The row of the socket with this cookie.
    pub(crate) fn slot_of_cookie(&self, cookie: u64) -> Option<u32> {
        self.rows.slot_of_key(cookie)
    }

    /// The row of a connection: by its cookie where it has one, else by namespace and ends.
    pub(crate) fn slot_of(&self, id: ConnectionId, netns: u32, endpoints: &Endpoints) -> Option<u32> {
        let by_cookie = if id.cookie == 0 {
            None
        } else {
            self.slot_of_cookie(id.cookie)
        };
        by_cookie.or_else(|| self.requests.get(&self.hasher.key(netns, endpoints), &self.rows))
    }

    /// Whether something has happened that only a scan of open files can explain: a child that somebody may have
    /// accepted, a socket from before, one that ended while it was held.
    pub(crate) const fn wants_scan(&self) -> bool {
        self.wants_scan
    }

    /// Notes that a scan of open files is being taken in: what it leaves without an owner gets the listener's as a
    /// guess. Returns how many rows a process may hold that nobody was found to hold.
    pub(crate) fn conclude_scan(&mut self, at: Nanos) -> u64 {
        self.wants_scan = false;
        let mut unsettled = 0;
        for slot in self.rows.slot_range() {
            // Most rows are settled, and a look at one is all that they cost.
            let Some(row) = self.rows.get(slot) else { continue };
            let is_settled = row.owner.is_some_and(|owner| !owner.evidence.is_provisional());
            if is_settled || row.is_kernel_socket {
                continue;
            }
            unsettled += u64::from(row.may_be_held());
            if row.owner.is_none() && !matches!(row.state.tcp, TcpState::Listen | TcpState::SynSent) {
                let owner = self.listener_owner(row.netns, &row.endpoints, row.listener, at);
                self.set_owner(slot, owner);
            }
        }
        unsettled
    }
}
