//! Remembers sockets whose connection ended while their descriptor stayed open: `connect` may open them again under the
//! same cookie, with the next incarnation.

use crate::event::ConnectionId;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Number of sockets kept; the oldest is dropped first.
const CAPACITY: usize = 8_192;

/// The last incarnation of each.
#[derive(Debug, Default)]
pub(crate) struct Reopenable {
    last: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Reopenable {
    /// The incarnation of a socket that is opened: 0 unless it was open before.
    pub(crate) fn next_incarnation(&self, cookie: u64) -> u32 {
        self.last.get(&cookie).map_or(0, |last| last + 1)
    }

    /// Notes that this incarnation has ended.
    pub(crate) fn remember(&mut self, id: ConnectionId) {
        if self.last.insert(id.cookie, id.incarnation).is_some() {
            return;
        }
        if self.order.len() == CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        self.order.push_back(id.cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_count_up_and_the_oldest_is_forgotten() {
        let mut closed = Reopenable::default();
        assert_eq!(closed.next_incarnation(1), 0);
        closed.remember(ConnectionId::first(1));
        closed.remember(ConnectionId {
            cookie: 1,
            incarnation: 1,
        });
        assert_eq!(closed.next_incarnation(1), 2);
        for cookie in 2..=CAPACITY as u64 + 1 {
            closed.remember(ConnectionId::first(cookie));
        }
        assert_eq!(closed.next_incarnation(1), 0);
        assert_eq!(closed.last.len(), CAPACITY);
    }
}
