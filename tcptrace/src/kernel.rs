//! Programs in the kernel: what it supports, what to attach, and attaching it.

pub mod btf;
pub mod clock;
pub mod counters;
pub mod excerpt;
pub mod hook;
pub mod hook_watchdog;
pub mod loader;
pub mod offsets;
pub mod plan;
pub mod probe;
pub mod programs;
pub mod prototype;
pub mod refusal;
pub mod stacks;
