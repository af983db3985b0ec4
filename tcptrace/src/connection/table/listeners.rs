//! Listeners by namespace and port: those that are open, and who owned those that were closed of late.

use crate::{
    connection::{recent::Recent, row::Connection},
    owner::policy::Owner,
};
use hashbrown::HashMap;

/// The owners of closed listeners: the kernel ends connections that were not accepted after the listener.
#[derive(Clone, Copy, Debug)]
struct Closed {
    netns: u32,
    local_port: u16,
    owner: Owner,
}

#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: HashMap<(u32, u16), Vec<u32>>,
    closed: Recent<Closed, 64>,
}

impl Listeners {
    /// Whether somebody listens on the port.
    pub(super) fn has(&self, netns: u32, port: u16) -> bool {
        self.open.contains_key(&(netns, port))
    }

    /// The slots of those that listen on the port.
    pub(super) fn at(&self, netns: u32, port: u16) -> &[u32] {
        self.open.get(&(netns, port)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn insert(&mut self, slot: u32, row: &Connection) {
        let port = (row.netns, row.endpoints.local_port);
        self.open.entry(port).or_default().push(slot);
    }

    /// Removes the row in `slot`, if it is a listener's.
    pub(super) fn remove(&mut self, slot: u32, row: &Connection) {
        if row.endpoints.remote_port != 0 {
            return;
        }
        let port = (row.netns, row.endpoints.local_port);
        if let Some(slots) = self.open.get_mut(&port) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.open.remove(&port);
            }
        }
    }

    /// Notes the owner of a listener that is closed. Returns that of the one which is forgotten for it.
    pub(super) fn note_closed(&mut self, row: &Connection, owner: Owner) -> Option<Owner> {
        let closed = Closed {
            netns: row.netns,
            local_port: row.endpoints.local_port,
            owner,
        };
        self.closed.push(closed).map(|oldest| oldest.owner)
    }

    /// Who owned the listener on the port that was closed last.
    pub(super) fn owner_of_closed(&self, netns: u32, port: u16) -> Option<Owner> {
        let is_its = |closed: &&Closed| (closed.netns, closed.local_port) == (netns, port);
        self.closed.iter().find(is_its).map(|closed| closed.owner)
    }
}
