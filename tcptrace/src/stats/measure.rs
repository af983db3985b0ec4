//! What is measured: dwell times and lifetimes, and whether start and end were seen. Splits a change into durations.

use crate::{
    connection::{change::Change, handshake::HandshakeEnd, since::Since},
    event::{Age, EndReason, Nanos, TcpState},
};
use serde::{Serialize, Serializer};

/// The quantity whose durations a histogram counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// The stay in one state.
    Dwell(TcpState),
    /// A connection, from its first SYN to its end, TIME_WAIT included.
    Lifetime,
    /// A handshake that ended so: its stay in SYN_SENT or SYN_RECV, which [`Self::Dwell`] counts too.
    Handshake(HandshakeEnd),
}

impl Measure {
    pub(crate) const COUNT: usize = TcpState::COUNT + 1 + HandshakeEnd::COUNT;

    /// Every one, dwells in the kernel's order of states first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let dwells = TcpState::ALL.into_iter().map(Self::Dwell);
        let handshakes = HandshakeEnd::ALL.into_iter().map(Self::Handshake);
        dwells.chain([Self::Lifetime]).chain(handshakes)
    }

    /// Its place in [`Self::all`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Dwell(state) => state.index(),
            Self::Lifetime => TcpState::COUNT,
            Self::Handshake(end) => TcpState::COUNT + 1 + end as usize,
        }
    }

    /// The state's name, `CONNECTION`, or the end of a handshake.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dwell(state) => state.name(),
            Self::Lifetime => "CONNECTION",
            Self::Handshake(end) => end.name(),
        }
    }

    /// The one of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|measure| measure.name() == name)
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How much of a duration was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is over, and both ends were seen.
    Finished,
    /// Ended, started before the tracer or while events were lost: a lower bound.
    LowerBound,
    /// Open, start seen: its age so far.
    Open,
    /// Open, started before the tracer: a lower bound of its age.
    OpenLowerBound,
    /// How old something was when the tracer began, where its age is known all the same; counted once more among
    /// [`Self::Finished`] or [`Self::Open`]. The survival curve needs it.
    LateEntry,
}

impl Kind {
    pub(crate) const COUNT: usize = 5;

    /// Every kind, in the order of their indices.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Finished,
        Self::LowerBound,
        Self::Open,
        Self::OpenLowerBound,
        Self::LateEntry,
    ];

    /// The word in tags; none for what a plain tag means.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Finished => None,
            Self::LowerBound => Some("lower-bound"),
            Self::Open => Some("open"),
            Self::OpenLowerBound => Some("open-lower-bound"),
            Self::LateEntry => Some("late-entry"),
        }
    }
}

/// Tells every duration that a change has ended. `watched_from` is when the tracer began.
#[inline(always)]
pub(crate) fn ended_by(change: &Change, watched_from: Nanos, mut tell: impl FnMut(Measure, Kind, Nanos)) {
    let Some(dwell) = change.dwell else { return };
    let measure = Measure::Dwell(change.old);
    let begin = change.time.since(dwell.span());
    tell_one(measure, dwell, begin, watched_from, &mut tell, false);
    if let Some(end) = HandshakeEnd::of(change) {
        let measure = Measure::Handshake(end);
        tell_one(measure, dwell, begin, watched_from, &mut tell, false);
    }
    if change.new != TcpState::Close || change.old == TcpState::Listen {
        return;
    }
    let lived = if change.reason == Some(EndReason::Unseen) {
        // When it ended was not seen: it may have been at once.
        Age::AtLeast(Nanos(0))
    } else {
        change.began.age(change.time)
    };
    tell_one(
        Measure::Lifetime,
        lived,
        change.began.time(),
        watched_from,
        &mut tell,
        false,
    );
}

/// Tells the ages so far, at `now`, of one connection that is in `state`, a listener's too.
pub(crate) fn open_at(
    now: Nanos,
    state: TcpState,
    since: Since,
    began: Since,
    watched_from: Nanos,
    mut tell: impl FnMut(Measure, Kind, Nanos),
) {
    if state != TcpState::Close {
        let measure = Measure::Dwell(state);
        tell_one(
            measure,
            since.age(now),
            since.time(),
            watched_from,
            &mut tell,
            true,
        );
    }
    if state != TcpState::Listen {
        let age = began.age(now);
        tell_one(
            Measure::Lifetime,
            age,
            began.time(),
            watched_from,
            &mut tell,
            true,
        );
    }
}

#[inline(always)]
fn tell_one(
    measure: Measure,
    age: Age,
    begin: Nanos,
    watched_from: Nanos,
    tell: &mut impl FnMut(Measure, Kind, Nanos),
    is_open: bool,
) {
    let kind = match (age, is_open) {
        (Age::Exact(_), false) => Kind::Finished,
        (Age::AtLeast(_), false) => Kind::LowerBound,
        (Age::Exact(_), true) => Kind::Open,
        (Age::AtLeast(_), true) => Kind::OpenLowerBound,
    };
    tell(measure, kind, age.span());
    if age.is_exact() && begin < watched_from {
        tell(measure, Kind::LateEntry, watched_from.since(begin));
    }
}
