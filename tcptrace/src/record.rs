//! Recordings: the engine's input, written as an Arrow IPC stream, which other tools also read, and replayed.
//! Knows no kernel and no command.

pub mod batch;
pub mod bounds;
pub mod columns;
pub mod compatibility;
pub mod entry;
pub mod file_writer;
pub mod format;
pub mod frame;
mod input;
pub mod message;
pub mod origin;
pub mod read;
pub mod recorder;
pub mod replay;
mod rows;
pub mod run_stats;
pub mod runs;
mod source;
pub mod write;

#[cfg(test)]
mod tests;
