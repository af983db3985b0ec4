//! What the kernel reports of a connection's socket before the connection ends: kept separately from the table's rows,
//! which have no room for it, and touched only when a socket closes, is reset, or its connection ends.

use super::state::{RESOLVE_WINDOW, ticks};
use crate::event::{EndReason, Event, EventData, Nanos, PathStats, ResetReason, TcpState};
use std::{hint::black_box, num::NonZeroU32};

/// The evidence of one row. Four share a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EndEvidence {
    retransmits: u32,
    srtt: Option<NonZeroU32>,
    /// When the latest reset was sent, in [`ticks`].
    reset_at: u32,
    /// The kernel's reason for that reset.
    reset_reason: Option<ResetReason>,
    knows_retransmits: bool,
}

const _: () = assert!(size_of::<EndEvidence>() == 16);

impl EndEvidence {
    /// What the network did to the full socket until its CLOSE.
    pub(super) fn path(&self) -> PathStats {
        PathStats {
            retransmits_total: self.knows_retransmits.then_some(self.retransmits),
            srtt: self.srtt,
        }
    }

    /// Why a reset was sent with an end at `at`: because of it, or before giving up or destroying the socket in the same
    /// call (`tcp_keepalive_timer`, `tcp_abort`).
    pub(super) fn reset_reason(&self, at: Nanos, reason: Option<EndReason>) -> Option<ResetReason> {
        let is_part_of_it = || {
            matches!(reason, Some(EndReason::Timeout | EndReason::Destroyed))
                && ticks(at).wrapping_sub(self.reset_at) <= ticks(RESOLVE_WINDOW)
        };
        self.reset_reason
            .filter(|_| reason == Some(EndReason::ResetSent) || is_part_of_it())
    }
}

/// The evidence of all rows by their slots; shorter than the table while no later one has any.
#[derive(Debug, Default)]
pub(super) struct EndEvidences(Vec<EndEvidence>);

impl EndEvidences {
    /// Keeps what the event shows of the row in `slot`.
    #[inline(always)]
    pub(super) fn note(&mut self, slot: u32, event: &Event) {
        match &event.data {
            EventData::State {
                new: TcpState::Close,
                old,
                path,
                ..
            } if *old != TcpState::Listen => {
                let entry = self.entry(slot);
                entry.retransmits = path.retransmits_total.unwrap_or_default();
                entry.knows_retransmits = path.retransmits_total.is_some();
                entry.srtt = path.srtt;
            }
            EventData::ResetSent(reason) => {
                let entry = self.entry(slot);
                entry.reset_at = ticks(event.time);
                entry.reset_reason = *reason;
            }
            // No other event has any.
            _ => {}
        }
    }

    /// The evidence of the row in `slot`.
    #[inline]
    pub(super) fn of(&self, slot: u32) -> EndEvidence {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    /// The row in `slot` has ended.
    #[inline]
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(evidence) = self.0.get_mut(slot as usize) {
            *evidence = EndEvidence::default();
        }
    }

    /// Loads the evidence of a row that events are about to be of: those that close it do not wait for it then.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        black_box(self.0.get(slot as usize).map(|evidence| evidence.reset_at));
    }

    fn entry(&mut self, slot: u32) -> &mut EndEvidence {
        let slot = slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, EndEvidence::default());
        }
        &mut self.0[slot]
    }
}
