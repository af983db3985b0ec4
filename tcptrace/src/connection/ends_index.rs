//! Finds rows by network namespace and four-tuple: the identity of what has no cookie.

use crate::event::Ends;
use hashbrown::HashMap;

/// Namespace inode number and both ends.
pub type EndsKey = (u32, Ends);

/// From four-tuple to slot.
#[derive(Debug, Default)]
pub struct EndsIndex {
    slots: HashMap<EndsKey, u32>,
}

impl EndsIndex {
    /// The row with these ends.
    #[must_use]
    pub fn get(&self, netns: u32, ends: &Ends) -> Option<u32> {
        self.slots.get(&(netns, *ends)).copied()
    }

    /// Notes a row; one that was there before is no longer found.
    pub fn insert(&mut self, netns: u32, ends: Ends, slot: u32) {
        self.slots.insert((netns, ends), slot);
    }

    /// Forgets the row, unless another one has taken its place.
    pub fn remove(&mut self, netns: u32, ends: &Ends, slot: u32) {
        if self.slots.get(&(netns, *ends)) == Some(&slot) {
            self.slots.remove(&(netns, *ends));
        }
    }
}
