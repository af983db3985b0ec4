//! The endpoints of a moment: ports that this host serves, and destinations. A destination is a local address with a
//! remote address and port: ephemeral ports run out for each of them separately.

use super::{Counts, connections::endpoint_of};
use crate::{
    connection::handshake::HandshakeEnd,
    engine::{Engine, collector::Collector},
    event::{Age, Nanos, TcpState},
    filter::{Filter, FilterInput},
    stats::{
        bins::Bins,
        key::Key,
        measure::{Kind, Measure},
    },
};
use hashbrown::{HashMap, HashSet};

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
    /// How long the oldest of its established connections that wait for `accept` has been established; `None` if none
    /// waits, or that is not known.
    pub(crate) oldest_wait: Option<Age>,
    /// How its handshakes have ended.
    pub(crate) handshakes: Handshakes,
}

/// The handshakes of one endpoint that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handshakes {
    /// By how they ended, in the order of [`HandshakeEnd::ALL`].
    ends: [u64; HandshakeEnd::COUNT],
    /// The median time of those that were established, exact to one part in 128; `None` without one.
    pub(crate) median: Option<Nanos>,
}

/// All endpoints of the connections that `filter` lets pass, in no order. `ended` has what has ended by endpoint: one to
/// which connects failed is there without a socket. `unaccepted` are the cookies of connections that wait for `accept`.
pub(crate) fn build(
    engine: &Engine,
    now: Nanos,
    filter: &Filter,
    ended: &Collector,
    unaccepted: &HashSet<u64>,
) -> Vec<EndpointView> {
    let mut by_key: HashMap<Key, EndpointView> = HashMap::new();
    for connection in engine.table.iter() {
        if engine.accepted_row(connection, filter).is_none() {
            continue;
        }
        let role = engine.table.role(connection);
        let Some(key) = endpoint_of(&connection.endpoints, connection.netns, role) else {
            continue;
        };
        let state = connection.state.tcp;
        let row = by_key.entry(key).or_insert_with(|| EndpointView::new(key));
        row.counts[state.index()] += 1;
        row.ports_used +=
            u64::from(matches!(key, Key::Client { .. }) && connection.endpoints.local_port != 0);
        if state == TcpState::Listen {
            row.listener = Some(connection.id().cookie);
        }
        let age = connection.state.since.age(now);
        row.oldest = super::oldest(row.oldest, Some((state, age)));
        if state == TcpState::Established && unaccepted.contains(&connection.id().cookie) {
            row.oldest_wait = Some(row.oldest_wait.map_or(age, |other| older(other, age)));
        }
    }
    for (key, cells) in ended.keys() {
        let handshakes = Handshakes::of(cells);
        let failed = handshakes.failures().next().is_some();
        if failed && is_wanted(&key, filter) {
            by_key.entry(key).or_insert_with(|| EndpointView::new(key));
        }
        if let Some(row) = by_key.get_mut(&key) {
            row.handshakes = handshakes;
        }
    }
    by_key.into_values().collect()
}

/// The older of two, a lower bound where either is.
fn older(one: Age, other: Age) -> Age {
    let span = one.span().max(other.span());
    if one.is_exact() && other.is_exact() {
        Age::Exact(span)
    } else {
        Age::AtLeast(span)
    }
}

/// Whether a destination without sockets is one that a filter asks for: none of its connections is in a state, or a
/// process's.
fn is_wanted(key: &Key, filter: &Filter) -> bool {
    let Key::Client { netns, endpoints } = key else {
        return false;
    };
    let subject = FilterInput {
        endpoints,
        netns: *netns,
        states: &[],
        owner: None,
    };
    filter.accepts(&subject)
}

