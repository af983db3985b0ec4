//! Finds rows by their socket's key. Stores positions only: the keys are in the rows, which a caller reads anyway.

use super::row::Connection;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// Number of positions cached without a hash: events of one socket come in bursts, and those of a replay are
/// foreseen. A power of two.
const RECENT: usize = 64;

#[derive(Debug)]
pub(super) struct KeyIndex {
    slots: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The slot that was found last for a key with these low bits.
    recent: [u32; RECENT],
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self {
            slots: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            recent: [0; RECENT],
        }
    }
}

impl KeyIndex {
    /// The slot of the row that has this key.
    #[must_use]
    pub(super) fn get(&self, key: u64, rows: &[Connection]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.slots.find(hash, |slot| has_key(rows, *slot, key)).copied()
    }

    /// The same, and caches it.
    #[inline]
    pub(super) fn find(&mut self, key: u64, rows: &[Connection]) -> Option<u32> {
        let recent = self.recent[recent_index(key)];
        if rows.get(recent as usize).is_some_and(|row| row.key == key) {
            return Some(recent);
        }
        let found = self.get(key, rows)?;
        self.recent[recent_index(key)] = found;
        Some(found)
    }

    /// Notes the row in `slot`; one that had its key before is no longer found.
    pub(super) fn insert(&mut self, slot: u32, rows: &[Connection]) {
        let Self {
            slots,
            hasher,
            recent,
        } = self;
        let key = key_at(rows, slot);
        let hash = hasher.hash_one(key);
        recent[recent_index(key)] = slot;
        match slots.find_mut(hash, |slot| has_key(rows, *slot, key)) {
            Some(known) => *known = slot,
            None => {
                slots.insert_unique(hash, slot, |slot| hasher.hash_one(key_at(rows, *slot)));
            }
        }
    }

    /// Forgets the row in `slot`, unless another one with its key has taken its place.
    pub(super) fn remove(&mut self, key: u64, slot: u32) {
        let hash = self.hasher.hash_one(key);
        if let Ok(entry) = self.slots.find_entry(hash, |known| *known == slot) {
            entry.remove();
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
const fn recent_index(key: u64) -> usize {
    key as usize % RECENT
}

fn key_at(rows: &[Connection], slot: u32) -> u64 {
    rows[slot as usize].key
}

fn has_key(rows: &[Connection], slot: u32, key: u64) -> bool {
    key_at(rows, slot) == key
}
