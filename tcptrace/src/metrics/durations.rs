//! Families of transitions and of durations that have ended, from the engine's statistics.

use super::{
    Family, Label, Value,
    catalogue::{
        CLOSED, CONNECTION_DURATION, CONNECTS, ENDS, HANDSHAKE_DURATION, OPENED, PARTIAL_DURATIONS,
        RETRANSMITTED, STATE_DURATION, TIME_WAIT_ENDS, TIME_WAITS, TRANSITIONS,
    },
    counts::{Activity, Counts, OUTCOMES},
    distribution::Distribution,
};
use crate::{
    connection::handshake::HandshakeEnd,
    event::{EndReason, Nanos, TcpState},
    owner::processes::comm_text,
    stats::{
        Stats,
        bins::Bins,
        measure::{Kind, Measure},
    },
};

/// What keys without series of their own are counted under.
pub(super) const OTHER: &str = "other";

/// What stands for a name that is not known.
pub(super) const UNKNOWN: &str = "(unknown)";

/// The transitions of RFC 9293 and of Linux. Each is there from the start, with 0: a server takes the first value of a series
/// for what was there before. Others are there once they have been seen.
const USUAL: [(TcpState, TcpState); 26] = {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
        TimeWait,
    };
    [
        (Close, Listen),
        (Close, SynSent),
        (Listen, Close),
        (Listen, SynRecv),
        (SynSent, SynRecv),
        (SynSent, Established),
        (SynSent, Close),
        (SynRecv, Established),
        (SynRecv, FinWait1),
        (SynRecv, CloseWait),
        (SynRecv, Close),
        (Established, FinWait1),
        (Established, CloseWait),
        (Established, Close),
        (FinWait1, FinWait2),
        (FinWait1, Closing),
        (FinWait1, TimeWait),
        (FinWait1, Close),
        (FinWait2, TimeWait),
        (FinWait2, Close),
        (Closing, TimeWait),
        (Closing, Close),
        (CloseWait, LastAck),
        (CloseWait, Close),
        (LastAck, Close),
        (TimeWait, Close),
    ]
};

/// The transitions and durations of `stats`.
pub(super) fn of_stats(stats: &Stats) -> Vec<Family> {
    let mut transitions = Family::new(&TRANSITIONS);
    for (from, row) in TcpState::ALL.into_iter().zip(&stats.matrix) {
        for (to, count) in TcpState::ALL.into_iter().zip(row) {
            if *count > 0 || USUAL.contains(&(from, to)) {
                transitions.add([from.name().into(), to.name().into()], *count);
            }
        }
    }
    let bins = stats.totals.cells();
    let of = |measure: Measure| distribution(&bins, measure);
    let mut dwells = Family::new(&STATE_DURATION);
    let mut partial = Family::new(&PARTIAL_DURATIONS);
    for state in TcpState::ALL
        .into_iter()
        .filter(|state| *state != TcpState::Close)
    {
        let measure = Measure::Dwell(state);
        dwells.add([state.name().into()], of(measure));
        partial.add([state.name().into()], bins.count(measure, Kind::LowerBound));
    }
    let mut handshakes = Family::new(&HANDSHAKE_DURATION);
    for end in HandshakeEnd::ALL {
        let side = if OUTCOMES.contains(&end) {
            "client"
        } else {
            "server"
        };
        handshakes.add([side.into(), end.name().into()], of(Measure::Handshake(end)));
    }
    vec![
        transitions,
        dwells,
        partial,
        Family::single(&CONNECTION_DURATION, of(Measure::Lifetime)),
        handshakes,
    ]
}

fn distribution(bins: &Bins, measure: Measure) -> Value {
    Value::Distribution(Distribution::of(bins.buckets(measure, Kind::Finished)))
}

/// What `serve` has counted itself; published with that.
pub(super) fn of_counts(counts: &mut Counts, now: Nanos) -> Vec<Family> {
    let (ports, rest) = counts.connects.publish(now);
    let mut connects = Family::new(&CONNECTS);
    let ports = ports
        .into_iter()
        .map(|(port, counts)| (Label::from(port.to_string()), counts));
    for (port, counts) in ports.chain([(OTHER.into(), rest)]) {
        for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
            connects.add([port.clone(), outcome.name().into()], count);
        }
    }
    let mut ends = Family::new(&ENDS);
    let mut time_wait_ends = Family::new(&TIME_WAIT_ENDS);
    let reasons = [None].into_iter().chain(EndReason::ALL.map(Some));
    for ((reason, count), of_time_wait) in reasons.zip(counts.ends).zip(counts.time_wait_ends) {
        let name = reason.map_or("none", EndReason::name);
        ends.add([name.into()], count);
        time_wait_ends.add([name.into()], of_time_wait);
    }
    let mut families = vec![connects, ends, time_wait_ends];
    families.extend(of_names(counts, now));
    families
}

fn of_names(counts: &mut Counts, now: Nanos) -> [Family; Activity::COUNT] {
    let (names, rest) = counts.by_name.publish(now);
    let names = names
        .into_iter()
        .map(|(name, counts)| (process_label(&name), counts));
    let mut families = [&OPENED, &CLOSED, &TIME_WAITS, &RETRANSMITTED].map(Family::new);
    for (name, counts) in names.chain([(OTHER.into(), rest)]) {
        for (family, count) in families.iter_mut().zip(counts) {
            family.add([name.clone()], count);
        }
    }
    families
}

/// The name of a process as a label; `(unknown)` where the owner is not known.
pub(super) fn process_label(comm: &[u8; 16]) -> Label {
    if comm[0] == 0 {
        return UNKNOWN.into();
    }
    name_label(&comm_text(comm))
}

/// The name of a process that is known. Names are the processes' to choose: one that has another meaning here is marked, by
/// more bytes than a name can have.
pub(super) fn name_label(name: &str) -> Label {
    match name {
        OTHER | UNKNOWN => format!("{name} (name of a process)").into(),
        name => name.to_owned().into(),
    }
}
