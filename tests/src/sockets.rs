//! The lines of `tcptrace snapshot --json`, with the documented fields.

use crate::{
    command::{self, tcptrace},
    event::{End, Owner},
    netns::Netns,
    ss::SsSocket,
    state::State,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    pub cookie: u64,
    pub local: End,
    pub remote: End,
    /// Inode number of the network namespace.
    pub netns: u64,
    pub state: State,
    /// Age of the state, if the kernel keeps it.
    pub age_ns: Option<u64>,
    /// Whether `age_ns` is exact; it is a lower bound otherwise.
    pub age_exact: bool,
    /// Bytes in the receive queue.
    pub unread_bytes: Option<u32>,
    /// Bytes that the peer has not acknowledged.
    pub unsent_bytes: Option<u32>,
    /// Length of a listener's accept queue.
    pub accept_queue: Option<u32>,
    /// Limit of a listener's accept queue.
    pub backlog: Option<u32>,
    /// Whether a process has accepted it; absent for a socket that is not accepted.
    pub accepted: Option<bool>,
    pub owner: Option<Owner>,
    /// All holders.
    pub holders: Vec<Holder>,
    /// What the network does to it; absent for what is no full socket.
    pub network: Option<Network>,
    /// Whether it is a socket of the kernel itself.
    #[serde(default)]
    pub kernel: bool,
}

/// The evidence on a full socket. What the kernel or the reader does not report is absent.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub rtt_ns: Option<u64>,
    pub rtt_var_ns: Option<u64>,
    pub rto_ns: Option<u64>,
    pub mss_bytes: Option<u32>,
    pub send_window_bytes: Option<u32>,
    pub receive_window_bytes: Option<u32>,
    pub in_flight_segments: Option<u32>,
    pub retransmitted_in_flight_segments: Option<u32>,
    pub unacknowledged_bytes: Option<u32>,
    pub not_sent_bytes: Option<u32>,
    pub retransmits: Option<u32>,
    pub retransmits_total: Option<u32>,
    pub backoff: Option<u32>,
    pub probes: Option<u32>,
    pub timer: Option<String>,
    pub timer_expires_ns: Option<u64>,
    pub congestion: Option<String>,
    pub send_memory_bytes: Option<u32>,
    pub receive_memory_bytes: Option<u32>,
    pub drops: Option<u32>,
    pub user_timeout_ns: Option<u64>,
    pub rto_max_ns: Option<u64>,
    pub keepalive: Option<bool>,
    pub keepalive_time_ns: Option<u64>,
    pub keepalive_interval_ns: Option<u64>,
    pub keepalive_probes: Option<u32>,
}

/// An open file of the socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// Name of the thread group leader.
    pub comm: String,
    pub fd: i32,
}

/// Lists the sockets of the namespace that match the `filters`.
#[must_use]
pub fn list(netns: Netns, filters: &[&str]) -> Vec<Listed> {
    let inode = netns.inode.to_string();
    let mut arguments = vec!["snapshot", "--json", "--netns", &inode];
    arguments.extend(filters);
    let output = command::run(tcptrace(&arguments));
    assert_eq!(output.code, Some(0), "{}", output.err);
    output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

impl Listed {
    /// Both endpoints, local first.
    #[must_use]
    pub fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        (self.local.into(), self.remote.into())
    }

    /// The socket as `ss` would list it.
    #[must_use]
    pub fn as_ss(&self) -> SsSocket {
        let (local, remote) = self.endpoints();
        SsSocket {
            state: self.state,
            local,
            remote,
            cookie: self.cookie,
            received: self.accept_queue.or(self.unread_bytes).unwrap_or(0),
            sent: self.backlog.or(self.unsent_bytes).unwrap_or(0),
        }
    }
}
