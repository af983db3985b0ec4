//! Everything that talks to the kernel about programs: what it can do, what to attach, and attaching it.

pub mod btf;
pub mod clock;
pub mod counters;
pub mod excerpt;
pub mod hook;
pub mod loader;
pub mod offsets;
pub mod plan;
pub mod probe;
pub mod programs;
pub mod prototype;
pub mod refusal;
pub mod silence;
