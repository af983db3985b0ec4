//! One thing that the engine was told, or that a reader has to know beside it. A recording is a list of these in the
//! order in which the live engine took them, so that a replay takes the same steps.

use crate::{
    connection::hidden::Hidden,
    decode::{Holder, Row},
    event::{Event, Nanos, SockRef, Task},
    kernel::clock::Anchor,
    owner::holders::Way,
};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event, as decoded; inside a snapshot, one that came while it was taken.
    Event(Event),
    /// What waited for an explanation was ended at this time.
    Settled(Nanos),
    /// A snapshot follows, begun at this time: namespaces, rows, events, in this order.
    SnapshotBegun(Nanos),
    /// The snapshot has read this network namespace to its end.
    Covered(u32),
    /// One socket of the snapshot.
    Row(Row),
    /// The snapshot is whole, and was merged.
    SnapshotDone,
    /// What no hook shows, from now on.
    Hidden(Hidden),
    /// Timewait socks in FIN_WAIT2 were looked at, since no hook tells of their FIN: rows and events follow.
    LookBegun(Nanos),
    /// The look that began at this time is whole, and was taken in.
    Looked(Nanos),
    /// What a user was told while it ran.
    Note {
        /// When.
        time: Nanos,
        /// A sentence.
        text: Box<str>,
    },
    /// A scan of open files follows.
    ScanBegun {
        /// When it was begun.
        started: Nanos,
        /// How it was made.
        way: Way,
    },
    /// One open file of the scan.
    Holder(Holder),
    /// The scan is whole, and was taken in.
    ScanDone {
        /// How long it took.
        took: Nanos,
    },
    /// Where a process runs.
    Place {
        /// The process.
        task: Task,
        /// Its cgroup's path, as [`Place`](crate::owner::container::Place) has it.
        path: Box<str>,
    },
    /// Both clocks, read together.
    Clock(Anchor),
    /// How many records the kernel could not deliver until then, since the start.
    Lost {
        /// When the counters were read.
        time: Nanos,
        /// All of them.
        total: u64,
    },
    /// Entries are missing here.
    Gap {
        /// When that was noticed.
        time: Nanos,
        /// How many; 0 where that is not known.
        entries: u64,
    },
    /// Tracing ended in order: everything that waited was settled.
    Stopped(Nanos),
    /// The live run's summary as JSON, its last line.
    Summary(Box<str>),
}

/// What a reader of recordings is told.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Rows about these sockets follow: they may be looked for meanwhile. Nothing has happened yet.
    Soon(&'a [SockRef]),
    /// The next entry.
    Entry(&'a Entry),
}

impl Entry {
    /// The time it speaks of; `None` where it has none of its own.
    #[must_use]
    #[inline]
    pub const fn time(&self) -> Option<Nanos> {
        // Nearly all are events: they are asked for before the rest is told apart.
        if let Self::Event(event) = self {
            return Some(event.time);
        }
        self.time_of_rest()
    }

    const fn time_of_rest(&self) -> Option<Nanos> {
        match self {
            Self::Row(row) => Some(row.time),
            Self::Settled(time)
            | Self::SnapshotBegun(time)
            | Self::LookBegun(time)
            | Self::Looked(time)
            | Self::Note { time, .. }
            | Self::ScanBegun { started: time, .. }
            | Self::Lost { time, .. }
            | Self::Gap { time, .. }
            | Self::Stopped(time) => Some(*time),
            Self::Clock(anchor) => Some(Nanos(anchor.mono_ns)),
            Self::Event(_)
            | Self::Covered(_)
            | Self::SnapshotDone
            | Self::Hidden(_)
            | Self::Holder(_)
            | Self::ScanDone { .. }
            | Self::Place { .. }
            | Self::Summary(_) => None,
        }
    }
}
