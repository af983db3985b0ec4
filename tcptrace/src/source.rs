//! Where events come from.

pub mod live;
pub mod namespaces;
pub mod snapshot;
