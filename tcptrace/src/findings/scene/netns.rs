//! A network namespace: its settings, and how its counters grow.

use crate::socket::patience::Limits;
use hashbrown::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// The settings and counters of a network namespace; what its kernel does not have is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Netns {
    /// Inode number of the network namespace.
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
    /// Path of the configuration file.
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

impl Netns {
    /// A setting that is one number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.sysctls.get(name)?.trim().parse().ok()
    }

    /// The settings that decide how long sockets wait for their peers.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let number = |name| u32::try_from(self.number(name)?).ok();
        Limits {
            retries: number("ipv4.tcp_retries2"),
            orphan_retries: number("ipv4.tcp_orphan_retries"),
            keepalive_time_s: number("ipv4.tcp_keepalive_time"),
            keepalive_interval_s: number("ipv4.tcp_keepalive_intvl"),
            keepalive_probes: number("ipv4.tcp_keepalive_probes"),
            rto_max_ms: number("ipv4.tcp_rto_max_ms"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(range: &str, reserved: &str) -> Netns {
        Netns {
            sysctls: [
                ("ipv4.ip_local_port_range".to_owned(), range.to_owned()),
                ("ipv4.ip_local_reserved_ports".to_owned(), reserved.to_owned()),
            ]
            .into(),
            ..Netns::default()
        }
    }

    #[test]
    fn ports_are_the_range_less_those_reserved_in_it() {
        let namespace = namespace("1000\t1009\n", "999-1001,1009,2000,x\n");
        assert_eq!(namespace.ports(), 1000..=1009);
        let mut reserved: Vec<u16> = namespace.reserved_ports().into_iter().collect();
        reserved.sort_unstable();
        assert_eq!(reserved, [1000, 1001, 1009]);
        assert_eq!(Netns::default().ports(), 32_768..=60_999);
        assert!(Netns::default().reserved_ports().is_empty());
    }

    #[test]
    fn counters_grow_only_while_they_are_watched() {
        let mut namespace = Netns {
            counters: [("ListenOverflows".to_owned(), 9)].into(),
            ..Netns::default()
        };
        assert_eq!(namespace.grown("ListenOverflows"), 0);
        namespace.counters_before = [("ListenOverflows".to_owned(), 4)].into();
        assert_eq!(namespace.grown("ListenOverflows"), 5);
        assert_eq!(namespace.grown("TW"), 0);
    }
}
