//! One line of `tcptrace trace --json`, with the documented fields: a missing field is an error, an additional one is
//! not.

use crate::{sockets::Holder, state::State};
use serde::Deserialize;
use std::{fmt, net::SocketAddr};

#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Wall clock, RFC 3339.
    pub time: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The kernel's socket cookie; 0 if it has none.
    pub cookie: u64,
    /// The number of earlier connections of the same socket.
    pub incarnation: u32,
    /// `ipv4` or `ipv6`.
    pub family: String,
    pub local: End,
    pub remote: End,
    /// Inode number of the network namespace; `None` if the hook does not report it.
    pub netns: Option<u64>,
    pub old: State,
    pub new: State,
    /// Dwell time in `old`.
    pub dwell_ns: Option<u64>,
    /// Whether `dwell_ns` is exact; it is a lower bound otherwise.
    pub dwell_exact: bool,
    /// The cause of the connection's end.
    pub reason: Option<String>,
    /// The kernel's reason for a RST that it sent at the end; absent if it gives none.
    #[serde(default)]
    pub reset_reason: Option<String>,
    /// Segments retransmitted until the full socket closed; absent before the end.
    #[serde(default)]
    pub retransmits_total: Option<u32>,
    /// Smoothed round-trip time likewise; absent also if it was never measured.
    #[serde(default)]
    pub rtt_ns: Option<u64>,
    /// The kernel's error, if it says more than the reason.
    #[serde(default)]
    pub error: Option<String>,
    pub owner: Option<Owner>,
    /// All holders, if several processes have the socket open.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// Whether it is a socket of the kernel itself.
    #[serde(default)]
    pub kernel: bool,
    /// Whether the connection was established by a SYN cookie, without a request sock.
    #[serde(default)]
    pub syn_cookie: bool,
    /// Whether Fast Open began the handshake.
    #[serde(default)]
    pub fast_open: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct End {
    pub addr: std::net::IpAddr,
    pub port: u16,
}

/// The owner of a socket.
#[derive(Clone, Debug, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// Start of the process since boot.
    pub start_ns: u64,
    /// Name of the thread group leader.
    pub comm: String,
    /// The kind of evidence.
    pub evidence: String,
    /// Time of the evidence, `CLOCK_MONOTONIC`; absent in snapshots.
    pub since_ns: Option<u64>,
}

impl Event {
    /// The reason as in text, with the error in parentheses.
    #[must_use]
    pub fn reason_and_error(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(match &self.error {
            Some(error) => format!("{reason} ({error})"),
            None => reason.clone(),
        })
    }

    /// Both endpoints, local first.
    #[must_use]
    pub fn endpoints(&self) -> (SocketAddr, SocketAddr) {
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
        let (local, remote) = self.endpoints();
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
