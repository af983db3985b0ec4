//! The states of one connection over time, whether it exists or has recently ended.

use super::connections::{Identity, OwnerView, sharers};
use crate::{
    connection::lifetime::{Lifetime, Role},
    engine::Engine,
    event::{Age, EndReason, Nanos, PathStats, TcpState},
};

/// A stay in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) state: TcpState,
    /// When it was entered; as exact as the stays after it.
    pub(crate) entered: Nanos,
    /// How long it lasted, or has lasted so far.
    pub(crate) stay: Age,
}

/// One connection's time line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) identity: Identity,
    pub(crate) role: Role,
    pub(crate) owner: Option<OwnerView>,
    /// How many other processes have it open too.
    pub(crate) sharers: u32,
    /// From the first SYN until now, or until its end.
    pub(crate) total: Age,
    /// The stays, in order; that in the present state last, if it lives.
    pub(crate) steps: Vec<Step>,
    /// When it ended, if it has.
    pub(crate) ended: Option<Nanos>,
    /// Why it ended, where that is known.
    pub(crate) reason: Option<EndReason>,
    /// Why this host sent a RST at its end, as its kernel calls it.
    pub(crate) reset_reason: Option<Box<str>>,
    /// What the network did to it; known once its socket has ended.
    pub(crate) path: PathStats,
    /// Bytes that the peer acknowledged, and that came from it in order; known once its socket has ended.
    pub(crate) bytes: (Option<u64>, Option<u64>),
}

/// The time line of a connection that lives; `None` where there is none. Stays that are over are known where the
/// table keeps whole lives.
pub(crate) fn of_living(engine: &Engine, identity: &Identity, now: Nanos) -> Option<History> {
    let slot = engine
        .table
        .slot_of(identity.id, identity.netns, &identity.endpoints)?;
    let row = engine.table.row(slot)?;
    let found = Identity {
        id: row.id(),
        netns: row.netns,
        endpoints: row.endpoints,
    };
    if identity.id.cookie != 0 && !identity.is(&found) {
        return None;
    }
    let left = engine
        .table
        .lifetimes
        .as_ref()
        .map(|lifetimes| lifetimes.so_far(slot))
        .unwrap_or_default();
    let mut stays: Vec<(TcpState, Age)> = in_order(&left);
    stays.push((row.state.tcp, row.state.since.age(now)));
    Some(History {
        identity: found,
        role: engine.table.role(row),
        owner: row.owner.and_then(|owner| OwnerView::of(engine, owner)),
        sharers: sharers(engine, row.id().cookie),
        total: row.began.age(now),
        steps: steps(&stays, now),
        ended: None,
        reason: None,
        reset_reason: None,
        path: PathStats::default(),
        bytes: (None, None),
    })
}

/// The time line of one that has ended.
pub(crate) fn of_ended(engine: &Engine, lifetime: &Lifetime) -> History {
    History {
        identity: Identity {
            id: lifetime.id,
            netns: lifetime.netns,
            endpoints: lifetime.endpoints,
        },
        role: lifetime.role,
        owner: lifetime.owner.and_then(|owner| OwnerView::of(engine, owner)),
        sharers: 0,
        total: lifetime.total,
        steps: steps(&in_order(&lifetime.spans), lifetime.ended),
        ended: Some(lifetime.ended),
        reason: lifetime.reason,
        reset_reason: engine.reset_reason(lifetime.reset_reason).map(Into::into),
        path: lifetime.path,
        bytes: (lifetime.sent, lifetime.received),
    }
}

fn in_order(spans: &[Option<Age>; TcpState::COUNT]) -> Vec<(TcpState, Age)> {
    TcpState::IN_ORDER
        .into_iter()
        .filter_map(|state| Some((state, spans[state.index()]?)))
        .collect()
}

/// When each was entered follows from the end backwards.
fn steps(stays: &[(TcpState, Age)], end: Nanos) -> Vec<Step> {
    let mut at = end;
    let mut steps: Vec<Step> = stays
        .iter()
        .rev()
        .map(|(state, stay)| {
            at = Nanos(at.0.saturating_sub(stay.span().0));
            Step {
                state: *state,
                entered: at,
                stay: *stay,
            }
        })
        .collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stay_begins_where_the_one_before_ends() {
        let stays = [
            (TcpState::SynRecv, Age::Exact(Nanos(10))),
            (TcpState::Established, Age::Exact(Nanos(200))),
            (TcpState::CloseWait, Age::Exact(Nanos(5))),
        ];
        let entered: Vec<u64> = steps(&stays, Nanos(1_000))
            .iter()
            .map(|step| step.entered.0)
            .collect();
        assert_eq!(entered, [785, 795, 995]);
    }
}