impl EndpointView {
    /// One without sockets.
    pub(crate) const fn new(key: Key) -> Self {
        Self {
            key,
            counts: [0; TcpState::COUNT],
            ports_used: 0,
            oldest: None,
            listener: None,
            oldest_wait: None,
            handshakes: Handshakes {
                ends: [0; HandshakeEnd::COUNT],
                median: None,
            },
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Handshakes {
    /// From the durations of one endpoint.
    pub(crate) fn of(cells: &Bins) -> Self {
        let established = [HandshakeEnd::Connected, HandshakeEnd::Completed].map(Measure::Handshake);
        Self {
            ends: HandshakeEnd::ALL.map(|end| {
                let measure = Measure::Handshake(end);
                cells.count(measure, Kind::Finished) + cells.count(measure, Kind::LowerBound)
            }),
            median: cells.median(&established),
        }
    }

    /// Number of handshakes that have ended.
    pub(crate) fn total(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// Number of handshakes that ended with this outcome.
    pub(crate) const fn count(&self, end: HandshakeEnd) -> u64 {
        self.ends[end as usize]
    }

    /// How those that failed have ended, and how many.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (HandshakeEnd, u64)> {
        let ends = HandshakeEnd::ALL.into_iter().zip(self.ends);
        ends.filter(|(end, count)| *count > 0 && end.is_failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Input,
        event::{
            ProcessKey,
            fixture::{comm, of_client},
        },
        stats::key::By,
    };
    use TcpState::{Close, Established, SynSent};

    #[test]
    fn a_destination_to_which_connects_failed_is_there_without_a_socket() {
        let mut engine = Engine::new(16);
        let mut ended = Collector::new(&Filter::default(), By::Endpoint, Nanos(0));
        let second = Nanos::from_secs;
        for (cookie, at, step) in [
            (1, second(1), (Close, SynSent)),
            (1, second(3), (SynSent, Close)),
            (2, second(4), (Close, SynSent)),
            (2, second(4).plus(Nanos::from_millis(5)), (SynSent, Established)),
            (2, second(5), (Established, Close)),
        ] {
            let event = of_client(ProcessKey::new(7, 1), comm("client"), cookie, at, step);
            engine.apply(Input::Events(&[event]));
        }
        engine.apply(Input::Settle(second(6)));
        ended.count(&engine);
        let rows = build(&engine, second(6), &Filter::default(), &ended, &HashSet::new());
        assert_eq!(rows.len(), 1);
        let handshakes = rows[0].handshakes;
        assert_eq!(rows[0].total(), 0);
        assert_eq!(handshakes.count(HandshakeEnd::Connected), 1);
        assert!(handshakes.failures().eq([(HandshakeEnd::Cancelled, 1)]));
        let median = handshakes.median.expect("one was established");
        assert!((5_000_000..5_050_000).contains(&median.0), "{median:?}");
        // Of which process or state it is, is known of its sockets alone.
        let of_pid = Filter {
            comms: vec!["client".to_owned()],
            ..Filter::default()
        };
        assert_eq!(build(&engine, second(6), &of_pid, &ended, &HashSet::new()), []);
    }

    #[test]
    fn the_oldest_of_those_that_wait_for_accept_is_shown() {
        let mut engine = Engine::new(16);
        let ended = Collector::new(&Filter::default(), By::Endpoint, Nanos(0));
        let second = Nanos::from_secs;
        for (cookie, at) in [(1, 1), (2, 3), (3, 4)] {
            let step = (SynSent, Established);
            let event = of_client(ProcessKey::new(7, 1), comm("x"), cookie, second(at), step);
            engine.apply(Input::Events(&[event]));
        }
        let waits = |unaccepted: &[u64]| {
            let unaccepted = unaccepted.iter().copied().collect();
            build(&engine, second(9), &Filter::default(), &ended, &unaccepted)[0].oldest_wait
        };
        assert_eq!(waits(&[2, 3]), Some(Age::Exact(second(6))));
        assert_eq!(waits(&[3]), Some(Age::Exact(second(5))));
        assert_eq!(waits(&[]), None);
    }
}
