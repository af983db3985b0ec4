//! Recordings: the engine's input, written as an Arrow IPC stream, which other tools also read, and replayed.
//! Knows no kernel and no command.

pub(crate) mod batch;
pub mod bounds;
pub(crate) mod columns;
pub(crate) mod compatibility;
pub mod entry;
mod evidence;
pub(crate) mod file_writer;
pub mod format;
pub mod frame;
mod input;
pub mod message;
pub mod origin;
pub mod read;
pub(crate) mod recorder;
pub mod replay;
mod rows;
pub(crate) mod run_stats;
pub(crate) mod runs;
mod source;
pub mod write;

#[cfg(test)]
mod tests;
