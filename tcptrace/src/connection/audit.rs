//! Compares the table with the kernel's. Corrects nothing.

use super::{row::Connection, table::Table};
use crate::{
    event::{Endpoints, Event, EventData, Nanos, TcpState},
    filter::Filter,
    socket::{Row, SockKind, snapshot::Snapshot},
};
use hashbrown::HashSet;
use serde::Serialize;
use std::collections::BTreeMap;

/// How the two compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// When it was begun, `CLOCK_MONOTONIC` nanoseconds.
    #[serde(rename = "mono_ns")]
    pub started: Nanos,
    /// Sockets compared.
    pub compared: u64,
    /// Sockets that differ.
    pub differences: u64,
    /// The same by the kernel's state; CLOSE for those that it does not have.
    pub by_state: BTreeMap<TcpState, u64>,
    /// Sockets of the kernel that were not compared, because events about them came meanwhile.
    pub changing: u64,
    /// Sockets that the kernel has and the table does not, because it was full.
    pub evicted: u64,
    /// Network namespaces that could not be read, so that none of their sockets was compared.
    pub unread_namespaces: usize,
    /// Inode numbers of the network namespaces whose sockets were compared, whoever has them; all where there are none.
    pub netns: Vec<u32>,
}

impl Audit {
    /// Whose sockets were compared, where those are more than a filter lets pass.
    pub(crate) fn beyond(&self, filter: &Filter) -> Option<&'static str> {
        let by_netns = Filter {
            netns: self.netns.clone(),
            ..Filter::default()
        };
        if *filter == by_netns {
            None
        } else if self.netns.is_empty() {
            Some("of the host")
        } else {
            Some("of whole network namespaces")
        }
    }
}

/// What a socket is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Cookie(u64),
    Endpoints(u32, Endpoints),
}

impl Name {
    fn of_row(row: &Row) -> Self {
        if row.kind == SockKind::Request || row.sock.cookie == 0 {
            Self::Endpoints(row.netns, row.endpoints)
        } else {
            Self::Cookie(row.sock.cookie)
        }
    }

    fn of_connection(connection: &Connection) -> Self {
        match connection.id().cookie {
            0 => Self::Endpoints(connection.netns, connection.endpoints),
            cookie => Self::Cookie(cookie),
        }
    }
}

/// The sockets that events were about while the kernel's were read: what changes meanwhile cannot be compared.
#[derive(Debug, Default)]
pub(crate) struct Meanwhile(HashSet<Name>);

impl Meanwhile {
    /// Of these events.
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut names = HashSet::with_capacity(events.len());
        for event in events.iter().filter(|event| event.data != EventData::TaskRename) {
            // A request becomes a full socket, which has the same ends.
            names.insert(Name::Endpoints(event.netns, event.endpoints));
            if event.sock.cookie != 0 {
                names.insert(Name::Cookie(event.sock.cookie));
            }
        }
        Self(names)
    }

    fn has(&self, name: Name, netns: u32, endpoints: &Endpoints) -> bool {
        self.0.contains(&name) || self.0.contains(&Name::Endpoints(netns, *endpoints))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Comparison {
    compared: u64,
    changing: u64,
    evicted: u64,
    unread_namespaces: usize,
    started: Nanos,
    differences: Vec<(Name, TcpState)>,
}

impl Comparison {
    pub(crate) const fn has_differences(&self) -> bool {
        !self.differences.is_empty()
    }

    /// Keeps only the differences that the later comparison `again` confirms: others were in progress.
    pub(crate) fn confirm(&mut self, again: &Self) {
        let lasting: HashSet<Name> = again.differences.iter().map(|(name, _)| *name).collect();
        self.differences.retain(|(name, _)| lasting.contains(name));
    }

    /// The counts for outputs, without the differing rows.
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit {
            compared: self.compared,
            changing: self.changing,
            differences: self.differences.len() as u64,
            evicted: self.evicted,
            unread_namespaces: self.unread_namespaces,
            started: self.started,
            ..Audit::default()
        };
        for (_, kernel) in &self.differences {
            *audit.by_state.entry(*kernel).or_default() += 1;
        }
        audit
    }
}

