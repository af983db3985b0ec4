//! Call stacks that open and read sockets: from the kernel's copy of a stack to function names.

pub mod book;
pub mod call_sites;
pub mod frames;
pub mod modules;
pub mod names;
pub mod perf_map;
pub mod reader;
pub mod sites;
pub mod unwind;
