//! Finds rows by network namespace and four-tuple: the identity of what has no cookie. Keeps the rows' places alone:
//! the ends are in the rows, and do not change while these are in an index.

use super::table::Connection;
use crate::event::Ends;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// Two ends in a network namespace, and where an index has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    netns: u32,
    ends: &'a Ends,
    hash: u64,
}

impl Place<'_> {
    fn is_of(&self, row: &Connection) -> bool {
        row.netns == self.netns && row.ends == *self.ends
    }
}

/// Finds places: of all indexes the same one.
#[derive(Debug, Default)]
pub(super) struct Places(DefaultHashBuilder);

impl Places {
    /// The place of these ends.
    #[must_use]
    pub(super) fn of<'a>(&self, netns: u32, ends: &'a Ends) -> Place<'a> {
        let (local, remote) = ends.octets();
        let ports = u64::from(ends.local_port) << 16 | u64::from(ends.remote_port);
        let hash = self.0.hash_one((
            u128::from_ne_bytes(local),
            u128::from_ne_bytes(remote),
            u64::from(netns) << 32 | ports,
        ));
        Place { netns, ends, hash }
    }
}

/// From place to slot.
#[derive(Debug, Default)]
pub(super) struct EndsIndex {
    slots: HashTable<u32>,
}

impl EndsIndex {
    /// The slot of the row with these ends.
    #[must_use]
    #[inline]
    pub(super) fn get(&self, place: &Place<'_>, rows: &[Connection]) -> Option<u32> {
        self.slots
            .find(place.hash, |slot| place.is_of(&rows[*slot as usize]))
            .copied()
    }

    /// Notes the row in `slot`, whose place this is; one that was there before is no longer found.
    pub(super) fn insert(&mut self, place: &Place<'_>, slot: u32, rows: &[Connection], places: &Places) {
        match self
            .slots
            .find_mut(place.hash, |known| place.is_of(&rows[*known as usize]))
        {
            Some(known) => *known = slot,
            None => {
                self.slots.insert_unique(place.hash, slot, |slot| {
                    let row = &rows[*slot as usize];
                    places.of(row.netns, &row.ends).hash
                });
            }
        }
    }

    /// Forgets the row in `slot`, unless another one has taken its place.
    pub(super) fn remove(&mut self, place: &Place<'_>, slot: u32) {
        if let Ok(entry) = self.slots.find_entry(place.hash, |known| *known == slot) {
            entry.remove();
        }
    }
}
