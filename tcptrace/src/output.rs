//! Output formats, one file each: views and changes to bytes. Files and terminals belong to `sink` and its caller.

pub(crate) mod bytes;
pub(crate) mod csv;
pub(crate) mod descriptor;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod field;
pub(crate) mod frame;
pub mod hist;
pub(crate) mod json;
pub(crate) mod leaks;
pub(crate) mod lifetimes;
pub(crate) mod loss;
pub(crate) mod outbox;
pub(crate) mod parquet;
pub(crate) mod patience;
pub(crate) mod printer;
pub mod report;
pub(crate) mod row;
pub(crate) mod sink;
pub(crate) mod sockets;
pub(crate) mod stacks;
pub(crate) mod stream;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod times;
pub(crate) mod unseen;
