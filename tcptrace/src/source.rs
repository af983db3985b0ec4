//! Where events come from.

pub mod hlog;
pub mod live;
pub mod namespaces;
pub mod snapshot;
pub mod sock_diag;
