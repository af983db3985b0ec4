//! What durations are grouped by, and its representation in the tags of a `.hlog`. Knows no durations.

use crate::{
    connection::lifetime::Role,
    event::{Endpoints, ProcessKey, known_netns},
    owner::processes::{Process, comm_text},
};
use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

/// What durations are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Only states
    #[default]
    State,
    /// The owning process
    Process,
    /// For a client its address and the server's address and port, for a server its port
    Endpoint,
    /// Both addresses and ports: successive connections between the same two ends
    Tuple,
    /// The owning process's cgroup
    Cgroup,
}

impl By {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Process => "process",
            Self::Endpoint => "endpoint",
            Self::Tuple => "tuple",
            Self::Cgroup => "cgroup",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A process; `None` where the owner is not known.
    Process(Option<ProcessKey>),
    /// A client and the server that it talks to, whatever its own port.
    Client {
        /// Inode number of the network namespace.
        netns: u32,
        /// Both addresses and the remote port; the local one is 0.
        endpoints: Endpoints,
    },
    /// A server's port.
    Server {
        /// Inode number of the network namespace.
        netns: u32,
        /// The local port.
        port: u16,
    },
    /// A pair of endpoints, the four-tuple.
    Tuple {
        /// Inode number of the network namespace.
        netns: u32,
        /// The local and remote endpoint.
        endpoints: Endpoints,
    },
    /// A cgroup v2 id; `None` where the owner, or its cgroup, is not known.
    Cgroup(Option<u64>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The local and remote endpoint.
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) netns: u32,
    /// Who opened the connection.
    pub(crate) role: Role,
    pub(crate) owner: Option<&'a Process>,
}

impl Key {
    /// The key of these facts; `None` if durations are grouped by state only.
    pub(crate) fn of(by: By, facts: &Facts<'_>) -> Option<Self> {
        let netns = facts.netns;
        Some(match by {
            By::State => return None,
            By::Process => Self::Process(facts.owner.map(|owner| owner.key)),
            By::Endpoint => match facts.role {
                Role::Server => Self::Server {
                    netns,
                    port: facts.endpoints.local_port,
                },
                Role::Client => {
                    let mut endpoints = *facts.endpoints;
                    endpoints.local_port = 0;
                    Self::Client { netns, endpoints }
                }
            },
            By::Tuple => Self::Tuple {
                netns,
                endpoints: *facts.endpoints,
            },
            By::Cgroup => {
                let id = facts.owner.map_or(0, |owner| owner.cgroup);
                Self::Cgroup((id != 0).then_some(id))
            }
        })
    }

    /// The network namespace, where it is part of the key and known.
    pub(crate) const fn netns(&self) -> Option<u32> {
        match self {
            Self::Client { netns, .. } | Self::Server { netns, .. } | Self::Tuple { netns, .. } => {
                known_netns(*netns)
            }
            Self::Process(_) | Self::Cgroup(_) => None,
        }
    }
}

/// A key and, for a process, its latest name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedKey {
    /// The key.
    pub key: Key,
    /// `comm`, zero-padded; zeros for what is no process.
    pub comm: [u8; 16],
}

/// For people: `4242/leaky-server`, `10.0.0.1 → 10.0.0.2:443`, `port 80`.
impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Key::Process(Some(key)) => write!(f, "{}/{}", key.pid, comm_text(&self.comm)),
            Key::Process(None) | Key::Cgroup(None) => f.write_str("(unknown)"),
            Key::Client { endpoints, .. } => {
                let remote = SocketAddr::new(endpoints.remote(), endpoints.remote_port);
                write!(f, "{} → {remote}", endpoints.local())
            }
            Key::Server { port, .. } => write!(f, "port {port}"),
            Key::Tuple { endpoints, .. } => {
                let local = SocketAddr::new(endpoints.local(), endpoints.local_port);
                let remote = SocketAddr::new(endpoints.remote(), endpoints.remote_port);
                write!(f, "{local} → {remote}")
            }
            Key::Cgroup(Some(id)) => write!(f, "cgroup {id}"),
        }
    }
}

impl NamedKey {
    /// One word without blanks and commas, which a tag may not hold; [`Self::from_word`] reads it.
    pub(crate) fn word(&self) -> String {
        match self.key {
            Key::Process(Some(key)) => {
                let mut word = format!("process:{}:{}:", key.pid, key.start_ns);
                push_escaped(&mut word, &self.comm);
                word
            }
            Key::Process(None) => "process:-".to_owned(),
            Key::Client { netns, endpoints } => {
                let remote = SocketAddr::new(endpoints.remote(), endpoints.remote_port);
                format!("client:{netns}:{}>{remote}", endpoints.local())
            }
            Key::Server { netns, port } => format!("server:{netns}:{port}"),
            Key::Tuple { netns, endpoints } => {
                let local = SocketAddr::new(endpoints.local(), endpoints.local_port);
                let remote = SocketAddr::new(endpoints.remote(), endpoints.remote_port);
                format!("tuple:{netns}:{local}>{remote}")
            }
            Key::Cgroup(Some(id)) => format!("cgroup:{id}"),
            Key::Cgroup(None) => "cgroup:-".to_owned(),
        }
    }

