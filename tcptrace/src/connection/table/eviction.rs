//! Keeps the table within its bound: one row too many gives up another.

use super::{Table, VACANT};

impl Table {
    /// Gives up one row, passing over the rows in turn; a timewait or request row is taken where one is near,
    /// since it would end by itself.
    pub(super) fn evict(&mut self) {
        const LOOK_AHEAD: usize = 32;
        let count = self.rows.len();
        let mut chosen = None;
        for step in 0..count {
            let at = (self.evict_hand + step) % count;
            let row = &self.rows[at];
            if row.key == VACANT {
                continue;
            }
            let short_lived = row.life.is_timewait || row.by_ends;
            if chosen.is_none() || short_lived {
                chosen = Some(at);
            }
            if short_lived || (step >= LOOK_AHEAD && chosen.is_some()) {
                break;
            }
        }
        if let Some(slot) = chosen.and_then(|at| u32::try_from(at).ok()) {
            self.evict_hand = slot as usize + 1;
            self.remove(slot);
            self.tally.evicted += 1;
        }
    }
}
