//! Which connections a user wants to see. The same on every command.

use crate::{
    event::{Endpoints, Family, ProcessKey, StartTicks, TcpState},
    owner::{
        container::{Location, Tree},
        processes::{Process, comm_text},
    },
};
use ipnet::IpNet;
use std::net::IpAddr;

/// Empty lists let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Processes, as they were when the filter was made: another one that gets the id later is not meant.
    pub pids: Vec<Pinned>,
    /// Parts of the command's name.
    pub comms: Vec<String>,
    /// Real user IDs.
    pub users: Vec<u32>,
    /// Ports of this host.
    pub local_ports: Vec<u16>,
    /// Ports of the other host.
    pub remote_ports: Vec<u16>,
    /// Networks of this host's addresses; a single address is a network of one.
    pub local_networks: Vec<IpNet>,
    /// Networks of the other host's addresses.
    pub remote_networks: Vec<IpNet>,
    /// Address family.
    pub family: Option<Family>,
    /// States; a change passes where either of its two is listed.
    pub states: Vec<TcpState>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
    /// cgroups, each with all below it.
    pub cgroups: Vec<Tree>,
    /// What containers, pods and units are called.
    pub containers: Vec<String>,
}

/// One process, not later ones with the same PID, or every process that had the PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Thread group id.
    pub pid: u32,
    /// When it started; `None` where that is not known, as of a recording's processes.
    pub start: Option<StartTicks>,
}

/// The properties of a process that a filter matches: the owner of a socket, or a holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) key: ProcessKey,
    /// `comm` of the leader, zero-padded.
    pub(crate) comm: &'a [u8; 16],
    /// Real user ID, if known.
    pub(crate) uid: Option<u32>,
    /// cgroup v2 id, 0 where unknown.
    pub(crate) cgroup: u64,
    /// Where it runs, as far as known.
    pub(crate) location: Option<&'a Location>,
}

impl<'a> From<&'a Process> for Candidate<'a> {
    fn from(process: &'a Process) -> Self {
        Self {
            key: process.key,
            comm: &process.comm,
            uid: process.uid,
            cgroup: process.cgroup,
            location: process.location.as_deref(),
        }
    }
}

/// The properties of a connection that a filter matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterInput<'a> {
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) netns: u32,
    pub(crate) states: &'a [TcpState],
    pub(crate) owner: Option<&'a Process>,
}

impl Filter {
    pub(crate) fn accepts(&self, subject: &FilterInput<'_>) -> bool {
        self.accepts_ends(subject) && self.accepts_owner(subject.owner)
    }

    /// Whether the process criteria match a socket of this process.
    pub(crate) fn accepts_owner(&self, owner: Option<&Process>) -> bool {
        !self.asks_for_processes() || owner.is_some_and(|owner| self.accepts_process(&owner.into()))
    }

    /// Whether the process matches. If [`Self::asks_for_locations`], where it runs must have been
    /// looked up before.
    pub(crate) fn accepts_process(&self, process: &Candidate<'_>) -> bool {
        passes(&self.pids, |pinned| {
            pinned.pid == process.key.pid
                && pinned
                    .start
                    .is_none_or(|start| start == StartTicks::of(process.key))
        }) && passes(&self.comms, |comm| {
            comm_text(process.comm).contains(comm.as_str())
        }) && passes(&self.users, |user| process.uid == Some(*user))
            && passes(&self.cgroups, |tree| {
                tree.id.is_some_and(|id| id == process.cgroup)
                    || process
                        .location
                        .is_some_and(|location| location.is_in(&tree.path))
            })
            && passes(&self.containers, |word| {
                process.location.is_some_and(|location| location.is_called(word))
            })
    }

    /// Whether the answer depends on the process.
    pub(crate) fn asks_for_processes(&self) -> bool {
        !self.pids.is_empty() || !self.comms.is_empty() || !self.users.is_empty() || self.asks_for_locations()
    }

    /// Whether the answer depends on where the process runs.
    pub(crate) fn asks_for_locations(&self) -> bool {
        !self.cgroups.is_empty() || !self.containers.is_empty()
    }

    /// Whether it asks for less than whole network namespaces.
    pub(crate) fn is_narrower_than_netns(&self) -> bool {
        let whole = Self {
            netns: self.netns.clone(),
            ..Self::default()
        };
        *self != whole
    }

    /// Whether it matches all criteria other than those on the owner.
    pub(crate) fn accepts_ends(&self, subject: &FilterInput<'_>) -> bool {
        passes(&self.local_ports, |port| *port == subject.endpoints.local_port)
            && passes(&self.remote_ports, |port| *port == subject.endpoints.remote_port)
            && is_in(&self.local_networks, || subject.endpoints.local())
            && is_in(&self.remote_networks, || subject.endpoints.remote())
            && self
                .family
                .is_none_or(|family| family == subject.endpoints.family())
            && passes(&self.states, |state| subject.states.contains(state))
            && passes(&self.netns, |netns| *netns == subject.netns)
    }
}

fn is_in(networks: &[IpNet], address: impl FnOnce() -> IpAddr) -> bool {
    networks.is_empty() || {
        let address = address();
        networks.iter().any(|network| network.contains(&address))
    }
}

