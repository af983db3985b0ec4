//! Finds rows by network namespace and four-tuple, which identify connections without a cookie. Stores slots only:
//! the endpoints are in the rows, and do not change while a row is in an index.

use super::table::Rows;
use crate::event::Endpoints;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// Two endpoints in a network namespace, hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointKey<'a> {
    netns: u32,
    endpoints: &'a Endpoints,
    hash: u64,
}

impl EndpointKey<'_> {
    fn is_of(&self, slot: u32, rows: &Rows) -> bool {
        let row = &rows[slot];
        row.netns == self.netns && row.endpoints == *self.endpoints
    }
}

/// Makes the keys of all indexes.
#[derive(Debug, Default)]
pub(super) struct EndpointHasher(DefaultHashBuilder);

impl EndpointHasher {
    #[must_use]
    pub(super) fn key<'a>(&self, netns: u32, endpoints: &'a Endpoints) -> EndpointKey<'a> {
        let (local, remote) = endpoints.octets();
        let ports = u64::from(endpoints.local_port) << 16 | u64::from(endpoints.remote_port);
        let hash = self.0.hash_one((
            u128::from_ne_bytes(local),
            u128::from_ne_bytes(remote),
            u64::from(netns) << 32 | ports,
        ));
        EndpointKey {
            netns,
            endpoints,
            hash,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct EndpointIndex {
    slots: HashTable<u32>,
}

impl EndpointIndex {
    /// The slot of the row with these endpoints.
    #[must_use]
    #[inline]
    pub(super) fn get(&self, key: &EndpointKey<'_>, rows: &Rows) -> Option<u32> {
        self.slots.find(key.hash, |slot| key.is_of(*slot, rows)).copied()
    }

    /// Notes the row in `slot`, whose key this is; one that had it before is no longer found.
    pub(super) fn insert(&mut self, key: &EndpointKey<'_>, slot: u32, rows: &Rows, hasher: &EndpointHasher) {
        match self.slots.find_mut(key.hash, |known| key.is_of(*known, rows)) {
            Some(known) => *known = slot,
            None => {
                self.slots.insert_unique(key.hash, slot, |slot| {
                    let row = &rows[*slot];
                    hasher.key(row.netns, &row.endpoints).hash
                });
            }
        }
    }

    /// Forgets the row in `slot`, unless another one has its key now.
    pub(super) fn remove(&mut self, key: &EndpointKey<'_>, slot: u32) {
        if let Ok(entry) = self.slots.find_entry(key.hash, |known| *known == slot) {
            entry.remove();
        }
    }
}
