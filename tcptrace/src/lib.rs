//! tcptrace: which process, on which connections, has been in which TCP state for how long, and why.

// They panic where nothing can be written.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod completion;
pub mod connection;
pub mod decode;
pub mod duration;
pub mod duty_cycle;
pub mod engine;
pub mod event;
pub mod filter;
pub mod findings;
pub mod kernel;
pub mod lossy;
pub mod options;
pub mod outfile;
pub mod output;
pub mod owner;
pub mod plural;
pub mod printable;
pub mod priority;
pub mod privileges;
pub mod record;
pub mod report;
pub mod run;
pub mod socket;
pub mod source;
pub mod stacks;
pub mod stats;
pub mod summary;
pub mod tui;
pub mod unseen;
pub mod view;
