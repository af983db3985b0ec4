//! Where events come from.

pub mod live;
pub mod namespaces;
pub mod netstat;
pub mod snapshot;
pub mod sock_diag;
