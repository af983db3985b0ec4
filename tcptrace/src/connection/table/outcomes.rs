//! What the machine decides about a row, carried out: the change that is reported, and what becomes of the row.

use super::Table;
use crate::{
    connection::{change::Change, lifetime::Role, machine::Outcome, since::Since, state::PendingEnd},
    event::{Age, Nanos, PathStats, TcpState},
};

impl Table {
    #[inline(always)]
    pub(super) fn carry_out(&mut self, slot: u32, outcome: Outcome) {
        match outcome {
            Outcome::Same => {}
            Outcome::Moved { at, old, new, dwell } => {
                let begins = matches!(old, TcpState::Close | TcpState::Listen);
                if begins {
                    let row = &mut self.rows[slot];
                    row.began = Since::at(at);
                    row.role = Some(if new == TcpState::SynSent {
                        Role::Client
                    } else {
                        Role::Server
                    });
                }
                if new == TcpState::Listen {
                    self.listeners.insert(slot, &self.rows[slot]);
                }
                let mut change = self.change(slot, at, old, new, (!begins).then_some(dwell));
                change.by_syn_cookie = (old, new) == (TcpState::Listen, TcpState::Established)
                    && !self.blindspots.requests
                    && !self.has_losses();
                self.report(slot, &change);
            }
            Outcome::Impossible { at, old, new } => {
                self.tally.impossible += 1;
                if new == TcpState::Listen {
                    self.listeners.insert(slot, &self.rows[slot]);
                }
                let change = self.change(slot, at, old, new, Some(Age::AtLeast(Nanos(0))));
                self.report(slot, &change);
            }
            Outcome::Pending => {
                let row = &mut self.rows[slot];
                if let Some(held) = row.state.pending {
                    self.pending.push_back((held.at(), slot, row.key));
                    if let PendingEnd::TimerCancelled { .. } = held {
                        self.note_cancelled(slot);
                    }
                }
            }
            Outcome::Ended {
                at,
                old,
                dwell,
                reason,
                before,
            } => {
                if let Some(before) = before {
                    let change = self.change(slot, at, before, old, Some(Age::AtLeast(Nanos(0))));
                    self.report(slot, &change);
                }
                let mut change = self.change(slot, at, old, TcpState::Close, Some(dwell));
                change.reason = reason;
                let evidence = self.evidence.of(slot);
                change.path = evidence.path();
                change.reset_reason = evidence.reset_reason(at, reason);
                self.report(slot, &change);
                // It may be held for as long as its process likes, and `ss` does not show it.
                self.wants_scan |= self.rows[slot].may_be_held();
                self.remember_for_reopening(slot);
                self.remove(slot);
            }
        }
    }

    fn remember_for_reopening(&mut self, slot: u32) {
        let row = &self.rows[slot];
        let id = row.id();
        if row.state.is_orphan || row.state.is_timewait || id.cookie == 0 {
            return;
        }
        self.reopenable.remember(id);
    }

    #[inline(always)]
    pub(super) fn change(
        &self,
        slot: u32,
        time: Nanos,
        old: TcpState,
        new: TcpState,
        dwell: Option<Age>,
    ) -> Change {
        let row = &self.rows[slot];
        Change {
            time,
            id: row.id(),
            endpoints: row.endpoints,
            netns: row.netns,
            protocol: row.protocol,
            role: self.role(row),
            began: self.losses.as_seen(row.began),
            old,
            new,
            dwell,
            reason: None,
            reset_reason: None,
            path: PathStats::default(),
            owner: row.owner,
            by_syn_cookie: false,
            by_fast_open: false,
            is_kernel_socket: row.is_kernel_socket,
        }
    }

    #[inline(always)]
    pub(super) fn report(&mut self, slot: u32, change: &Change) {
        self.tally.changes += 1;
        if self.lifetimes.is_some() {
            self.note_lifetime(slot, *change);
        }
        self.changes.push(*change);
    }

    #[cold]
    fn note_lifetime(&mut self, slot: u32, change: Change) {
        let Some(lifetimes) = &mut self.lifetimes else {
            return;
        };
        lifetimes.pass(slot, &change);
        if change.new == TcpState::Close {
            lifetimes.end(slot, &change);
        }
    }
}
