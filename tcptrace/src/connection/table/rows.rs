//! The rows of the table: finds them by their socket's key, reuses the slots of removed ones, and chooses which is
//! evicted.

use crate::{
    connection::{key_index::KeyIndex, row::Connection},
    event::SockRef,
};
use std::ops::{Index, IndexMut, Range};

/// From here on keys are no cookies, and below the upper half, where addresses are, they are nobody else's.
const FIRST_MADE_UP: u64 = SockRef::COOKIE_END;

/// Marks a slot that is free.
const VACANT: u64 = u64::MAX;

/// Rows in slots; the slot of a live row never changes.
#[derive(Debug, Default)]
pub(in crate::connection) struct Rows {
    slots: Vec<Connection>,
    keys: KeyIndex,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
    made_up_keys: u64,
    evict_hand: usize,
}

impl Index<u32> for Rows {
    type Output = Connection;

    #[inline(always)]
    fn index(&self, slot: u32) -> &Connection {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Rows {
    #[inline(always)]
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }
}

impl Rows {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            ..Self::default()
        }
    }

    /// Whether a row has to be evicted before one is added.
    pub(super) const fn is_full(&self) -> bool {
        self.live >= self.capacity
    }

    /// Live rows, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter(|row| row.key != VACANT)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().filter(|row| row.key != VACANT)
    }

    /// Live rows with their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Connection)> {
        (0..).zip(&self.slots).filter(|(_, row)| row.key != VACANT)
    }

    /// All slots, free ones too.
    pub(super) fn slot_range(&self) -> Range<u32> {
        0..u32::try_from(self.slots.len()).expect("the table's capacity is far below 2^32")
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize).filter(|row| row.key != VACANT)
    }

    pub(super) const fn len(&self) -> usize {
        self.live
    }

    pub(super) fn slot_of(&self, sock: SockRef) -> Option<u32> {
        self.slot_of_key(key_of(sock))
    }

    /// The row of the socket with this cookie or, where it has none, this address.
    pub(super) fn slot_of_key(&self, key: u64) -> Option<u32> {
        self.keys.get(key, &self.slots)
    }

    /// The row of a socket, for an event: the next ones of it find it sooner.
    #[inline(always)]
    pub(super) fn find(&mut self, sock: SockRef) -> Option<u32> {
        self.find_key(key_of(sock))
    }

    #[inline(always)]
    pub(super) fn find_key(&mut self, key: u64) -> Option<u32> {
        self.keys.find(key, &self.slots)
    }

    /// Adds a row of `sock`, which has neither cookie nor address where nothing is found by its key.
    pub(super) fn add(&mut self, sock: SockRef, mut row: Connection) -> u32 {
        let is_found = sock != SockRef::default();
        row.key = if is_found {
            key_of(sock)
        } else {
            self.made_up_keys += 1;
            FIRST_MADE_UP | self.made_up_keys
        };
        let slot = if let Some(slot) = self.free.pop() {
            self[slot] = row;
            slot
        } else {
            let slot = self.slot_range().end;
            self.slots.push(row);
            slot
        };
        if is_found {
            self.keys.insert(slot, &self.slots);
        }
        self.live += 1;
        slot
    }

    /// Makes the row in `slot` that of `sock`.
    pub(super) fn rekey(&mut self, slot: u32, sock: SockRef) {
        let old = std::mem::replace(&mut self[slot].key, key_of(sock));
        self.keys.remove(old, slot);
        self.keys.insert(slot, &self.slots);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let key = std::mem::replace(&mut self[slot].key, VACANT);
        self.keys.remove(key, slot);
        self.free.push(slot);
        self.live -= 1;
    }

    /// Chooses the row to evict, skipping over the rows in turn; a timewait or request row is taken where one is near,
    /// since it would end by itself.
    pub(super) fn choose_victim(&mut self) -> Option<u32> {
        const LOOK_AHEAD: usize = 32;
        let count = self.slots.len();
        let mut chosen = None;
        for step in 0..count {
            let position = (self.evict_hand + step) % count;
            let row = &self.slots[position];
            if row.key == VACANT {
                continue;
            }
            let short_lived = row.state.is_timewait || row.is_request;
            if chosen.is_none() || short_lived {
                chosen = Some(position);
            }
            if short_lived || (step >= LOOK_AHEAD && chosen.is_some()) {
                break;
            }
        }
        let position = chosen?;
        self.evict_hand = position + 1;
        u32::try_from(position).ok()
    }
}

/// The cookie in a key, or 0 where the key is none.
pub(in crate::connection) const fn cookie_of(key: u64) -> u64 {
    if key < FIRST_MADE_UP { key } else { 0 }
}

/// Cookies count up from 1, kernel addresses are in the upper half: the two never meet.
const fn key_of(sock: SockRef) -> u64 {
    if sock.cookie != 0 {
        sock.cookie
    } else {
        sock.address
    }
}
