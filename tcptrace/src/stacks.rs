//! Call stacks that open and read sockets: from the kernel's copy of a stack to function names.

pub(crate) mod book;
pub(crate) mod call_sites;
pub(crate) mod frames;
pub(crate) mod modules;
pub(crate) mod names;
pub(crate) mod perf_map;
pub(crate) mod reader;
pub(crate) mod sites;
pub(crate) mod unwind;
