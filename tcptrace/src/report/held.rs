//! The states that connections passed through, of those that were held longest. Bounded: of connections beyond the limit
//! only the present state is known.

use crate::{
    connection::{change::Change, row::Connection, since::Since},
    event::{ConnectionId, Endpoints, Nanos, ProcessKey, TcpState},
};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// Connections whose states are remembered while they live.
const MOST_LIVE: usize = 65_536;

/// The states of a connection that are remembered; a ninth replaces the last one.
const STEPS: usize = 8;

/// A connection and its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    pub(crate) id: ConnectionId,
    pub(crate) netns: u32,
    pub(crate) endpoints: Endpoints,
    /// Whose it is, as far as known.
    pub(crate) owner: Option<ProcessKey>,
    /// When it began: the first SYN, or when it was first seen.
    pub(crate) began: Since,
    /// When it ended; `None` if it is still there.
    pub(crate) ended: Option<Nanos>,
    steps: [(Nanos, TcpState); STEPS],
    len: usize,
}

impl Timeline {
    fn new(
        id: ConnectionId,
        netns: u32,
        endpoints: Endpoints,
        began: Since,
        first: (Nanos, TcpState),
    ) -> Self {
        Self {
            id,
            netns,
            endpoints,
            owner: None,
            began,
            ended: None,
            steps: [first; STEPS],
            len: 1,
        }
    }

    /// One of which only the present is known.
    pub(crate) fn of_row(row: &Connection) -> Self {
        let first = (row.state.since.time(), row.state.tcp);
        Self::new(row.id(), row.netns, row.endpoints, row.began, first)
    }

    /// A connection of which this change is the first that is known.
    fn of_change(change: &Change) -> Self {
        let begin = change.dwell.map(|dwell| change.time.since(dwell.span()));
        let first = match begin {
            Some(time) => (time, change.old),
            None => (change.time, change.new),
        };
        let mut timeline = Self::new(change.id, change.netns, change.endpoints, change.began, first);
        if begin.is_some() {
            timeline.push(change);
        }
        timeline
    }

    fn push(&mut self, change: &Change) {
        self.endpoints = change.endpoints;
        self.began = change.began;
        if change.new == TcpState::Close {
            self.ended = Some(change.time);
            return;
        }
        self.len = (self.len + 1).min(STEPS);
        self.steps[self.len - 1] = (change.time, change.new);
    }

    pub(super) const fn of_owner(mut self, owner: Option<ProcessKey>) -> Self {
        self.owner = owner;
        self
    }

    /// Its states, each with its beginning and its end; what goes on ends at `now`.
    pub(crate) fn dwells(&self, now: Nanos) -> impl Iterator<Item = (TcpState, Nanos, Nanos)> {
        let end = self.ended.unwrap_or(now);
        let steps = &self.steps[..self.len];
        let ends = steps.iter().skip(1).map(|(time, _)| *time).chain([end]);
        steps
            .iter()
            .zip(ends)
            .map(|((begin, state), end)| (*state, *begin, end))
    }

    /// The time from its beginning to its end, or to `now`.
    pub(crate) fn length(&self, now: Nanos) -> Nanos {
        self.ended.unwrap_or(now).since(self.began.time())
    }

    /// Orders connections by how long they were opening or closing, longest first, and equal ones by how long they lasted.
    /// TIME_WAIT is not counted as closing, since no process holds it.
    fn rank(&self, now: Nanos) -> (Reverse<Nanos>, Reverse<Nanos>, ConnectionKey) {
        let closing = self.dwells(now).filter(|(state, ..)| {
            !matches!(
                state,
                TcpState::Established | TcpState::Listen | TcpState::TimeWait
            )
        });
        let half_closed = closing.map(|(_, begin, end)| end.since(begin).0).sum();
        let key = (self.id.cookie, self.id.incarnation);
        (Reverse(Nanos(half_closed)), Reverse(self.length(now)), key)
    }
}

/// Orders connections that are equal otherwise.
type ConnectionKey = (u64, u32);

/// The timelines of live connections.
#[derive(Debug, Default)]
pub(crate) struct Timelines(HashMap<ConnectionId, Timeline>);

