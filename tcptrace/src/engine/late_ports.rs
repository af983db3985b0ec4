//! Local ports that the kernel chooses after the transition that it reports first: `connect` enters SYN_SENT, and `listen`
//! enters LISTEN, before either has a port.

use crate::{
    connection::{change::Change, table::Table},
    event::ConnectionId,
};
use hashbrown::HashMap;

/// Enters ports in changes that were reported without one. Its memory is reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct LatePorts {
    /// Places in the batch of changes without a port, by connection.
    waiting: HashMap<ConnectionId, usize>,
}

impl LatePorts {
    /// Enters the port of the connection's next change in the batch, else that of the table. It stays 0 where neither has
    /// one, and where the kernel gave the socket no cookie.
    pub(super) fn fill(&mut self, changes: &mut [Change], table: &Table) {
        for place in 0..changes.len() {
            let Change { id, endpoints, .. } = changes[place];
            if endpoints.local_port == 0 {
                if id.cookie != 0 {
                    self.waiting.entry(id).or_insert(place);
                }
            } else if !self.waiting.is_empty()
                && let Some(first) = self.waiting.remove(&id)
            {
                changes[first].endpoints.local_port = endpoints.local_port;
            }
        }
        for (id, place) in self.waiting.drain() {
            if let Some(endpoints) = table.endpoints_of(id) {
                changes[place].endpoints.local_port = endpoints.local_port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        engine::{Engine, Input},
        event::{
            Event, Nanos, ProcessKey,
            TcpState::{self, Close, Established, SynSent},
            fixture,
        },
    };

    /// A step of the connection with this cookie, whose socket has this local port.
    fn step(cookie: u64, port: u16, micros: u64, states: (TcpState, TcpState)) -> Event {
        let process = ProcessKey::new(1, 1);
        let mut event = fixture::of_client(
            process,
            fixture::comm("client"),
            cookie,
            Nanos(micros * 1_000),
            states,
        );
        event.endpoints.local_port = port;
        event
    }

    /// Cookie, state and port of each change of one batch.
    fn batch(events: &[Event]) -> Vec<(u64, TcpState, u16)> {
        let mut engine = Engine::new(16);
        for event in events {
            engine.apply(Input::Events(&[*event]));
        }
        engine.apply(Input::Settle(Nanos::from_secs(9)));
        engine.finish_batch();
        let changes = engine.batch().iter();
        changes
            .map(|change| (change.id.cookie, change.new, change.endpoints.local_port))
            .collect()
    }

    #[test]
    fn a_connection_that_has_ended_in_the_batch_has_its_port_in_every_change() {
        let changes = batch(&[
            step(1, 0, 1, (Close, SynSent)),
            step(2, 0, 2, (Close, SynSent)),
            step(1, 4_001, 3, (SynSent, Established)),
            step(2, 4_002, 4, (SynSent, Established)),
            step(1, 4_001, 5, (Established, Close)),
            step(2, 4_002, 6, (Established, Close)),
        ]);
        assert_eq!(changes.len(), 6);
        for (cookie, state, port) in changes {
            assert_eq!(u64::from(port), 4_000 + cookie, "{state}");
        }
    }

    #[test]
    fn a_port_that_nobody_has_chosen_stays_unknown() {
        let changes = batch(&[
            step(1, 0, 1, (Close, SynSent)),
            step(1, 0, 2, (SynSent, Close)),
            step(0, 0, 3, (Close, SynSent)),
            step(0, 4_000, 4, (SynSent, Established)),
        ]);
        assert!(changes.contains(&(1, SynSent, 0)), "{changes:?}");
        assert!(changes.contains(&(0, SynSent, 0)), "{changes:?}");
    }
}