    /// Reads what [`Self::word`] wrote.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let (what, rest) = word.split_once(':')?;
        let mut comm = [0; 16];
        let key = match (what, rest) {
            ("process", "-") => Key::Process(None),
            ("process", _) => {
                let (pid, rest) = rest.split_once(':')?;
                let (start, name) = rest.split_once(':')?;
                let bytes = unescaped(name)?;
                comm.get_mut(..bytes.len())?.copy_from_slice(&bytes);
                Key::Process(Some(ProcessKey::new(pid.parse().ok()?, start.parse().ok()?)))
            }
            ("cgroup", "-") => Key::Cgroup(None),
            ("cgroup", _) => {
                // Its path may follow, which is no part of the key.
                let (id, _) = rest.split_once(':').unwrap_or((rest, ""));
                Key::Cgroup(Some(id.parse().ok()?))
            }
            ("client" | "server" | "tuple", _) => {
                let (netns, rest) = rest.split_once(':')?;
                endpoint_key(what, netns.parse().ok()?, rest)?
            }
            _ => return None,
        };
        Some(Self { key, comm })
    }
}

/// The path that follows a cgroup's word, where there is one.
pub(crate) fn path_of_word(word: &str) -> Option<Vec<u8>> {
    let (_, path) = word.strip_prefix("cgroup:")?.split_once(':')?;
    unescaped(path)
}

fn endpoint_key(what: &str, netns: u32, text: &str) -> Option<Key> {
    if what == "server" {
        let port = text.parse().ok()?;
        return Some(Key::Server { netns, port });
    }
    let (local, remote) = text.split_once('>')?;
    let remote: SocketAddr = remote.parse().ok()?;
    let remote = (remote.ip(), remote.port());
    if what == "client" {
        let local: IpAddr = local.parse().ok()?;
        let endpoints = Endpoints::new((local, 0), remote);
        return Some(Key::Client { netns, endpoints });
    }
    let local: SocketAddr = local.parse().ok()?;
    let endpoints = Endpoints::new((local.ip(), local.port()), remote);
    Some(Key::Tuple { netns, endpoints })
}

/// Bytes other than letters, digits, `.`, `_` and `-` become `%` and two hexadecimal digits, as in RFC 3986
/// section 2.1; from the first zero on, which is padding, they are left out.
pub(crate) fn push_escaped(word: &mut String, bytes: &[u8]) {
    for byte in bytes.iter().take_while(|byte| **byte != 0) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            word.push(char::from(*byte));
        } else {
            let _ = write!(word, "%{byte:02X}");
        }
    }
}

/// Reads what [`push_escaped`] wrote; `None` where it has not.
pub(crate) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut unescaped = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        unescaped.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        let end = || (any::<IpAddr>(), any::<u16>());
        prop_oneof![
            proptest::option::of((any::<u32>(), any::<u64>())).prop_map(|process| {
                Key::Process(process.map(|(pid, start_ns)| ProcessKey::new(pid, start_ns)))
            }),
            (any::<u32>(), end(), end()).prop_map(|(netns, local, remote)| Key::Client {
                netns,
                endpoints: Endpoints::new((local.0, 0), remote),
            }),
            (any::<u32>(), any::<u16>()).prop_map(|(netns, port)| Key::Server { netns, port }),
            (any::<u32>(), end(), end()).prop_map(|(netns, local, remote)| Key::Tuple {
                netns,
                endpoints: Endpoints::new(local, remote),
            }),
            proptest::option::of(any::<u64>()).prop_map(Key::Cgroup),
        ]
    }

    proptest! {
        #[test]
        fn a_word_fits_a_tag_and_reads_back(key in key(), comm in "[ -~]{0,8}é?") {
            let mut named = NamedKey { key, comm: [0; 16] };
            if matches!(key, Key::Process(Some(_))) {
                named.comm[..comm.len()].copy_from_slice(comm.as_bytes());
            }
            let word = named.word();
            prop_assert!(!word.contains([',', ' ', '\r', '\n', '/']), "{}", word);
            // Addresses of two families never are the ends of one connection; printing them tells.
            let back = NamedKey::from_word(&word);
            prop_assert_eq!(back.map(|back| back.word()), Some(word));
        }
    }

    #[test]
    fn words_that_are_none_are_refused() {
        for word in [
            "",
            "process",
            "process:x",
            "server:1:99999",
            "tuple:1:1.2.3.4>5.6.7.8:1",
            "port:80",
        ] {
            assert_eq!(NamedKey::from_word(word), None, "{word}");
        }
    }
}
