//! Scenes for the tests of rules, put together in a line or two.

use super::scene::{Descriptors, Netns, Owner, Process, Scene, Socket};
use crate::{
    event::{Age, Endpoints, Nanos, ProcessKey, TcpState},
    socket::{
        Flow, SockKind,
        network::{Network, Timer, TimerPurpose},
    },
};
use std::net::{IpAddr, SocketAddr};

/// The namespace of every fixture.
pub(crate) const NETNS: u32 = 4_026_531_840;

/// A process of the fixture, by its pid.
pub(crate) fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ns: u64::from(pid) * 1_000,
    }
}

/// A scene with one namespace and no socket, watched for ten seconds.
pub(crate) fn scene() -> Scene {
    Scene {
        watched: Nanos::from_secs(10),
        namespaces: vec![Netns {
            netns: NETNS,
            ..Netns::default()
        }],
        ..Scene::default()
    }
}

impl Scene {
    /// The place of the process with this pid, which is made where there is none.
    pub(crate) fn process_at(&mut self, pid: u32, comm: &str) -> usize {
        let known = self.processes.iter().position(|process| process.key.pid == pid);
        known.unwrap_or_else(|| {
            self.processes.push(Process {
                key: key(pid),
                comm: comm.to_owned(),
                descriptors: Some(Descriptors {
                    used: 100,
                    limit: 1024,
                }),
            });
            self.processes.len() - 1
        })
    }

    /// Adds `count` sockets like this one, their remote ports and cookies counted up.
    pub(crate) fn add(&mut self, count: u16, socket: &Socket) {
        for index in 0..count {
            let endpoints = &socket.endpoints;
            let remote_port = endpoints.remote_port.wrapping_add(index);
            self.sockets.push(Socket {
                cookie: self.sockets.len() as u64 + 1,
                endpoints: Endpoints::new(
                    (endpoints.local(), endpoints.local_port),
                    (endpoints.remote(), remote_port),
                ),
                ..socket.clone()
            });
        }
    }

    /// Adds a socket with what the network does to it.
    pub(crate) fn add_with(&mut self, socket: &Socket, network: Network) {
        self.add(1, socket);
        self.networks.insert(self.sockets.len() as u64, network);
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.namespaces[0]
            .sysctls
            .insert(name.to_owned(), value.to_owned());
    }

    /// Sets a counter at the beginning and at the end.
    pub(crate) fn counted(&mut self, name: &str, before: u64, now: u64) {
        self.namespaces[0].counters_before.insert(name.to_owned(), before);
        self.namespaces[0].counters.insert(name.to_owned(), now);
    }
}

/// A socket between two ends, owned by the process at this place.
pub(crate) fn socket(
    state: TcpState,
    local: &str,
    remote: &str,
    seconds: u64,
    owner: Option<usize>,
) -> Socket {
    let parse = |text: &str| -> (IpAddr, u16) {
        let end: SocketAddr = text.parse().expect("an address and a port");
        (end.ip(), end.port())
    };
    Socket {
        is_asked_for: true,
        cookie: 0,
        endpoints: Endpoints::new(parse(local), parse(remote)),
        netns: NETNS,
        kind: SockKind::Full,
        state,
        age: Some(Age::AtLeast(Nanos::from_secs(seconds))),
        quiet: Some(Nanos::from_secs(seconds)),
        owner: owner.map(|process| Owner {
            process,
            is_guess: false,
        }),
        fds: vec![7],
        unread: Some(0),
        unsent: Some(0),
        is_orphan: Some(owner.is_none()),
        is_kernel_socket: false,
        flow: Flow::default(),
        peer: None,
        sharers: Vec::new(),
        accepted_by: None,
        is_unheld: false,
        left_close_wait: false,
        error: 0,
    }
}

/// A segment whose timeout of `first_ms` was doubled so many times, the next one in `expires_ms`.
pub(crate) fn retransmitting(first_ms: u64, doublings: u8, expires_ms: u64) -> Network {
    Network {
        rto: Some(Nanos::from_millis(first_ms << doublings)),
        backoff: Some(doublings),
        retransmits: Some(doublings),
        timer: Some(Timer::Running {
            purpose: TimerPurpose::Retransmit,
            expires_in: Nanos::from_millis(expires_ms),
        }),
        ..Network::default()
    }
}

/// A closed window that was probed `doublings` times, the latest `unanswered` of them without an answer.
pub(crate) fn probing(doublings: u8, unanswered: u8, expires_ms: u64) -> Network {
    Network {
        rto: Some(Nanos::from_millis(200)),
        backoff: Some(doublings),
        probes: Some(unanswered),
        timer: Some(Timer::Running {
            purpose: TimerPurpose::WindowProbe,
            expires_in: Nanos::from_millis(expires_ms),
        }),
        ..Network::default()
    }
}

/// A finding as text: all that a person reads.
pub(crate) fn rendered(finding: &super::Finding) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{} {}: {}: {}\n",
        finding.level, finding.rule, finding.subject, finding.title
    );
    for evidence in &finding.evidence {
        let _ = writeln!(
            text,
            "  - {} [{}={:.3}]",
            evidence.text, evidence.name, evidence.value
        );
    }
    let _ = writeln!(text, "  means: {}\n  do: {}", finding.meaning, finding.remedy);
    text
}
