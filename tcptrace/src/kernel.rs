//! Programs in the kernel: what it supports, what to attach, and attaching it.

pub(crate) mod btf;
pub mod clock;
pub(crate) mod counters;
pub(crate) mod excerpt;
pub(crate) mod hook;
pub(crate) mod hook_watchdog;
pub(crate) mod loader;
pub(crate) mod offsets;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod programs;
pub(crate) mod prototype;
pub(crate) mod refusal;
pub mod reset_reasons;
pub(crate) mod stacks;
