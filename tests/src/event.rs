//! One line of `tcptrace trace --json`, as the documentation words it. Knows only what is promised there:
//! a field that is missing is an error, a field that was added is none.

use crate::{sockets::Holder, state::State};
use serde::Deserialize;
use std::{fmt, net::SocketAddr};

/// One transition.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Wall clock, RFC 3339.
    pub time: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The kernel's socket cookie; 0 where it made none.
    pub cookie: u64,
    /// How often the socket was connected before.
    pub incarnation: u32,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The end on this host.
    pub local: End,
    /// The other end.
    pub remote: End,
    /// Inode number of the network namespace.
    pub netns: u64,
    /// State before.
    pub old: State,
    /// State after.
    pub new: State,
    /// How long `old` lasted.
    pub dwell_ns: Option<u64>,
    /// Whether `dwell_ns` is the whole truth or a lower bound.
    pub dwell_exact: bool,
    /// Why the connection ended.
    pub reason: Option<String>,
    /// Who holds the socket.
    pub owner: Option<Owner>,
    /// Everyone who has it open, where that is more than one process.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// Whether it is a socket of the kernel's own.
    #[serde(default)]
    pub kernel: bool,
    /// Whether the connection came without a request, by a SYN cookie.
    #[serde(default)]
    pub syn_cookie: bool,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct End {
    /// IP address.
    pub addr: std::net::IpAddr,
    /// Port.
    pub port: u16,
}

/// The process that a socket belongs to.
#[derive(Clone, Debug, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Start of the process since boot.
    pub start_ns: u64,
    /// Name of its leading thread.
    pub comm: String,
    /// How this is known.
    pub evidence: String,
    /// Since when, `CLOCK_MONOTONIC`; a snapshot does not say.
    pub since_ns: Option<u64>,
}

impl Event {
    /// Both ends, local first.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.local.into(), self.remote.into())
    }
}

impl From<End> for SocketAddr {
    fn from(end: End) -> Self {
        Self::new(end.addr, end.port)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, remote) = self.ends();
        let dwell = self.dwell_ns.map_or("-".to_owned(), |ns| ns.to_string());
        write!(
            f,
            "{} ns  cookie {} #{}  {local} {remote}  {} -> {}  after {dwell} ns",
            self.mono_ns, self.cookie, self.incarnation, self.old, self.new
        )?;
        if !self.dwell_exact {
            f.write_str(" at least")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, "  {reason}")?;
        }
        match &self.owner {
            Some(owner) => write!(f, "  {} {} by {}", owner.pid, owner.comm, owner.evidence),
            None => f.write_str("  no owner"),
        }
    }
}
