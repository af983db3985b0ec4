//! What the kernel reports of a connection's socket before the connection ends: kept separately from the table's rows,
//! since only sockets that close have it.

use super::state::RESOLVE_WINDOW;
use crate::event::{EndReason, Event, EventData, Nanos, PathStats, ResetReason, TcpState};

/// The evidence of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EndEvidence {
    /// What the network did to the full socket until its CLOSE.
    pub(super) path: PathStats,
    /// When the latest reset was sent, and why.
    reset: Option<(Nanos, ResetReason)>,
}

impl EndEvidence {
    /// Why a reset was sent with an end at `at`: because of it, or before giving up or destroying the socket in the same
    /// call (`tcp_keepalive_timer`, `tcp_abort`).
    pub(super) fn reset_reason(&self, at: Nanos, reason: Option<EndReason>) -> Option<ResetReason> {
        let (sent, why) = self.reset?;
        let is_part_of_it = matches!(reason, Some(EndReason::Timeout | EndReason::Destroyed))
            && at.since(sent) <= RESOLVE_WINDOW;
        (reason == Some(EndReason::ResetSent) || is_part_of_it).then_some(why)
    }
}

/// The evidence of all rows by their slots; shorter than the table while no later one has any.
#[derive(Debug, Default)]
pub(super) struct EndEvidences(Vec<EndEvidence>);

impl EndEvidences {
    /// A row begins in `slot`.
    #[inline(always)]
    pub(super) fn begin(&mut self, slot: u32) {
        if let Some(evidence) = self.0.get_mut(slot as usize) {
            *evidence = EndEvidence::default();
        }
    }

    /// Keeps what the event shows of the row in `slot`.
    #[inline(always)]
    pub(super) fn note(&mut self, slot: u32, event: &Event) {
        match &event.data {
            EventData::State {
                new: TcpState::Close,
                old,
                path,
                ..
            } if *old != TcpState::Listen => self.entry(slot).path = *path,
            EventData::ResetSent(reason) => {
                self.entry(slot).reset = reason.map(|reason| (event.time, reason));
            }
            // No other event has any.
            _ => {}
        }
    }

    /// The evidence of the row in `slot`.
    pub(super) fn of(&self, slot: u32) -> EndEvidence {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    fn entry(&mut self, slot: u32) -> &mut EndEvidence {
        let slot = slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, EndEvidence::default());
        }
        &mut self.0[slot]
    }
}
