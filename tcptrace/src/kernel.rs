//! Everything that talks to the kernel about programs: what it can do, what to attach, and attaching it.

pub mod btf;
pub mod clock;
pub mod hook;
pub mod loader;
pub mod plan;
pub mod probe;
pub mod refusal;
