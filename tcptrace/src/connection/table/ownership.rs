//! Who owns the rows: takes evidence, finds the listener that a connection came to, and knows whether a scan of open
//! files would tell more.

use super::Table;
use crate::{
    event::{ConnectionId, Ends, Nanos, TcpState},
    owner::policy::{self, Evidence, Owner},
};

impl Table {
    /// The owner of the listener that a connection came to, as a guess at the connection's own.
    pub(super) fn listener_owner(&self, netns: u32, ends: &Ends, listener: u64, at: Nanos) -> Option<Owner> {
        let by_cookie = (listener != 0).then(|| self.slot_of_cookie(listener)).flatten();
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
            since: at,
        })
    }

    /// Gives the row this evidence of its owner, which counts unless [`policy::weigh`] prefers what is known.
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
        self.keys.get(cookie, &self.rows)
    }

    /// The row of a connection: by its cookie where it has one, else by namespace and ends.
    #[must_use]
    pub fn slot_of(&self, id: ConnectionId, netns: u32, ends: &Ends) -> Option<u32> {
        let by_cookie = if id.cookie == 0 {
            None
        } else {
            self.slot_of_cookie(id.cookie)
        };
        by_cookie.or_else(|| self.ends.get(&self.places.of(netns, ends), &self.rows))
    }

    /// Whether something has happened that only a scan of open files can explain: a child that somebody may have
    /// accepted, a socket from before, one that ended while it was held.
    #[must_use]
    pub const fn wants_scan(&self) -> bool {
        self.wants_scan
    }

    /// Notes that a scan of open files is being taken in: what it leaves without an owner gets the listener's as a
    /// guess. Returns how many rows a process may hold that nobody was found to hold.
    pub fn conclude_scan(&mut self, at: Nanos) -> u64 {
        self.wants_scan = false;
        let mut unsettled = 0;
        for slot in 0..self.rows.len() {
            // Most rows are settled, and a look at one is all that they cost.
            let row = &self.rows[slot];
            let is_settled = row.owner.is_some_and(|owner| !owner.evidence.is_provisional());
            if row.key == super::VACANT || is_settled || row.is_kernel_socket {
                continue;
            }
            unsettled += u64::from(row.may_be_held());
            if row.owner.is_none() && !matches!(row.life.state, TcpState::Listen | TcpState::SynSent) {
                let owner = self.listener_owner(row.netns, &row.ends, row.listener, at);
                self.set_owner(u32::try_from(slot).unwrap_or(u32::MAX), owner);
            }
        }
        unsettled
    }

    pub(super) fn unindex_listener(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        if row.ends.remote_port != 0 {
            return;
        }
        let place = (row.netns, row.ends.local_port);
        if let Some(slots) = self.listeners.get_mut(&place) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.listeners.remove(&place);
            }
        }
    }

    pub(super) fn index_listener(&mut self, slot: u32) {
        let row = &self.rows[slot as usize];
        self.listeners
            .entry((row.netns, row.ends.local_port))
            .or_default()
            .push(slot);
    }
}
