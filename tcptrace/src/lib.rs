//! tcptrace: which process, on which connections, has been in which TCP state for how long, and why.

// They panic where nothing can be written.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
mod completion;
pub mod connection;
pub mod decode;
pub(crate) mod duration;
pub(crate) mod duty_cycle;
pub mod engine;
pub mod event;
pub mod filter;
pub mod findings;
pub mod kernel;
pub(crate) mod lossy;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod outfile;
pub mod output;
pub(crate) mod owner;
pub(crate) mod plural;
pub(crate) mod printable;
pub(crate) mod priority;
pub mod privileges;
mod quantity;
pub mod record;
pub mod report;
pub mod run;
pub(crate) mod serve;
pub mod socket;
pub mod source;
pub(crate) mod stacks;
pub mod stats;
pub(crate) mod summary;
pub mod tui;
pub(crate) mod unseen;
pub mod view;
