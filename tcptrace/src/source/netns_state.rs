//! The settings and counters of each network namespace, from `/proc`.

use super::namespaces::{self, Names};
use crate::{event::Nanos, findings::scene::Netns, socket::scan::Keeper};
use hashbrown::HashMap;
use nix::sched::{CloneFlags, setns};
use std::{fs, thread};

/// The thread's own: the main thread's may be another namespace's.
const COUNTERS: [&str; 3] = [
    "/proc/thread-self/net/netstat",
    "/proc/thread-self/net/snmp",
    "/proc/thread-self/net/sockstat",
];

/// Reads namespaces again and again, so that the growth of their counters is known.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    before: HashMap<u32, HashMap<String, u64>>,
}

impl Watched {
    /// The namespaces as [`read`] has them, with the counters of when each was first read.
    pub(crate) fn read(
        &mut self,
        wanted: Option<&[u32]>,
        keepers: &[Keeper],
        sysctls: &[&str],
        now: Nanos,
    ) -> Vec<Netns> {
        let mut namespaces = read(wanted, keepers, sysctls, now);
        self.compare(&mut namespaces);
        namespaces
    }

    /// Fills in the counters of when each was first compared.
    pub(crate) fn compare(&mut self, namespaces: &mut [Netns]) {
        for namespace in namespaces {
            let before = self.before.entry(namespace.netns);
            let before = before.or_insert_with(|| namespace.counters.clone());
            namespace.counters_before.clone_from(before);
        }
    }
}

/// Reads the namespaces of this list, or all that can be entered, in order of their inode numbers; `keepers` lead to
/// some that nothing else leads to. The settings
/// `sysctls`, named below `net` as in `ipv4.tcp_fin_timeout`, and all counters. What a namespace does not have is left
/// out.
pub(crate) fn read(wanted: Option<&[u32]>, keepers: &[Keeper], sysctls: &[&str], now: Nanos) -> Vec<Netns> {
    let current = namespaces::current().unwrap_or(0);
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    let enter_and_read = || {
        let mut names = Names::default();
        let mut namespaces: Vec<Netns> = namespaces::all(keepers)
            .namespaces
            .iter()
            .filter(|namespace| wanted.is_none_or(|list| list.contains(&namespace.inode)))
            .filter(|namespace| {
                // Entering even the own one would take a privilege.
                namespace.inode == current || setns(&namespace.file, CloneFlags::CLONE_NEWNET).is_ok()
            })
            .map(|namespace| Netns {
                netns: namespace.inode,
                name: names.of(namespace.inode, now).map(str::to_owned),
                sysctls: settings(sysctls),
                counters: counters(),
                counters_before: HashMap::new(),
            })
            .collect();
        namespaces.sort_by_key(|namespace| namespace.netns);
        namespaces
    };
    thread::scope(|scope| scope.spawn(enter_and_read).join()).unwrap_or_default()
}

/// `/proc/sys/net` shows the settings of the namespace of the thread that reads it.
fn settings(names: &[&str]) -> HashMap<String, String> {
    names
        .iter()
        .filter_map(|name| {
            let path = format!("/proc/sys/net/{}", name.replacen('.', "/", 1));
            let value = fs::read_to_string(path).ok()?;
            Some(((*name).to_owned(), value.trim_end().to_owned()))
        })
        .collect()
}

fn counters() -> HashMap<String, u64> {
    let mut counters = HashMap::new();
    for path in COUNTERS {
        let text = fs::read_to_string(path).unwrap_or_default();
        if path.ends_with("sockstat") {
            pairs(&text, &mut counters);
        } else {
            columns(&text, &mut counters);
        }
    }
    counters
}

/// A line of names and a line of values in turn, both beginning with their group; of the groups TCP's alone.
fn columns(text: &str, counters: &mut HashMap<String, u64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if names.starts_with("TcpExt:") || names.starts_with("Tcp:") {
            for (name, value) in names.split(' ').zip(values.split(' ')).skip(1) {
                if let Ok(value) = value.parse() {
                    counters.insert(name.to_owned(), value);
                }
            }
        }
    }
}

/// `TCP: inuse 5 orphan 0 tw 3 alloc 9 mem 1`, as `sockstat.orphan` and so on.
fn pairs(text: &str, counters: &mut HashMap<String, u64>) {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "));
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    for pair in words.chunks_exact(2) {
        if let Ok(value) = pair[1].parse() {
            counters.insert(format!("sockstat.{}", pair[0]), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_in_tcp_s_groups() {
        let mut found = HashMap::new();
        columns(
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 4\nIpExt: ListenDrops\nIpExt: 9\nTcp: MaxConn\nTcp: -1\n",
            &mut found,
        );
        pairs(
            "sockets: used 9\nTCP: inuse 5 orphan 1 tw 3\nUDP: inuse 7\n",
            &mut found,
        );
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort();
        let expected = [
            ("ListenDrops", 4),
            ("ListenOverflows", 3),
            ("sockstat.inuse", 5),
            ("sockstat.orphan", 1),
            ("sockstat.tw", 3),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        columns("TcpExt: A\n", &mut HashMap::new());
        pairs("", &mut HashMap::new());
    }

    #[test]
    fn counters_are_kept_from_when_a_namespace_was_first_read() {
        let own = namespaces::current().unwrap();
        let mut watched = Watched::default();
        let first = watched.read(Some(&[own]), &[], &[], Nanos(0));
        let second = watched.read(Some(&[own]), &[], &[], Nanos(1));
        assert_eq!(first.len(), second.len());
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(first.counters_before, first.counters);
            assert_eq!(second.counters_before, first.counters);
        }
    }

    #[test]
    fn this_namespace_has_its_settings() {
        let own = namespaces::current().unwrap();
        let namespaces = read(
            Some(&[own]),
            &[],
            &["ipv4.ip_local_port_range", "ipv4.none"],
            Nanos(0),
        );
        assert_eq!(namespaces.len(), 1);
        for namespace in namespaces {
            assert_eq!(namespace.netns, own);
            assert_eq!(namespace.sysctls.len(), 1);
            assert!(
                namespace.counters.contains_key("sockstat.inuse"),
                "{:?}",
                namespace.counters
            );
        }
    }
}
