//! Recordings: what the engine was told, written as an Arrow IPC stream that other tools read too, and read again.
//! Knows no kernel and no command.

pub mod batch;
pub mod bounds;
pub mod columns;
pub mod compatibility;
pub mod entry;
pub mod format;
pub mod frame;
pub mod ledger;
pub mod message;
pub mod origin;
pub mod read;
pub mod recorder;
pub mod rows;
pub mod runs;
pub mod tap;
pub mod write;

#[cfg(test)]
mod tests;