fn passes<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fixture;

    fn endpoints() -> Endpoints {
        fixture::endpoints("10.0.0.1:80", "10.0.0.2:4000")
    }

    fn accepts(filter: &Filter) -> bool {
        filter.accepts(&FilterInput {
            endpoints: &endpoints(),
            netns: 5,
            states: &[TcpState::CloseWait],
            owner: None,
        })
    }

    #[test]
    fn an_empty_filter_accepts_everything() {
        assert!(accepts(&Filter::default()));
    }

    #[test]
    fn every_list_must_have_a_match() {
        let both = Filter {
            local_ports: vec![80],
            states: vec![TcpState::CloseWait],
            ..Filter::default()
        };
        assert!(accepts(&both));
        assert!(!accepts(&Filter {
            netns: vec![6],
            ..both.clone()
        }));
        assert!(!accepts(&Filter {
            family: Some(Family::Ipv6),
            ..both.clone()
        }));
        assert!(!accepts(&Filter {
            comms: vec!["nginx".to_owned()],
            ..both
        }));
    }

    #[test]
    fn addresses_are_in_a_network() {
        let of = |local: &[&str], remote: &[&str]| {
            let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            Filter {
                local_networks: networks(local),
                remote_networks: networks(remote),
                ..Filter::default()
            }
        };
        assert!(accepts(&of(&["10.0.0.0/8"], &["10.0.0.2/32"])));
        assert!(accepts(&of(&["192.168.0.0/16", "10.0.0.0/31"], &[])));
        assert!(!accepts(&of(&["10.0.0.2/32"], &[])));
        assert!(!accepts(&of(&[], &["10.0.0.0/31"])));
        assert!(!accepts(&of(&["::/0"], &[])));
    }

    #[test]
    fn only_a_list_of_namespaces_asks_for_whole_ones() {
        let whole = Filter {
            netns: vec![5],
            ..Filter::default()
        };
        assert!(!Filter::default().is_narrower_than_netns() && !whole.is_narrower_than_netns());
        assert!(
            Filter {
                family: Some(Family::Ipv6),
                ..whole
            }
            .is_narrower_than_netns()
        );
    }

    /// Started in tick 500, in cgroup 9.
    fn accepts_process(filter: &Filter, path: Option<&str>) -> bool {
        let location = path.map(|path| Location::of_path(path.as_bytes()));
        filter.accepts_process(&Candidate {
            key: ProcessKey::new(7, 5_001_234_567),
            comm: &fixture::comm("nginx"),
            uid: Some(33),
            cgroup: 9,
            location: location.as_ref(),
        })
    }

    #[test]
    fn a_process_is_meant_by_id_and_start() {
        for (pid, start_ns, is_meant) in [
            (7, 5_000_000_000, true),
            (7, 5_010_000_000, false),
            (7, 4_990_000_000, false),
            (8, 5_000_000_000, false),
        ] {
            let filter = Filter {
                pids: vec![Pinned {
                    pid,
                    start: Some(StartTicks::of(ProcessKey::new(pid, start_ns))),
                }],
                ..Filter::default()
            };
            assert_eq!(accepts_process(&filter, None), is_meant, "{pid} {start_ns}");
        }
    }

    #[test]
    fn a_process_is_meant_by_its_user() {
        let of = |users: &[u32]| Filter {
            users: users.to_vec(),
            ..Filter::default()
        };
        assert!(accepts_process(&of(&[0, 33]), None));
        assert!(!accepts_process(&of(&[0]), None));
        assert!(of(&[0]).asks_for_processes());
    }

    #[test]
    fn a_cgroup_is_meant_with_all_below_it() {
        let tree = |id, path: &str| Filter {
            cgroups: vec![Tree {
                id,
                path: path.to_owned(),
            }],
            ..Filter::default()
        };
        assert!(accepts_process(&tree(Some(9), "/gone"), None));
        assert!(accepts_process(&tree(Some(3), "/a"), Some("/a/b")));
        assert!(accepts_process(&tree(None, "/a/b"), Some("/a/b")));
        assert!(!accepts_process(&tree(Some(3), "/a/b"), Some("/a/bc")));
        assert!(!accepts_process(&tree(Some(3), "/a"), None));
        let of_root = Filter {
            users: vec![0],
            ..Filter::default()
        };
        // A cgroup without an id is not that of a process without one.
        let unknown = Candidate {
            cgroup: 0,
            key: ProcessKey::new(7, 0),
            comm: &[0; 16],
            uid: None,
            location: None,
        };
        assert!(!tree(None, "/a").accepts_process(&unknown));
        assert!(!of_root.accepts_process(&unknown));
    }

    #[test]
    fn a_container_is_meant_by_any_of_its_names() {
        let filter = |words: &[&str]| Filter {
            containers: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        let path = format!("/system.slice/docker-{}.scope", "0123456789abcdef".repeat(4));
        assert!(accepts_process(&filter(&["ffff", "0123"]), Some(&path)));
        assert!(!accepts_process(&filter(&["ffff"]), Some(&path)));
        assert!(!accepts_process(&filter(&["0123"]), None));
        assert!(accepts_process(
            &filter(&["web"]),
            Some("/system.slice/web.service")
        ));
    }
}