impl Timelines {
    /// Adds a change to the states of its connection, and returns these if it ends the connection. Listeners and connections
    /// without a cookie are ignored.
    pub(crate) fn count(&mut self, change: &Change) -> Option<Timeline> {
        let is_end = change.new == TcpState::Close;
        let is_listener =
            change.old == TcpState::Listen && change.dwell.is_some() || change.new == TcpState::Listen;
        if is_listener || change.id.cookie == 0 {
            return None;
        }
        let known = if is_end {
            self.0.remove(&change.id)
        } else {
            self.0.get(&change.id).copied()
        };
        let timeline = match known {
            Some(mut timeline) => {
                timeline.push(change);
                timeline
            }
            None => Timeline::of_change(change),
        };
        if is_end {
            return Some(timeline);
        }
        if known.is_some() || self.0.len() < MOST_LIVE {
            self.0.insert(change.id, timeline);
        }
        None
    }

    /// The timeline of a connection that is in the table.
    pub(crate) fn of(&self, row: &Connection) -> Timeline {
        let known = self.0.get(&row.id()).copied();
        known.unwrap_or_else(|| Timeline::of_row(row))
    }
}

/// The longest held of some connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Longest(Vec<Timeline>);

impl Longest {
    /// How many are kept.
    pub(crate) const MOST_KEPT: usize = 16;

    /// Adds one; `now` is when it ended, or the end of everything.
    pub(crate) fn push(&mut self, timeline: Timeline, now: Nanos) {
        let rank = timeline.rank(now);
        let at = self.0.partition_point(|other| other.rank(now) < rank);
        if at < Self::MOST_KEPT {
            self.0.insert(at, timeline);
            self.0.truncate(Self::MOST_KEPT);
        }
    }

    pub(crate) fn add(&mut self, other: &Self, now: Nanos) {
        for timeline in &other.0 {
            self.push(*timeline, now);
        }
    }

    /// Those that are kept, the longest held first.
    pub(crate) fn timelines(&self) -> &[Timeline] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::change::fixture::change_of,
        event::{Age, fixture::endpoints},
    };
    use TcpState::{Close, CloseWait, Established, SynSent};

    fn change(cookie: u64, time: u64, old: TcpState, new: TcpState, dwell: Option<u64>) -> Change {
        Change {
            time: Nanos(time),
            id: ConnectionId::first(cookie),
            began: Since::at(Nanos(10)),
            old,
            new,
            dwell: dwell.map(|ns| Age::Exact(Nanos(ns))),
            ..change_of(endpoints("10.0.0.1:1", "10.0.0.2:2"), Age::Exact(Nanos(0)))
        }
    }

    #[test]
    fn a_path_has_every_state_until_its_end() {
        let mut timelines = Timelines::default();
        assert_eq!(timelines.count(&change(1, 10, Close, SynSent, None)), None);
        assert_eq!(
            timelines.count(&change(1, 12, SynSent, Established, Some(2))),
            None
        );
        assert_eq!(
            timelines.count(&change(1, 20, Established, CloseWait, Some(8))),
            None
        );
        let timeline = timelines
            .count(&change(1, 90, CloseWait, Close, Some(70)))
            .expect("it ends");
        let dwells: Vec<_> = timeline.dwells(Nanos(1_000)).collect();
        let expected = [
            (SynSent, Nanos(10), Nanos(12)),
            (Established, Nanos(12), Nanos(20)),
            (CloseWait, Nanos(20), Nanos(90)),
        ];
        assert_eq!(dwells, expected);
        assert_eq!(timeline.length(Nanos(1_000)), Nanos(80));
        // Of one that was there before the first change is known.
        let late = timelines.count(&change(2, 90, CloseWait, Close, Some(70)));
        let dwells: Vec<_> = late.expect("it ends").dwells(Nanos(1_000)).collect();
        assert_eq!(dwells, [(CloseWait, Nanos(20), Nanos(90))]);
    }

    #[test]
    fn what_is_half_closed_for_long_comes_before_what_is_merely_old() {
        let mut timelines = Timelines::default();
        let mut longest = Longest::default();
        for cookie in 1..=40 {
            let end = 100 + cookie;
            let old = if cookie > 20 { CloseWait } else { Established };
            let ended = timelines.count(&change(cookie, end, old, Close, Some(cookie)));
            longest.push(ended.expect("it ends"), Nanos(end));
        }
        let cookies: Vec<u64> = longest
            .timelines()
            .iter()
            .map(|timeline| timeline.id.cookie)
            .collect();
        let expected: Vec<u64> = (25..=40).rev().collect();
        assert_eq!(cookies, expected);
    }
}
