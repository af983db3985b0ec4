//! Who a socket belongs to, and how that is known.

pub mod policy;
pub mod processes;
