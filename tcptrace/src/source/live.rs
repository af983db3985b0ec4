//! The running kernel as a source of events. The only place that reads the ring buffer.

use super::positions::Positions;
use crate::{
    decode,
    event::Event,
    kernel::{
        clock::ClockPair,
        counters::Totals,
        loader::{Kernel, Settings},
        refusal::Refusal,
    },
};
use aya::maps::{MapData, RingBuf};
use std::{
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};
use tcptrace_common::Record;

/// The attached kernel side and its buffer.
pub(crate) struct Live {
    /// The attached hooks and maps.
    pub(crate) kernel: Kernel,
    /// Both clocks when it was attached.
    pub(crate) anchor: ClockPair,
    pub(crate) records: Records,
}

/// The ring buffer, and what was read from it.
pub(crate) struct Records {
    /// Records that could not be understood.
    pub(crate) unknown: u64,
    /// Number of records read so far.
    pub(crate) read: u64,
    ring: RingBuf<MapData>,
    positions: Positions,
    /// More records than the buffer holds.
    capacity: u64,
    /// Fill level at which the kernel side wakes the reader, bytes.
    wake_bytes: usize,
    batch: Vec<Event>,
}

/// Maximum number of events that are passed on at once.
pub const BATCH: usize = 32;

/// Timeout for a reserved record: a program may be interrupted for several time slices.
const PATIENCE: Duration = Duration::from_millis(50);

/// Interval of checks for it, spent sleeping, since the program may be waiting for this CPU.
const LOOK_EVERY: Duration = Duration::from_micros(50);

impl Live {
    pub(crate) fn attach(settings: &Settings) -> Result<Self, Refusal> {
        let (kernel, ring) = Kernel::attach(settings)?;
        let positions =
            Positions::of(ring.as_fd()).map_err(|error| Refusal::of("map the ring buffer", &error))?;
        Ok(Self {
            kernel,
            anchor: ClockPair::now(),
            records: Records {
                unknown: 0,
                read: 0,
                ring,
                positions,
                capacity: u64::from(settings.buffer_bytes) / size_of::<Record>() as u64 + 1,
                wake_bytes: settings.wake_bytes() as usize,
                batch: Vec::with_capacity(BATCH),
            },
        })
    }

    /// Hands over every event that is in the buffer, some at a time.
    pub(crate) fn drain(&mut self, each: impl FnMut(&[Event])) {
        self.records.drain(each);
        self.kernel.flush_log();
    }

    /// What the kernel side counted.
    pub(crate) fn totals(&self) -> Result<Totals, Refusal> {
        self.kernel.totals()
    }
}

impl Records {
    /// Hands over every event that is in the buffer, some at a time. Of those that come meanwhile no more than fill it
    /// once: a kernel that is faster than we are must not keep the caller here.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[Event])) {
        let end = self.read.saturating_add(self.capacity);
        while self.read < end && self.fill() {
            each(&self.batch);
        }
    }

    /// Hands over every event of which the kernel side had begun a record by now, and waits for those that it has not
    /// completed.
    pub(crate) fn catch_up(&mut self, mut each: impl FnMut(&[Event])) {
        let end = self.positions.reserved();
        let until = Instant::now() + PATIENCE;
        loop {
            self.drain(&mut each);
            if self.positions.are_read_to(end) || Instant::now() > until {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether the buffer is so full that the kernel side wakes the reader.
    pub(crate) fn is_filling(&self) -> bool {
        self.positions.unread() >= self.wake_bytes
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
                    log::debug!("invalid record: {error}");
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
