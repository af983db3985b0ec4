//! Which connections a user wants to see. The same on every command.

use crate::{
    event::{Ends, Family, TcpState},
    owner::processes::Process,
};

/// Empty lists let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Parts of the command's name.
    pub comms: Vec<String>,
    /// Ports of this host.
    pub local_ports: Vec<u16>,
    /// Ports of the other host.
    pub remote_ports: Vec<u16>,
    /// Address family.
    pub family: Option<Family>,
    /// States; a change passes where either of its two is listed.
    pub states: Vec<TcpState>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
    /// cgroup v2 ids.
    pub cgroups: Vec<u64>,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Both ends.
    pub ends: &'a Ends,
    /// Network namespace.
    pub netns: u32,
    /// The states in question.
    pub states: &'a [TcpState],
    /// The owner, where known.
    pub owner: Option<&'a Process>,
}

impl Filter {
    /// Whether the subject is wanted.
    #[must_use]
    pub fn accepts(&self, subject: &Subject<'_>) -> bool {
        self.accepts_ends(subject) && self.accepts_process(subject.owner)
    }

    /// Whether a socket of this process is wanted, as far as that depends on the process.
    #[must_use]
    pub fn accepts_process(&self, process: Option<&Process>) -> bool {
        passes(&self.pids, |pid| {
            process.is_some_and(|owner| owner.key.pid == *pid)
        }) && passes(&self.comms, |comm| {
            process.is_some_and(|owner| owner.name().contains(comm.as_str()))
        }) && passes(&self.cgroups, |cgroup| {
            process.is_some_and(|owner| owner.cgroup == *cgroup)
        })
    }

    /// Whether it is wanted as far as everything but its owner is concerned.
    #[must_use]
    pub fn accepts_ends(&self, subject: &Subject<'_>) -> bool {
        passes(&self.local_ports, |port| *port == subject.ends.local_port)
            && passes(&self.remote_ports, |port| *port == subject.ends.remote_port)
            && self.family.is_none_or(|family| family == subject.ends.family())
            && passes(&self.states, |state| subject.states.contains(state))
            && passes(&self.netns, |netns| *netns == subject.netns)
    }
}

fn passes<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends::new(
            ("10.0.0.1".parse().unwrap(), 80),
            ("10.0.0.2".parse().unwrap(), 4000),
        )
    }

    fn accepts(filter: &Filter) -> bool {
        filter.accepts(&Subject {
            ends: &ends(),
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
            pids: vec![1],
            ..both
        }));
    }
}
