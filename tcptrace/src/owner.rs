//! Who a socket belongs to, and how that is known.

pub mod container;
pub mod opened;
pub mod policy;
pub mod processes;
pub mod schedule;
