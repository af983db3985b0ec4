//! Figures over sockets that wait for one peer: how often it left them without an answer, and when the kernel gives it up.
//! Pure.

use super::{
    Evidence,
    scene::{Scene, Socket},
};
use crate::{
    duration::human,
    event::Nanos,
    plural::{counted, verb},
    socket::{network::Network, patience::End},
};
use hashbrown::HashMap;
use std::{net::IpAddr, time::Duration};

/// Maximum number of processes named.
const PROCESSES: usize = 3;

/// What is known of the sockets that wait for one peer.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The most timeouts in a row of one segment.
    timeouts: u8,
    /// The most unanswered probes of one socket.
    probes: u8,
    /// How many sockets probe a closed window.
    pub closed_windows: usize,
    /// How many cannot send anything, although the window is open.
    without_path: usize,
    /// Those of which something is known.
    pub known: usize,
    first: Option<End>,
    last: Option<End>,
}

impl Waiting {
    /// What these sockets have in common: counts, extremes and sums.
    pub fn of<'a>(scene: &Scene, sockets: impl IntoIterator<Item = &'a Socket>) -> Self {
        let mut waiting = Self::default();
        for socket in sockets {
            if let Some(network) = scene.network(socket) {
                waiting.add(network, scene.end(socket));
            }
        }
        waiting
    }

    fn add(&mut self, network: &Network, end: Option<End>) {
        self.known += 1;
        self.timeouts = self.timeouts.max(network.retransmits.unwrap_or(0));
        self.probes = self.probes.max(network.probes.unwrap_or(0));
        self.closed_windows += usize::from(network.is_window_closed());
        self.without_path += usize::from(network.cannot_send());
        let Some(end) = end else { return };
        if self.first.is_none_or(|first| end.left < first.left) {
            self.first = Some(end);
        }
        if self.last.is_none_or(|last| end.left > last.left) {
            self.last = Some(end);
        }
    }

    /// What was not answered, and when the kernel gives up: nothing where nothing is known.
    #[must_use]
    pub fn evidence(&self) -> Vec<Evidence> {
        let mut list = Vec::new();
        if self.timeouts > 0 {
            let text = format!(
                "retransmitted up to {} in a row without an acknowledgement",
                counted(self.timeouts, "time")
            );
            list.push(Evidence::new("timeouts", u64::from(self.timeouts), text));
        }
        if self.closed_windows > 0 {
            let text = format!(
                "{} {} a closed receive window of the peer",
                counted(self.closed_windows, "socket"),
                verb(self.closed_windows, "probe")
            );
            list.push(Evidence::new("closed_windows", self.closed_windows, text));
        }
        if self.without_path > 0 {
            let text = format!(
                "{} can send nothing: no route, a link that is down, or a full queue of this host",
                counted(self.without_path, "socket")
            );
            list.push(Evidence::new("without_path", self.without_path, text));
        }
        if self.probes > 0 {
            let text = format!("up to {} in a row unanswered", counted(self.probes, "probe"));
            list.push(Evidence::new("unanswered_probes", u64::from(self.probes), text));
        }
        if let Some(first) = self.first {
            let mut text = format!(
                "the kernel gives up in about {}, by {}",
                human(first.left),
                first.by.name()
            );
            if !first.by.is_certain() {
                text.push_str(", or earlier if the program set TCP_USER_TIMEOUT");
            }
            list.push(Evidence::new("gives_up_in_seconds", seconds(first.left), text));
        }
        if let Some(last) = self.last
            && Some(last) != self.first
        {
            let text = format!("and the last of them in about {}", human(last.left));
            list.push(Evidence::new(
                "gives_up_last_in_seconds",
                seconds(last.left),
                text,
            ));
        }
        list
    }
}

/// The sockets by network namespace and peer.
pub fn by_peer<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> HashMap<(u32, IpAddr), Vec<&'a Socket>> {
    let mut by_peer: HashMap<(u32, IpAddr), Vec<&Socket>> = HashMap::new();
    for socket in sockets {
        by_peer
            .entry((socket.netns, socket.endpoints.remote()))
            .or_default()
            .push(socket);
    }
    by_peer
}

/// Bytes that wait in these sockets, as far as that is known.
pub fn unsent<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Option<u64> {
    let known = sockets.into_iter().filter_map(|socket| socket.unsent);
    known.map(u64::from).reduce(|sum, more| sum + more)
}

/// The processes that own the sockets, those with the most first.
pub fn processes<'a>(scene: &Scene, sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<Evidence> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for owner in sockets.into_iter().filter_map(|socket| socket.owner) {
        *counts.entry(owner.process).or_default() += 1;
    }
    let largest = scene.largest(&counts, PROCESSES).into_iter();
    largest
        .map(|(process, count)| {
            let text = format!("{count} held by {} ({})", process.comm, process.key.pid);
            Evidence::new("sockets_of_process", count, text)
        })
        .collect()
}

/// A span as a figure.
#[must_use]
pub fn seconds(span: Nanos) -> f64 {
    Duration::from_nanos(span.0).as_secs_f64()
}
