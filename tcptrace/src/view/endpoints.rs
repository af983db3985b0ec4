//! The endpoints of a moment: ports that this host serves, and destinations. A destination is a local address with a
//! remote address and port: ephemeral ports run out for each of them separately.

use super::{
    Counts,
    connections::{endpoint_of, wanted},
};
use crate::{
    engine::Engine,
    event::{Age, Nanos, TcpState},
    filter::Filter,
    stats::key::Key,
};
use hashbrown::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointView {
    /// A server's port, or a client's address with a remote address and port.
    pub(crate) key: Key,
    /// Sockets by state; a listener itself among them.
    pub(crate) counts: Counts,
    /// Local ports that connections to the destination occupy, TIME_WAIT included; 0 for a server's port.
    pub(crate) ports_used: u64,
    /// The oldest connection that neither listens nor is established; see [`super::ProcessView::oldest`].
    pub(crate) oldest: Option<(TcpState, Age)>,
    /// Cookie of a listener of the port; of several any.
    pub(crate) listener: Option<u64>,
}

/// All endpoints of the connections that `filter` lets pass, in no order.
pub(crate) fn build(engine: &Engine, now: Nanos, filter: &Filter) -> Vec<EndpointView> {
    let mut by_key: HashMap<Key, EndpointView> = HashMap::new();
    for connection in engine.table.iter() {
        if wanted(engine, connection, filter).is_none() {
            continue;
        }
        let role = engine.table.role(connection);
        let Some(key) = endpoint_of(&connection.endpoints, connection.netns, role) else {
            continue;
        };
        let state = connection.state.tcp;
        let row = by_key.entry(key).or_insert(EndpointView {
            key,
            counts: [0; TcpState::COUNT],
            ports_used: 0,
            oldest: None,
            listener: None,
        });
        row.counts[state.index()] += 1;
        row.ports_used +=
            u64::from(matches!(key, Key::Client { .. }) && connection.endpoints.local_port != 0);
        if state == TcpState::Listen {
            row.listener = Some(connection.id().cookie);
        }
        let age = connection.state.since.age(now);
        row.oldest = super::oldest(row.oldest, Some((state, age)));
    }
    by_key.into_values().collect()
}

impl EndpointView {
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
