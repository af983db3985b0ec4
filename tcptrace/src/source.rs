//! Sources of events.

pub(crate) mod cgroups;
pub mod hlog;
pub(crate) mod in_flight;
pub(crate) mod kubernetes;
pub mod live;
pub(crate) mod namespaces;
pub(crate) mod netns_state;
pub(crate) mod netstat;
mod positions;
pub(crate) mod proc_fds;
pub(crate) mod process;
pub(crate) mod sight;
pub mod snapshot;
pub(crate) mod sock_diag;
pub(crate) mod sysctl_files;
pub(crate) mod users;
pub(crate) mod zone;
