//! What the kernel reports of a connection's socket before the connection ends: kept separately from the table's rows,
//! since only sockets that close have it.

use crate::event::{EventData, PathStats, ResetReason, TcpState};

/// The evidence of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EndEvidence {
    /// What the network did to the full socket until its CLOSE.
    pub(super) path: PathStats,
    /// Why the latest reset was sent.
    pub(super) reset_reason: Option<ResetReason>,
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
    pub(super) fn note(&mut self, slot: u32, data: &EventData) {
        match data {
            EventData::State {
                new: TcpState::Close,
                old,
                path,
                ..
            } if *old != TcpState::Listen => self.entry(slot).path = *path,
            EventData::ResetSent(reason) => self.entry(slot).reset_reason = *reason,
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
