//! Counts that the table keeps of events, changes and rows.

/// Counts since the start; of a recording's span, since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events applied.
    pub events: u64,
    /// Changes reported.
    pub changes: u64,
    /// Events in an impossible order.
    pub impossible: u64,
    /// Events of sockets that neither an event nor a snapshot had shown before.
    pub unknown: u64,
    /// Of those, the expected ones: before the first snapshot was read, or in a network namespace that the latest
    /// one could not find or read.
    pub unknown_expected: u64,
    /// Sockets that a snapshot showed first.
    pub shown: u64,
    /// Rows evicted because the table was full.
    pub evicted: u64,
    /// Ends that were never seen, found by a snapshot.
    pub unseen: u64,
}
