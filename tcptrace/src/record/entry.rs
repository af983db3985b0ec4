//! An input of the engine, or information that a reader needs in addition. A recording is a list of these in the
//! order in which the live engine took them, so that a replay takes the same steps.

use crate::{
    connection::blindspots::Blindspots,
    event::{Event, Nanos, SockRef, Task},
    kernel::clock::ClockPair,
    socket::{Holder, Row, network::SocketNetwork, scan::ScanMechanism},
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
    /// What the network does to one of its sockets.
    Network(Box<SocketNetwork>),
    /// The snapshot is whole, and was merged.
    SnapshotDone,
    /// What no hook shows, from now on.
    Blindspots(Blindspots),
    /// Timewait socks in FIN_WAIT2 were polled, since no hook reports their FIN: rows and events follow.
    PollBegun(Nanos),
    /// The look that began at this time is whole, and was taken in.
    Polled(Nanos),
    /// What a user was told while it ran.
    Note {
        /// When the message was shown.
        time: Nanos,
        /// The message.
        text: Box<str>,
    },
    /// A scan of open files follows.
    ScanBegun {
        /// When it was begun.
        started: Nanos,
        /// How it was made.
        mechanism: ScanMechanism,
    },
    /// One open file of the scan.
    Holder(Holder),
    /// The scan is whole, and was taken in.
    ScanDone {
        /// How long it took.
        cost: Nanos,
    },
    /// Where a process runs.
    Location {
        /// The process.
        task: Task,
        /// Its cgroup's path, as `Location` has it.
        path: Box<str>,
    },
    /// Both clocks, read together.
    Clock(ClockPair),
    /// How many records the kernel could not deliver until then, since the start.
    Lost {
        /// When the counters were read.
        time: Nanos,
        /// Number of lost records since the start.
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

/// What a reader of recordings yields.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Rows about these sockets follow, which may be prefetched. Nothing has happened yet.
    Prefetch(&'a [SockRef]),
    /// The next entry, in the order of the recording.
    Entry(&'a Entry),
}

impl Entry {
    /// The socket that it is about; that without a name if it is about none.
    #[inline]
    pub(crate) fn sock(&self) -> SockRef {
        match self {
            Self::Event(event) => event.sock,
            Self::Row(row) => row.sock,
            _ => SockRef::default(),
        }
    }

    /// Its time; `None` if it has none of its own.
    #[inline]
    pub(crate) const fn time(&self) -> Option<Nanos> {
        // Nearly all entries are events, so these are matched first.
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
            | Self::PollBegun(time)
            | Self::Polled(time)
            | Self::Note { time, .. }
            | Self::ScanBegun { started: time, .. }
            | Self::Lost { time, .. }
            | Self::Gap { time, .. }
            | Self::Stopped(time) => Some(*time),
            Self::Clock(anchor) => Some(Nanos(anchor.mono_ns)),
            Self::Event(_)
            | Self::Covered(_)
            | Self::Network(_)
            | Self::SnapshotDone
            | Self::Blindspots(_)
            | Self::Holder(_)
            | Self::ScanDone { .. }
            | Self::Location { .. }
            | Self::Summary(_) => None,
        }
    }
}
