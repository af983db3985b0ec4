//! What rules look at: every socket, who has it, the namespaces' settings and counters, and what happened while it was
//! watched. Plain data, whether it came from a look, a watch or a recording.

use super::{Figure as _, history::History};
use crate::{
    decode::SockKind,
    event::{Age, Ends, Nanos, ProcessKey, TcpState},
};
use hashbrown::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// One moment, and the time that led to it.
#[derive(Debug, Default)]
pub struct Scene {
    /// How long was watched; zero for one look.
    pub watched: Nanos,
    /// Every socket.
    pub sockets: Vec<Socket>,
    /// Those who own them.
    pub processes: Vec<Process>,
    /// The network namespaces, in order of their inode numbers.
    pub spaces: Vec<Space>,
    /// What happened meanwhile.
    pub history: History,
    /// What the host's files of sysctl.conf(5) set.
    pub configured: Vec<Configured>,
    /// From which age on a CLOSE_WAIT is a leak, where the user has said it.
    pub older_than: Option<Nanos>,
}

/// One socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Its cookie.
    pub cookie: u64,
    /// Its ends.
    pub ends: Ends,
    /// Network namespace.
    pub netns: u32,
    /// Full, timewait or request.
    pub kind: SockKind,
    /// State.
    pub state: TcpState,
    /// How long it has been in it, where that is known.
    pub age: Option<Age>,
    /// How long ago the last segment came from the peer, at least, where that is known.
    pub quiet: Option<Nanos>,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// The descriptors that its owner has for it.
    pub fds: Vec<u32>,
    /// Bytes that the program has not read, a FIN among them; for a listener, connections that wait for `accept`.
    pub unread: Option<u32>,
    /// Bytes that the peer has not acknowledged; for a listener, the limit of the queue.
    pub unsent: Option<u32>,
    /// Whether no process has it open; `None` where that is not known.
    pub is_orphan: Option<bool>,
    /// Whether the kernel made it for itself.
    pub is_kernel_socket: bool,
    /// Of a socket that is CLOSE and open the errno that its program has not been told yet, or 0.
    pub error: u32,
}

impl Socket {
    /// How long it has been in its state, at least; zero where that is not known.
    #[must_use]
    pub fn span(&self) -> Nanos {
        self.age.map_or(Nanos(0), Age::span)
    }

    /// Whether it came to a listener and was accepted; `None` where that is no question or not known.
    #[must_use]
    pub fn accepted(&self) -> Option<bool> {
        let may_wait = self.kind == SockKind::Full
            && !self.is_kernel_socket
            && matches!(self.state, TcpState::Established | TcpState::CloseWait);
        (may_wait).then_some(())?;
        Some(!self.is_orphan?)
    }

    /// Whether both ends are on this machine's loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ends.remote().is_loopback()
    }
}

/// Who owns a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its place in [`Scene::processes`].
    pub process: usize,
    /// Whether it only owns the listener.
    pub is_guess: bool,
}

/// A process that owns sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Thread group and start time.
    pub key: ProcessKey,
    /// Its name.
    pub comm: String,
    /// Its descriptors, where they were counted.
    pub descriptors: Option<Descriptors>,
}

/// A process's file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// How many are open.
    pub used: u64,
    /// How many may be: the soft `RLIMIT_NOFILE`.
    pub limit: u64,
}

impl Descriptors {
    /// The share in use, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        self.used.figure() / self.limit.max(1).figure()
    }

    /// Whether more than four of five are in use.
    #[must_use]
    pub fn is_nearly_all(self) -> bool {
        self.share() > 0.8
    }
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// Inode number.
    pub netns: u32,
    /// What it is called, where it has a name.
    pub name: Option<String>,
    /// Its settings: by name below `net`, as in `ipv4.tcp_fin_timeout`.
    pub sysctls: HashMap<String, String>,
    /// The kernel's counters at the end, by name.
    pub counters: HashMap<String, u64>,
    /// The same when the watch began; empty for one look.
    pub counters_before: HashMap<String, u64>,
}

/// A line of a file that sets a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The file.
    pub file: String,
    /// The line, the first being 1.
    pub line: u64,
    /// The setting, as in `net.ipv4.tcp_fin_timeout`.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

/// `net.ipv4.ip_local_port_range` in Documentation/networking/ip-sysctl.rst.
const PORTS: RangeInclusive<u16> = 32_768..=60_999;

