//! Who a socket belongs to, and how that is known.

pub(crate) mod container;
pub(crate) mod kubernetes;
pub(crate) mod opened;
pub(crate) mod policy;
pub(crate) mod processes;
pub(crate) mod schedule;
