//! Sources of events.

pub mod cgroups;
pub mod hlog;
pub mod in_flight;
pub mod live;
pub mod namespaces;
pub mod netstat;
mod positions;
pub mod proc_fds;
pub mod process;
pub mod sight;
pub mod snapshot;
pub mod sock_diag;
pub mod spaces;
pub mod sysctl_files;
pub mod zone;
