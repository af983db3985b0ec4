//! What `serve` counts of the changes that its filter accepts, beside the statistics: ends by reason, connects by
//! destination port, and what the processes of each name did. Bounded.

use super::keyed::Keyed;
use crate::{
    connection::{change::Change, handshake::HandshakeEnd},
    engine::Engine,
    event::{EndReason, TcpState},
    filter::{Filter, FilterInput},
    owner::processes::comm_text,
};

/// Outcomes of a `connect`.
pub(crate) const OUTCOMES: [HandshakeEnd; 6] = [
    HandshakeEnd::Connected,
    HandshakeEnd::Refused,
    HandshakeEnd::TimedOut,
    HandshakeEnd::Unreachable,
    HandshakeEnd::Cancelled,
    HandshakeEnd::NoPort,
];

/// Counters of the processes of one name, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Opened,
    Closed,
    TimeWait,
    Retransmitted,
}

impl Activity {
    pub(super) const COUNT: usize = 4;
}

/// The name of a process, in which a byte 0xff stands for what cannot be shown: names that are shown alike are equal. Zeros
/// where the owner is not known.
pub(super) type Name = [u8; 16];

fn name_of(comm: &[u8; 16]) -> Name {
    let mut name = [0; 16];
    let mut length = 0;
    for shown in comm_text(comm).chars() {
        if shown == char::REPLACEMENT_CHARACTER {
            name[length] = 0xff;
            length += 1;
        } else {
            length += shown.encode_utf8(&mut name[length..]).len();
        }
    }
    name
}

/// Everything that `serve` counts itself.
#[derive(Debug)]
pub(crate) struct Counts {
    filter: Filter,
    /// Connections that ended, by the index of the reason; the first have none.
    pub(super) ends: [u64; EndReason::COUNT + 1],
    /// TIME_WAITs that ended, likewise.
    pub(super) time_wait_ends: [u64; EndReason::COUNT + 1],
    pub(super) connects: Keyed<u16, { OUTCOMES.len() }>,
    pub(super) by_name: Keyed<Name, { Activity::COUNT }>,
}

impl Counts {
    /// Empty ones of the changes that `filter` accepts, which selects no states.
    pub(crate) fn new(filter: &Filter, max_series: usize) -> Self {
        let share = |series_of_each: usize| super::budget::part(max_series) / series_of_each;
        Self {
            filter: filter.clone(),
            ends: [0; EndReason::COUNT + 1],
            time_wait_ends: [0; EndReason::COUNT + 1],
            connects: Keyed::new(share(OUTCOMES.len())),
            by_name: Keyed::new(share(Activity::COUNT)),
        }
    }

    /// Counts the changes of the engine's current batch by the owners that the engine knows.
    pub(crate) fn count(&mut self, engine: &Engine) {
        for change in engine.batch() {
            let subject = FilterInput {
                endpoints: &change.endpoints,
                netns: change.netns,
                states: &[],
                owner: None,
            };
            if !self.filter.accepts_ends(&subject) {
                continue;
            }
            let Some(process) = engine.accepted_process(change.owner, change.id.cookie, &self.filter) else {
                continue;
            };
            let name = process.and_then(|id| engine.table.processes.get(id));
            self.count_change(change, name.map_or([0; 16], |process| name_of(&process.comm)));
        }
    }

    fn count_change(&mut self, change: &Change, name: Name) {
        if change.new == TcpState::Close && change.old != TcpState::Listen {
            self.ends[index_of(change.reason)] += 1;
            let retransmitted = change.path.retransmits_total.map_or(0, u64::from);
            self.by_name
                .add(name, Activity::Retransmitted as usize, retransmitted);
        }
        if change.old == TcpState::TimeWait {
            self.time_wait_ends[index_of(change.reason)] += 1;
        }
        if change.new == TcpState::Established {
            self.by_name.add(name, Activity::Opened as usize, 1);
        }
        if change.old == TcpState::Established {
            self.by_name.add(name, Activity::Closed as usize, 1);
        }
        if change.new == TcpState::TimeWait {
            self.by_name.add(name, Activity::TimeWait as usize, 1);
        }
        let outcome = HandshakeEnd::of(change).and_then(|end| OUTCOMES.iter().position(|of| *of == end));
        if let Some(outcome) = outcome {
            self.connects.add(change.endpoints.remote_port, outcome, 1);
        }
    }

    /// Keys that have left their series for want of room, by dimension.
    pub(super) const fn evicted(&self) -> [(&'static str, u64); 2] {
        [
            ("connects", self.connects.evicted()),
            ("process_counters", self.by_name.evicted()),
        ]
    }
}

fn index_of(reason: Option<EndReason>) -> usize {
    reason.map_or(0, |reason| reason.index() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fixture::comm;

    #[test]
    fn names_that_are_shown_alike_are_one() {
        let raw = |bytes: &[u8]| {
            let mut comm = [0; 16];
            comm[..bytes.len()].copy_from_slice(bytes);
            name_of(&comm)
        };
        assert_eq!(raw(b"nginx"), comm("nginx"));
        assert_eq!(raw("café".as_bytes()), comm("café"));
        for bytes in [&b"a\xff"[..], b"a\xfe", b"a\x07", "a\u{fffd}".as_bytes()] {
            assert_eq!(raw(bytes), raw(b"a\xff"), "{bytes:?}");
            assert_eq!(comm_text(&raw(bytes)), "a\u{fffd}");
        }
        assert_eq!(raw(&[0xff; 15])[..15], [0xff; 15]);
        assert_eq!(raw(b""), [0; 16]);
    }
}