impl Space {
    /// A setting that is one number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.sysctls.get(name)?.trim().parse().ok()
    }

    /// How much a counter grew while it was watched; zero for one look.
    #[must_use]
    pub fn grown(&self, name: &str) -> u64 {
        let before = self.counters_before.get(name);
        let now = self.counters.get(name);
        match (before, now) {
            (Some(before), Some(now)) => now.saturating_sub(*before),
            _ => 0,
        }
    }

    /// The ports that `connect` chooses from.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        let text = self.sysctls.get("ipv4.ip_local_port_range");
        let mut numbers = text
            .into_iter()
            .flat_map(|text| text.split_whitespace())
            .map_while(|word| word.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(low), Some(high)) if low <= high => low..=high,
            _ => PORTS,
        }
    }

    /// Those of them that are reserved, and never chosen.
    #[must_use]
    pub fn reserved_ports(&self) -> HashSet<u16> {
        let range = self.ports();
        let text = self.sysctls.get("ipv4.ip_local_reserved_ports");
        text.map_or("", String::as_str)
            .trim()
            .split(',')
            .filter_map(|word| {
                let (low, high) = word.split_once('-').unwrap_or((word, word));
                Some(low.trim().parse::<u16>().ok()?..=high.trim().parse().ok()?)
            })
            .flatten()
            .filter(|port| range.contains(port))
            .collect()
    }

    /// How many `connect` may choose from: the range less those reserved.
    #[must_use]
    pub fn free_ports(&self) -> usize {
        self.ports().len() - self.reserved_ports().len()
    }
}

impl Scene {
    /// The settings and counters of a namespace, where they were read.
    #[must_use]
    pub fn space(&self, netns: u32) -> Option<&Space> {
        let at = self
            .spaces
            .binary_search_by_key(&netns, |space| space.netns)
            .ok()?;
        self.spaces.get(at)
    }

    /// What a namespace is called.
    #[must_use]
    pub fn netns_subject(&self, netns: u32) -> super::Subject {
        super::Subject::Netns {
            netns,
            name: self.space(netns).and_then(|space| space.name.clone()),
        }
    }

    /// The owner of a socket.
    #[must_use]
    pub fn owner(&self, socket: &Socket) -> Option<&Process> {
        self.processes.get(socket.owner?.process)
    }

    /// A process as the subject of a finding.
    #[must_use]
    pub fn process_subject(&self, key: ProcessKey) -> super::Subject {
        let comm = self
            .processes
            .iter()
            .find(|process| process.key == key)
            .map_or("", |process| &process.comm);
        super::Subject::process(key, comm)
    }

    /// The sockets in one state.
    pub fn in_state(&self, state: TcpState) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| socket.state == state)
    }

    /// The ports that are listened on.
    #[must_use]
    pub fn listening(&self) -> HashSet<(u32, u16)> {
        self.in_state(TcpState::Listen)
            .map(|listener| (listener.netns, listener.ends.local_port))
            .collect()
    }

    /// The listener with this port; of several the one whose queue is the longest.
    #[must_use]
    pub fn listener(&self, netns: u32, port: u16) -> Option<&Socket> {
        self.in_state(TcpState::Listen)
            .filter(|socket| socket.netns == netns && socket.ends.local_port == port)
            .max_by_key(|socket| socket.unread)
    }

    /// A listener as the subject of a finding.
    #[must_use]
    pub fn listener_subject(&self, listener: &Socket) -> super::Subject {
        super::Subject::Listener {
            netns: listener.netns,
            addr: listener.ends.local(),
            port: listener.ends.local_port,
            comm: self.owner(listener).map(|process| process.comm.clone()),
        }
    }

    /// Time watched, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        std::time::Duration::from_nanos(self.watched.0).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(range: &str, reserved: &str) -> Space {
        Space {
            sysctls: [
                ("ipv4.ip_local_port_range".to_owned(), range.to_owned()),
                ("ipv4.ip_local_reserved_ports".to_owned(), reserved.to_owned()),
            ]
            .into(),
            ..Space::default()
        }
    }

    #[test]
    fn ports_are_the_range_less_those_reserved_in_it() {
        let space = space("1000\t1009\n", "999-1001,1009,2000,x\n");
        assert_eq!(space.ports(), 1000..=1009);
        let mut reserved: Vec<u16> = space.reserved_ports().into_iter().collect();
        reserved.sort_unstable();
        assert_eq!(reserved, [1000, 1001, 1009]);
        assert_eq!(Space::default().ports(), 32_768..=60_999);
        assert!(Space::default().reserved_ports().is_empty());
    }

    #[test]
    fn counters_grow_only_while_they_are_watched() {
        let mut space = Space {
            counters: [("ListenOverflows".to_owned(), 9)].into(),
            ..Space::default()
        };
        assert_eq!(space.grown("ListenOverflows"), 0);
        space.counters_before = [("ListenOverflows".to_owned(), 4)].into();
        assert_eq!(space.grown("ListenOverflows"), 5);
        assert_eq!(space.grown("TW"), 0);
    }
}
