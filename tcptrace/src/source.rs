//! Where events come from.

pub mod cgroups;
pub mod hlog;
pub mod live;
pub mod namespaces;
pub mod netstat;
pub mod proc_fds;
pub mod process;
pub mod replay;
pub mod snapshot;
pub mod sock_diag;
pub mod spaces;
pub mod sysctl_files;
pub mod zone;
