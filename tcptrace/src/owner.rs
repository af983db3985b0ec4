//! Who a socket belongs to, and how that is known.

pub mod container;
pub mod policy;
pub mod printable;
pub mod processes;
