//! What a session reports of itself: header, summary, counters, and what it could not see.

use super::Session;
use crate::{
    kernel::{clock, counters::Totals, hook::Feature},
    owner::schedule::Cost,
    run::{Failure, cost},
    stacks::book::Book,
    summary::{Dwells, Header, Summary},
    unseen::{Unseen, What},
};
use std::time::Duration;

impl Session {
    /// The stream's first line.
    pub(crate) fn header(&self) -> Header {
        Header::new(&self.live.kernel, self.live.anchor)
    }

    /// Both clocks at the start.
    pub(crate) const fn anchor(&self) -> clock::ClockPair {
        self.live.anchor
    }

    /// What the kernel side counted.
    pub(crate) fn totals(&self) -> Result<Totals, Failure> {
        Ok(self.live.totals()?)
    }

    /// What finding out who holds which socket has cost.
    pub(crate) const fn scan_cost(&self) -> Cost {
        self.upkeep.scans.cost
    }

    /// Losses seen so far.
    pub(crate) const fn lost(&self) -> u64 {
        self.losses.seen
    }

    /// Those of them that a later snapshot has made up for.
    pub(crate) const fn repaired(&self) -> u64 {
        self.losses.repaired
    }

    /// Time that the kernel has spent in our programs since they were loaded, if it counts that
    /// (`kernel.bpf_stats_enabled`); else `None`.
    pub(crate) fn kernel_time(&self) -> Option<Duration> {
        self.live.kernel.run_time()
    }

    /// What could not be seen: sockets from before, holders, events.
    pub(crate) fn unseen(&self) -> Vec<Unseen> {
        let mut list = self.untraced();
        list.extend(self.unseen.iter().chain(&self.unlisted).cloned());
        list
    }

    /// Events that no hook reports. Without the accept hook everything is traced, and each row says how its owner is
    /// known.
    pub(crate) fn untraced(&self) -> Vec<Unseen> {
        let mut list: Vec<Unseen> = self
            .header()
            .missing
            .iter()
            .filter(|missing| missing.feature != Feature::Accept.name())
            .map(|missing| format!("{} ({}): {}", missing.feature, missing.reason, missing.lost))
            .map(|text| Unseen::new(What::Events, text))
            .collect();
        if let Some(refusal) = &self.snapshots_refused {
            let text = format!(
                "snapshots ({}): existing sockets or their holders are unknown",
                refusal.cause()
            );
            list.push(Unseen::new(What::NetworkNamespaces, text));
        }
        list
    }

    /// The distinct stacks, and what is missing: a sentence each.
    pub(crate) fn take_book(&mut self) -> Result<Option<(Book, Vec<String>)>, Failure> {
        let lost = self.totals()?.lost_stacks;
        Ok(self.stacks.take().map(|recorder| {
            let limitations = recorder.limitations(lost);
            (recorder.book, limitations)
        }))
    }

    /// The stream's last line.
    pub(crate) fn summary(&self, printed: u64) -> Result<Summary, Failure> {
        let mut summary = Summary::new(
            clock::monotonic().since(self.started).0,
            self.live.records.read,
            self.live.records.unknown,
            printed,
            &self.engine.table.tally,
            &self.totals()?,
        );
        summary.usage = cost::used();
        summary.scans = self.upkeep.scans.cost;
        summary.given_up.clone_from(&self.watchdog.given_up);
        summary.dwells = Dwells::by_state(self.engine.shown());
        Ok(summary)
    }
}
