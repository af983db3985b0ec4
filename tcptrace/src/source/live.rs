//! The running kernel as a source of events. The only place that reads the ring buffer.

use crate::{
    decode,
    event::Event,
    kernel::{
        clock::Anchor,
        counters::Totals,
        loader::{Kernel, Settings},
        refusal::Refusal,
    },
};
use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, BorrowedFd};
use tcptrace_common::Record;

/// The attached kernel side and its buffer.
pub struct Live {
    /// The kernel side.
    pub kernel: Kernel,
    /// Both clocks when it was attached.
    pub anchor: Anchor,
    /// What it reports.
    pub records: Records,
}

/// The ring buffer, and what was read from it.
pub struct Records {
    /// Records that could not be understood.
    pub unknown: u64,
    /// Records read.
    pub read: u64,
    ring: RingBuf<MapData>,
    /// More records than the buffer holds.
    capacity: u64,
    batch: Vec<Event>,
}

/// So many events are handed over at once, at most.
pub const BATCH: usize = 32;

impl Live {
    /// Attaches.
    ///
    /// # Errors
    /// As [`Kernel::attach`].
    pub fn attach(settings: &Settings) -> Result<Self, Refusal> {
        let (kernel, ring) = Kernel::attach(settings)?;
        Ok(Self {
            kernel,
            anchor: Anchor::now(),
            records: Records {
                unknown: 0,
                read: 0,
                ring,
                capacity: u64::from(settings.buffer_bytes) / size_of::<Record>() as u64 + 1,
                batch: Vec::with_capacity(BATCH),
            },
        })
    }

    /// Hands over every event that is in the buffer, some at a time.
    pub fn drain(&mut self, each: impl FnMut(&[Event])) {
        self.records.drain(each);
        self.kernel.flush_log();
    }

    /// What the kernel side counted.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn totals(&self) -> Result<Totals, Refusal> {
        self.kernel.totals()
    }
}

impl Records {
    /// Hands over every event that is in the buffer, some at a time. Of those that come meanwhile no more than fill it
    /// once: a kernel that is faster than we are must not keep the caller here.
    pub fn drain(&mut self, mut each: impl FnMut(&[Event])) {
        let end = self.read.saturating_add(self.capacity);
        while self.read < end && self.fill() {
            each(&self.batch);
        }
    }

    /// Takes the next events out of the buffer; whether there were any.
    fn fill(&mut self) -> bool {
        self.batch.clear();
        while self.batch.len() < BATCH
            && let Some(record) = self.ring.next()
        {
            self.read += 1;
            match decode::event(&record) {
                Ok(event) => self.batch.push(event),
                Err(error) => {
                    log::debug!("a record that is not understood: {error}");
                    self.unknown += 1;
                }
            }
        }
        !self.batch.is_empty()
    }
}

impl AsFd for Live {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.ring.as_fd()
    }
}
