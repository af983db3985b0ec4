//! Where in their programs sockets are made: from what the kernel copies of a stack to names of functions.

pub mod book;
pub mod modules;
pub mod names;
pub mod perf_map;
pub mod places;
pub mod recorder;
pub mod sites;
pub mod taken;
pub mod unwind;
