//! Which events were lost that no snapshot has made up for yet.

use super::since::Since;
use crate::event::{Event, Nanos};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    counter: u32,
    until: Option<Nanos>,
}

impl Losses {
    /// Before the first event of a part of a run, in which the kernel had counted so many by then.
    pub(super) const fn after(counter: u32) -> Self {
        Self { counter, until: None }
    }

    /// The kernel's count in the latest event.
    pub(super) const fn counter(self) -> u32 {
        self.counter
    }

    /// Notes what the event says of those before it.
    #[inline(always)]
    pub(super) fn count(&mut self, event: &Event) {
        if event.lost != self.counter {
            self.counter = event.lost;
            self.note(event.time);
        }
    }

    /// Notes that events from before `until` were lost.
    pub(super) fn note(&mut self, until: Nanos) {
        self.until = self.until.max(Some(until));
    }

    /// Forgets those from before `started`. Returns until when they were.
    pub(super) fn take_before(&mut self, started: Nanos) -> Option<Nanos> {
        self.until.take_if(|until| *until < started)
    }

    /// Events from before this time were lost.
    pub(super) const fn until(self) -> Option<Nanos> {
        self.until
    }

    /// When something began, as far as losses leave that certain.
    pub(super) fn as_seen(self, since: Since) -> Since {
        self.until.map_or(since, |until| since.unless_lost(until))
    }
}
