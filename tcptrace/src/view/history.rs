//! What one connection has gone through, step by step, whether it lives or has just ended.

use super::connections::{Identity, OwnerView};
use crate::{
    connection::lifetime::{Lifetime, Role},
    engine::Engine,
    event::{Age, EndReason, Nanos, TcpState},
};

/// A stay in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state.
    pub state: TcpState,
    /// When it was entered; as exact as the stays after it.
    pub entered: Nanos,
    /// How long it lasted, or has lasted so far.
    pub stay: Age,
}

/// One connection's time line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Which.
    pub identity: Identity,
    /// Which side this host is.
    pub role: Role,
    /// Who owns it.
    pub owner: Option<OwnerView>,
    /// From the first SYN until now, or until its end.
    pub life: Age,
    /// The stays, in order; that in the present state last, if it lives.
    pub steps: Vec<Step>,
    /// When it ended, if it has.
    pub ended: Option<Nanos>,
    /// Why it ended, where that is known.
    pub reason: Option<EndReason>,
    /// Bytes that the peer acknowledged, and that came from it in order; known once its socket has ended.
    pub bytes: (Option<u64>, Option<u64>),
}

/// The time line of a connection that lives; `None` where there is none. Stays that are over are known where the
/// table keeps whole lives.
#[must_use]
pub fn of_living(engine: &Engine, identity: &Identity, now: Nanos) -> Option<History> {
    let slot = engine
        .table
        .slot_of(identity.id, identity.netns, &identity.ends)?;
    let row = engine.table.row(slot)?;
    let found = Identity {
        id: row.id(),
        netns: row.netns,
        ends: row.ends,
    };
    if identity.id.cookie != 0 && !identity.is(&found) {
        return None;
    }
    let left = engine
        .table
        .lives
        .as_ref()
        .map(|lives| lives.so_far(slot))
        .unwrap_or_default();
    let mut stays: Vec<(TcpState, Age)> = in_order(&left);
    stays.push((row.life.state, row.life.since.age(now)));
    Some(History {
        identity: found,
        role: engine.table.role(row),
        owner: row.owner.and_then(|owner| OwnerView::of(engine, owner)),
        life: row.began.age(now),
        steps: steps(&stays, now),
        ended: None,
        reason: None,
        bytes: (None, None),
    })
}

/// The time line of one that has ended.
#[must_use]
pub fn of_ended(engine: &Engine, life: &Lifetime) -> History {
    History {
        identity: Identity {
            id: life.id,
            netns: life.netns,
            ends: life.ends,
        },
        role: life.role,
        owner: life.owner.and_then(|owner| OwnerView::of(engine, owner)),
        life: life.life,
        steps: steps(&in_order(&life.spans), life.ended),
        ended: Some(life.ended),
        reason: life.reason,
        bytes: (life.sent, life.received),
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
