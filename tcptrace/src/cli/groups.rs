//! Groups of flags that several commands share.

use crate::{
    completion,
    kernel::plan::{Preference, SocketReader},
    quantity,
    source::users,
};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use ipnet::IpNet;
use std::path::PathBuf;

/// The part of a recording that a command reads: a moment, or from one to another.
#[derive(Debug, Args)]
#[command(next_help_heading = "Span of recordings")]
pub(crate) struct SpanArgs {
    /// The state at this moment: 2026-11-22T02:30:00Z, "2026-11-22 02:30" in local time, 17:52 today, -5m from now, +90s after
    /// the start, or now
    #[arg(long, value_name = "TIME", conflicts_with = "to", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,
    /// Transitions and dwell times from this moment on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Those until this moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
}

/// Which connections a command shows; each given criterion must match.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only these processes, by PID or thread ID, ignoring later processes that reuse the PID
    #[arg(short, long, value_delimiter = ',', value_name = "PID", value_parser = quantity::pid, add = ArgValueCandidates::new(completion::pids))]
    pub(crate) pid: Vec<u32>,
    /// Only processes whose name contains this
    #[arg(short, long, value_delimiter = ',', value_name = "NAME", add = ArgValueCandidates::new(completion::names))]
    pub(crate) comm: Vec<String>,
    /// Only processes of these users, by real user ID, or by name as in /etc/passwd of this host
    #[arg(short, long, value_delimiter = ',', value_name = "USER", value_parser = users::id, add = ArgValueCandidates::new(completion::users), hide_short_help = true)]
    pub(crate) user: Vec<u32>,
    /// Only these local ports
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "PORT", value_parser = quantity::port)]
    pub(crate) localport: Vec<u16>,
    /// Only these remote ports
    #[arg(short = 'D', long, value_delimiter = ',', value_name = "PORT", value_parser = quantity::port)]
    pub(crate) remoteport: Vec<u16>,
    /// Only local addresses of these networks: 10.0.0.1, 10.0.0.0/8, fe80::/10
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS", value_parser = quantity::network, hide_short_help = true)]
    pub(crate) local: Vec<IpNet>,
    /// Only remote addresses of these networks
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS", value_parser = quantity::network, hide_short_help = true)]
    pub(crate) remote: Vec<IpNet>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "ipv6", hide_short_help = true)]
    pub(crate) ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', hide_short_help = true)]
    pub(crate) ipv6: bool,
    /// Only these network namespaces, by inode number, name (ip netns) or path
    #[arg(short = 'N', long, value_delimiter = ',', value_name = "NETNS", add = ArgValueCandidates::new(completion::network_namespaces), hide_short_help = true)]
    pub(crate) netns: Vec<String>,
    /// Only processes in this cgroup or below, by path as in /proc/PID/cgroup or by cgroup v2 ID
    #[arg(long, value_name = "PATH|ID", hide_short_help = true)]
    pub(crate) cgroup: Vec<String>,
    /// Only processes of this container (at least 4 characters of its ID; for LXC its name), pod (UID) or systemd unit
    #[arg(long, value_delimiter = ',', value_name = "ID|POD|UNIT", add = ArgValueCandidates::new(completion::containers), hide_short_help = true)]
    pub(crate) container: Vec<String>,
}

/// How text names ports.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct PortArgs {
    /// Name ports behind addresses in text by their services in /etc/services: 10.0.0.1:https. Hosts are never looked up
    #[arg(short = 'r', long, hide_short_help = true)]
    pub(crate) services: bool,
}

/// In which form and where a command prints.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// One JSON object per line
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,
    /// Omit the line of column titles
    #[arg(short = 'H', long, hide_short_help = true)]
    pub(crate) no_header: bool,
    /// Write to this file instead of standard output; replaces it unless it is a recording or an input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// All columns and full IPv6 addresses
    #[arg(short, long)]
    pub(crate) wide: bool,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
}

/// How sockets that exist already are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(crate) struct SocketArgs {
    /// How to read existing sockets
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "READER",
        hide_short_help = true
    )]
    pub(crate) sockets: SocketReader,
}

/// How the kernel is traced, and what is kept of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(crate) struct TracingArgs {
    /// Hooks for the states that the tracepoint does not report
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "MECHANISM",
        hide_short_help = true
    )]
    pub(crate) hooks: Preference,
    /// Load these programs without attaching them, to test the detection of hooks that never fire
    #[cfg_attr(
        feature = "test-hooks",
        arg(long, hide = true, value_delimiter = ',', value_name = "PROGRAM")
    )]
    #[cfg_attr(not(feature = "test-hooks"), arg(skip))]
    pub(crate) silent_hook: Vec<String>,
    /// Size of the ring buffer, a power of two: 64K, 8M
    #[arg(long, default_value = "8M", value_name = "SIZE", hide_short_help = true)]
    pub(crate) buffer: String,
    /// Maximum number of live connections; more are dropped and counted
    #[arg(long, default_value = "1000000", value_name = "COUNT", value_parser = quantity::count::<usize>, hide_short_help = true)]
    pub(crate) max_connections: usize,
    /// Report the sockets of SCTP and of MPTCP itself too
    #[arg(long, hide_short_help = true)]
    pub(crate) all_protocols: bool,
    #[command(flatten)]
    pub(crate) sockets: SocketArgs,
}
