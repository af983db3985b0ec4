//! How many local ports the kernel may choose for a `connect`, in each network namespace.

use super::namespaces;
use hashbrown::HashMap;
use nix::sched::{CloneFlags, setns};
use std::{fs, thread};

/// The ports of `net.ipv4.ip_local_port_range` less those of `ip_local_reserved_ports`, of these namespaces.
#[must_use]
pub fn in_namespaces(wanted: &[u32]) -> HashMap<u32, u64> {
    let current = namespaces::current().unwrap_or(0);
    let spaces: Vec<namespaces::Namespace> = namespaces::all()
        .into_iter()
        .filter(|space| wanted.contains(&space.inode))
        .collect();
    // Entering a namespace changes the thread, so it is a thread of its own that does.
    thread::scope(|scope| {
        let read = scope.spawn(|| {
            let mut ranges = HashMap::new();
            for space in &spaces {
                let is_entered =
                    space.inode == current || setns(&space.file, CloneFlags::CLONE_NEWNET).is_ok();
                if is_entered && let Some(count) = here() {
                    ranges.insert(space.inode, count);
                }
            }
            ranges
        });
        read.join().unwrap_or_default()
    })
}

fn here() -> Option<u64> {
    let folder = "/proc/sys/net/ipv4";
    let range = fs::read_to_string(format!("{folder}/ip_local_port_range")).ok()?;
    let reserved = fs::read_to_string(format!("{folder}/ip_local_reserved_ports")).unwrap_or_default();
    count(&range, &reserved)
}

/// `32768 60999` less `8080,9000-9010` (Documentation/networking/ip-sysctl.rst).
fn count(range: &str, reserved: &str) -> Option<u64> {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let taken: u64 = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            Some((to.min(high) + 1).saturating_sub(from.max(low)))
        })
        .sum();
    Some((high + 1).saturating_sub(low).saturating_sub(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_within_the_range_are_taken_off() {
        assert_eq!(count("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(
            count("32768\t60999\n", "8080,40000,60990-61010\n"),
            Some(28_232 - 1 - 10)
        );
        assert_eq!(count("nonsense", ""), None);
    }
}
