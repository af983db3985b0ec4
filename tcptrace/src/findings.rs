//! Findings: what is wrong, with a subject, evidence, meaning and remedy. Pure: a [`Scene`] goes in, findings come out,
//! worst first. Knows no kernel, no clock and no output.

pub mod ages;
pub mod gather;
pub mod growth;
pub mod history;
pub mod leak;
pub mod peers;
pub(crate) mod reading;
pub mod rules;
pub mod scene;
pub mod scope;
pub mod settings;
pub mod slope;
pub mod spared;
pub mod unknown_ages;
pub mod verdict;
pub mod waiting;

#[cfg(test)]
pub(crate) mod fixture;

use crate::{
    event::{ProcessKey, serialize_netns},
    findings::{rules::Rule, scene::Scene},
};
use serde::Serialize;
use std::{fmt, net::IpAddr};

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing; nothing fails.
    Note,
    /// Something is wrong, and will fail if it continues.
    Warning,
    /// Connections are being lost, or will be soon.
    Critical,
}

impl Level {
    /// The word in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whom a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Subject {
    /// A process, identified by PID and start time.
    Process {
        /// Thread group id.
        pid: u32,
        /// Start time since boot, nanoseconds.
        start_ns: u64,
        /// Name of the process.
        comm: String,
        /// Whether it is only known to own the listener.
        is_guess: bool,
    },
    /// A listening socket.
    Listener {
        /// Inode number of the network namespace.
        #[serde(serialize_with = "serialize_netns")]
        netns: u32,
        /// Where it listens.
        addr: IpAddr,
        /// Where it listens.
        port: u16,
        /// The name of the process that listens, where known.
        comm: Option<String>,
    },
    /// A place that this host connects to.
    Destination {
        /// Inode number of the network namespace.
        #[serde(serialize_with = "serialize_netns")]
        netns: u32,
        /// The remote address.
        addr: IpAddr,
        /// Its port; `None` where all are meant.
        port: Option<u16>,
    },
    /// A network namespace.
    Netns {
        /// Inode number of the network namespace.
        netns: u32,
        /// What it is called, where it has a name.
        name: Option<String>,
    },
    /// This machine.
    Host,
}

impl Subject {
    /// A process of the scene.
    #[must_use]
    pub fn process(key: ProcessKey, comm: &str) -> Self {
        Self::Process {
            pid: key.pid,
            start_ns: key.start_ns,
            comm: comm.to_owned(),
            is_guess: false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |addr: &IpAddr, port: u16| std::net::SocketAddr::new(*addr, port);
        match self {
            Self::Process {
                pid, comm, is_guess, ..
            } => write!(f, "{comm}{} ({pid})", if *is_guess { "?" } else { "" }),
            Self::Listener {
                addr,
                port,
                comm: Some(comm),
                ..
            } => write!(f, "{comm}, listening on {}", end(addr, *port)),
            Self::Listener { addr, port, .. } => write!(f, "the listener on {}", end(addr, *port)),
            Self::Destination {
                addr,
                port: Some(port),
                ..
            } => write!(f, "{}", end(addr, *port)),
            Self::Destination { addr, port: None, .. } => write!(f, "{addr}"),
            Self::Netns { name: Some(name), .. } => write!(f, "network namespace {name}"),
            Self::Netns { netns, name: None } => write!(f, "network namespace {netns}"),
            Self::Host => f.write_str("this host"),
        }
    }
}

/// One figure and the sentence that contains it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// What is counted or measured, for programs. The unit is at its end, where it has one: `oldest_seconds`.
    pub name: &'static str,
    /// The figure, in the unit that the name ends with.
    pub value: f64,
    /// The sentence, for people.
    pub text: String,
}

impl Evidence {
    /// A figure with its sentence.
    #[must_use]
    pub fn new(name: &'static str, value: impl Figure, text: impl Into<String>) -> Self {
        Self {
            name,
            value: value.figure(),
            text: text.into(),
        }
    }
}

/// What can be a figure.
pub trait Figure {
    /// As a number.
    fn figure(self) -> f64;
}

impl Figure for f64 {
    fn figure(self) -> f64 {
        self
    }
}

impl Figure for u64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of sockets are far below 2^52")]
    fn figure(self) -> f64 {
        self as f64
    }
}

impl Figure for usize {
    fn figure(self) -> f64 {
        (self as u64).figure()
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule's id: [`Rule::id`].
    pub rule: &'static str,
    /// How bad.
    pub level: Level,
    /// Whom it is about.
    pub subject: Subject,
    /// One line that summarises it.
    pub title: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// A sentence on what the finding means.
    pub meaning: String,
    /// A sentence on what to do.
    pub remedy: String,
    /// Among those of one level the greater comes first.
    pub weight: f64,
}

/// Everything that is wrong, worst first.
#[must_use]
pub fn evaluate(scene: &Scene) -> Vec<Finding> {
    evaluate_by(&rules::ALL, scene)
}

/// The findings of these rules for the selected processes, worst first; equally bad ones in the order of the rules.
#[must_use]
pub fn evaluate_by(rules: &[&Rule], scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules {
        let mut found = (rule.check)(scene);
        // Rules go through maps, which have no order.
        found.sort_by_cached_key(|finding| finding.subject.to_string());
        findings.append(&mut found);
    }
    scope::limit(&mut findings, scene);
    findings.sort_by(|a, b| b.level.cmp(&a.level).then(b.weight.total_cmp(&a.weight)));
    findings
}