/// Compares `table`, which has taken the events that came while the snapshot was read, with that snapshot. Sockets that
/// changed since it was begun are left out.
pub(crate) fn compare(table: &Table, snapshot: &Snapshot, meanwhile: &Meanwhile) -> Comparison {
    let mut comparison = Comparison {
        started: snapshot.started,
        unread_namespaces: snapshot.unread(),
        ..Comparison::default()
    };
    let mut found: HashSet<u32> = HashSet::with_capacity(snapshot.rows.len());
    let mut absent = Vec::new();
    for row in &snapshot.rows {
        let slot = table.find_row(row);
        found.extend(slot);
        let name = Name::of_row(row);
        if meanwhile.has(name, row.netns, &row.endpoints) {
            comparison.changing += 1;
            continue;
        }
        match slot.and_then(|slot| table.row(slot)) {
            None => absent.push((name, row.state)),
            Some(known) if is_quiet(known, snapshot.started) => {
                comparison.compared += 1;
                if known.state.tcp != row.state {
                    comparison.differences.push((name, row.state));
                }
            }
            Some(_) => comparison.changing += 1,
        }
    }
    // Which of them were given up because the table was full is not remembered.
    let evicted = usize::try_from(table.tally.evicted)
        .unwrap_or(usize::MAX)
        .min(absent.len());
    comparison.evicted = evicted as u64;
    comparison.compared += (absent.len() - evicted) as u64;
    comparison.differences.extend(absent.drain(evicted..));
    for (slot, known) in table.slots() {
        let name = Name::of_connection(known);
        if is_quiet(known, snapshot.started)
            && snapshot.covered.contains(&known.netns)
            && known.is_tcp()
            && !found.contains(&slot)
            && !meanwhile.has(name, known.netns, &known.endpoints)
        {
            comparison.compared += 1;
            comparison.differences.push((name, TcpState::Close));
        }
    }
    comparison
}

/// Whether nothing happened to it since, and no end of it waits for its explanation.
fn is_quiet(known: &Connection, started: Nanos) -> bool {
    known.state.since.time() < started && known.state.pending.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::workload::any_workload,
        engine::{Engine, Input},
        event::{Endpoints, SockRef},
    };
    use proptest::prelude::*;

    fn engine(events: &[Event], capacity: usize) -> Engine {
        let mut engine = Engine::new(capacity);
        engine.apply(Input::Events(events));
        engine
    }

    proptest! {
        /// A snapshot that was read at some moment, and the events that came since.
        #[test]
        fn what_changes_while_the_kernel_is_read_is_no_difference(
            workload in any_workload(),
            share in 0..100usize,
        ) {
            let events = workload.events();
            let before = events.len() * share / 100;
            let moment = events[..before].last().map_or(Nanos(0), |event| event.time);
            let before = events.partition_point(|event| event.time <= moment);
            let snapshot = workload.snapshot(moment);
            let mut engine = engine(&events[..before], 1_000);
            engine.apply(Input::Events(&events[before..]));
            let meanwhile = Meanwhile::of(&events[before..]);
            let comparison = compare(&engine.table, &snapshot, &meanwhile);
            let audit = comparison.audit();
            prop_assert_eq!(audit.differences, 0);
            prop_assert_eq!(audit.compared + audit.changing, snapshot.rows.len() as u64);
        }
    }

    #[test]
    fn a_comparison_of_more_than_what_is_shown_says_of_what() {
        let audit = |netns: &[u32]| Audit {
            netns: netns.into(),
            ..Audit::default()
        };
        let filter = |netns: &[u32], local_ports: &[u16]| Filter {
            netns: netns.into(),
            local_ports: local_ports.into(),
            ..Filter::default()
        };
        assert_eq!(audit(&[]).beyond(&filter(&[], &[])), None);
        assert_eq!(audit(&[5]).beyond(&filter(&[5], &[])), None);
        assert_eq!(audit(&[]).beyond(&filter(&[], &[80])), Some("of the host"));
        let whole = Some("of whole network namespaces");
        assert_eq!(audit(&[5]).beyond(&filter(&[5], &[80])), whole);
        // The live view's filter can be changed after the comparison.
        assert_eq!(audit(&[]).beyond(&filter(&[5], &[])), Some("of the host"));
    }

    #[test]
    fn what_was_evicted_is_no_difference_and_what_does_not_last_neither() {
        let name = |cookie| Name::Cookie(cookie);
        let found = |cookies: &[u64]| Comparison {
            compared: 10,
            differences: cookies
                .iter()
                .map(|cookie| (name(*cookie), TcpState::CloseWait))
                .collect(),
            ..Comparison::default()
        };
        let mut first = found(&[1, 2, 3]);
        first.confirm(&found(&[2, 4]));
        let audit = first.audit();
        assert_eq!((audit.compared, audit.differences), (10, 1));
        assert_eq!(audit.by_state[&TcpState::CloseWait], 1);

        let row = |cookie| {
            Row::bare(
                Nanos(5),
                SockRef::new(cookie, 0),
                Endpoints::default(),
                1,
                SockKind::Full,
                TcpState::Established,
            )
        };
        let snapshot = Snapshot {
            started: Nanos(4),
            rows: vec![row(1), row(2), row(3)],
            covered: HashSet::from([1]),
            ..Snapshot::default()
        };
        for (capacity, evicted, differences) in [(10, 0, 0), (1, 2, 0)] {
            let mut engine = engine(&[], capacity);
            engine.apply(Input::Snapshot(&snapshot, &[]));
            let again = Snapshot {
                started: Nanos(6),
                rows: snapshot.rows.clone(),
                covered: snapshot.covered.clone(),
                ..Snapshot::default()
            };
            let audit = compare(&engine.table, &again, &Meanwhile::default()).audit();
            assert_eq!((audit.evicted, audit.differences), (evicted, differences));
        }
    }
}
