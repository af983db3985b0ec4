//! Where events come from.

pub mod live;
pub mod namespaces;
pub mod proc_fds;
pub mod replay;
pub mod snapshot;
pub mod sock_diag;
