//! What `tcptrace snapshot --json` lists, as the documentation words it. Knows only what is promised there.

use crate::{
    command::{self, tcptrace},
    event::{End, Owner},
    netns::Netns,
    ss::SsSocket,
    state::State,
};
use serde::Deserialize;
use std::net::SocketAddr;

/// One line.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// The socket cookie.
    pub cookie: u64,
    /// The end on this host.
    pub local: End,
    /// The other end.
    pub remote: End,
    /// Inode number of the network namespace.
    pub netns: u64,
    /// Its state.
    pub state: State,
    /// Age of the state, where the kernel keeps it.
    pub age_ns: Option<u64>,
    /// Whether `age_ns` is the whole truth.
    pub age_exact: bool,
    /// Bytes that nobody has read.
    pub unread_bytes: Option<u32>,
    /// Bytes that the peer has not acknowledged.
    pub unsent_bytes: Option<u32>,
    /// Connections that wait to be accepted, of a listener.
    pub accept_queue: Option<u32>,
    /// How many may wait, of a listener.
    pub backlog: Option<u32>,
    /// Whether a process has accepted it, where that is a question.
    pub accepted: Option<bool>,
    /// Its owner.
    pub owner: Option<Owner>,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// Whether it is a socket of the kernel's own.
    #[serde(default)]
    pub kernel: bool,
}

/// An open file that is the socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Name of its leading thread.
    pub comm: String,
    /// File descriptor.
    pub fd: i32,
}

/// Every socket of the namespace that passes the `filters`.
#[must_use]
pub fn list(netns: Netns, filters: &[&str]) -> Vec<Listed> {
    let inode = netns.inode.to_string();
    let mut arguments = vec!["snapshot", "--json", "--netns", &inode];
    arguments.extend(filters);
    let said = command::run(tcptrace(&arguments));
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

impl Listed {
    /// Both ends, local first.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.local.into(), self.remote.into())
    }

    /// The line as `ss` would have it.
    #[must_use]
    pub fn as_ss(&self) -> SsSocket {
        let (local, remote) = self.ends();
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
