//! One file a form of output: a view or a change to bytes. Files and terminals belong to `sink` and its caller.

pub mod csv;
pub mod descriptor;
pub mod doctor;
pub mod duration;
pub mod export;
pub mod frame;
pub mod header;
pub mod hist;
pub mod json;
pub mod leaks;
pub mod lifetimes;
pub mod loss;
pub mod outbox;
pub mod parquet;
pub mod report;
pub mod sink;
pub mod sockets;
pub mod stacks;
pub mod stream;
pub mod text;
