//! The memory of all TCP sockets near the kernel's limits, and who uses it.

use super::Rule;
use crate::{
    duration::human,
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Netns, Scene},
    },
    plural::counted,
};
use hashbrown::HashMap;

/// `tcp-memory`
pub static RULE: Rule = Rule {
    id: "tcp-memory",
    title: "the memory of TCP sockets is short",
    fires: "The memory of TCP sockets (`mem` in `/proc/net/sockstat`) reaches the third number of `tcp_mem`, the limit
(critical), or the second, from which on there is memory pressure, or `TCPMemoryPressures` grew during the watch
(warning); a note from the first number on, below which pressure ends.",
    means: "The data in the queues of sockets is kept in memory that cannot be swapped: what programs have not read, and what
peers have not acknowledged or do not take. Under pressure the kernel shrinks receive windows and buffers, drops segments
that came out of order and slows every connection of the host; at the limit it drops segments and resets orphaned
sockets. The evidence names the processes whose sockets hold the most: a program that does not read, or one that writes
to peers that do not read.",
    remedy: "Look at those processes and their connections: close-wait-leak, peer-not-reading and dead-peer say why data stays
in sockets. `tcptrace snapshot -w` shows the memory of each. If the connections are meant to be as many, raise
`net.ipv4.tcp_mem` (in pages), as far as there is memory, or lower the buffers of each (`tcp_rmem`, `tcp_wmem`).",
    spares: "Any use below the first number. The limits of memory cgroups, which are not read. Hosts and recordings where
`tcp_mem` is not known, as inside of a container.",
    check,
};

/// Maximum number of processes named.
const HOLDERS: usize = 5;

/// The three numbers of `tcp_mem`, pages.
struct Thresholds {
    low: u64,
    pressure: u64,
    high: u64,
}

impl Thresholds {
    /// `None` where this namespace does not show them: only the first one of the host does.
    fn of(namespace: &Netns) -> Option<Self> {
        let text = namespace.sysctls.get("ipv4.tcp_mem")?;
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        Some(Self {
            low: numbers.next()?,
            pressure: numbers.next()?,
            high: numbers.next()?,
        })
    }

    const fn level(&self, used: u64, pressures: u64) -> Option<Level> {
        if used >= self.high {
            Some(Level::Critical)
        } else if used >= self.pressure || pressures > 0 {
            Some(Level::Warning)
        } else if used >= self.low {
            Some(Level::Note)
        } else {
            None
        }
    }
}

/// The host's use and thresholds, where they are known.
fn known(namespaces: &[Netns]) -> Option<(u64, Thresholds)> {
    namespaces.iter().find_map(|namespace| {
        let used = *namespace.counters.get("sockstat.mem")?;
        Some((used, Thresholds::of(namespace)?))
    })
}

/// The memory of the host's TCP sockets in pages, and the three numbers of `tcp_mem`: where they are known.
pub(crate) fn pages(namespaces: &[Netns]) -> Option<(u64, [u64; 3])> {
    let (used, thresholds) = known(namespaces)?;
    Some((used, [thresholds.low, thresholds.pressure, thresholds.high]))
}

/// How often memory pressure began during the watch; the namespace of the socket that met it counts.
fn pressures(namespaces: &[Netns]) -> u64 {
    namespaces
        .iter()
        .map(|namespace| namespace.grown("TCPMemoryPressures"))
        .sum()
}

/// Whether it matters who uses the memory.
#[must_use]
pub fn is_short(namespaces: &[Netns]) -> bool {
    known(namespaces)
        .is_some_and(|(used, thresholds)| thresholds.level(used, pressures(namespaces)).is_some())
}

fn check(scene: &Scene) -> Vec<Finding> {
    known(&scene.namespaces)
        .and_then(|(used, thresholds)| finding(scene, used, &thresholds))
        .into_iter()
        .collect()
}

fn finding(scene: &Scene, used: u64, thresholds: &Thresholds) -> Option<Finding> {
    let pressures = pressures(&scene.namespaces);
    let level = thresholds.level(used, pressures)?;
    let Thresholds { low, pressure, high } = thresholds;
    let mut evidence = vec![Evidence::new(
        "memory_pages",
        used,
        format!(
            "{} used, and tcp_mem is {low} {pressure} {high}",
            counted(used, "page")
        ),
    )];
    if pressures > 0 {
        let text = format!(
            "memory pressure began {} in {}",
            counted(pressures, "time"),
            human(scene.watched)
        );
        evidence.push(Evidence::new("memory_pressures", pressures, text));
    }
    evidence.extend(holders(scene));
    Some(Finding {
        rule: RULE.id,
        level,
        subject: Subject::Host,
        title: format!("the queues of TCP sockets use {used} of {high} pages"),
        evidence,
        meaning: "memory pressure shrinks the windows and buffers of every connection of this host, and at the limit segments are \
            dropped"
            .to_owned(),
        remedy: format!(
            "find out why data stays in the sockets of these processes; raise net.ipv4.tcp_mem above {low} {pressure} {high} only if \
             so many connections are meant to be there"
        ),
        weight: used.figure(),
    })
}

/// The processes whose sockets hold the most.
fn holders(scene: &Scene) -> Vec<Evidence> {
    let mut bytes: HashMap<usize, u64> = HashMap::new();
    let mut unowned = 0;
    for socket in &scene.sockets {
        let Some(network) = scene.network(socket) else {
            continue;
        };
        match socket.owner {
            Some(owner) => *bytes.entry(owner.process).or_default() += network.memory(),
            None => unowned += network.memory(),
        }
    }
    bytes.retain(|_, bytes| *bytes > 0);
    let largest = scene.largest(&bytes, HOLDERS).into_iter();
    let mut evidence: Vec<Evidence> = largest
        .map(|(process, bytes)| {
            let whose = format!("of {} ({})", process.comm, process.key.pid);
            Evidence::new("memory_bytes_of_process", bytes, in_sockets(bytes, &whose))
        })
        .collect();
    if unowned > 0 {
        let text = in_sockets(unowned, "whose process is gone or not known");
        evidence.push(Evidence::new("memory_bytes_unowned", unowned, text));
    }
    evidence
}

fn in_sockets(bytes: u64, whose: &str) -> String {
    format!("{} in sockets {whose}", counted(bytes, "byte"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::TcpState,
        findings::{
            evaluate_by,
            fixture::{rendered, scene, socket},
        },
        socket::network::Network,
    };

    fn host(pages: u64) -> Scene {
        let mut scene = scene();
        scene.set("ipv4.tcp_mem", "1000\t2000\t3000");
        scene.counted("sockstat.mem", 0, pages);
        scene
    }

    fn evaluated(scene: &Scene) -> Vec<Finding> {
        evaluate_by(&[&RULE], scene)
    }

    #[test]
    fn the_level_follows_the_three_numbers() {
        let level = |pages| evaluated(&host(pages)).first().map(|finding| finding.level);
        let levels = [999, 1_000, 2_000, 3_000].map(level);
        let [note, warning, critical] = [Level::Note, Level::Warning, Level::Critical].map(Some);
        assert_eq!(levels, [None, note, warning, critical]);
        let mut recovered = host(10);
        recovered.counted("TCPMemoryPressures", 3, 3);
        assert_eq!(evaluated(&recovered), []);
        recovered.counted("TCPMemoryPressures", 3, 5);
        assert_eq!(evaluated(&recovered)[0].level, Level::Warning);
        assert!(is_short(&recovered.namespaces));
    }

    #[test]
    fn who_holds_the_memory_is_named() {
        let mut scene = host(2_500);
        scene.counted("TCPMemoryPressures", 3, 4);
        for (pid, comm, send_memory, receive_memory) in
            [(7, "writer", 6_000_000, 0), (8, "reader", 1_000, 100_000)]
        {
            let owner = scene.process_at(pid, comm);
            let full = socket(
                TcpState::Established,
                "10.0.0.1:80",
                "10.0.0.2:1000",
                9,
                Some(owner),
            );
            let network = Network {
                send_memory: Some(send_memory),
                receive_memory: Some(receive_memory),
                ..Network::default()
            };
            scene.add_with(&full, network);
        }
        let orphan = socket(TcpState::FinWait1, "10.0.0.1:80", "10.0.0.3:1000", 9, None);
        let network = Network {
            send_memory: Some(70_000),
            ..Network::default()
        };
        scene.add_with(&orphan, network);
        insta::assert_snapshot!(rendered(&evaluated(&scene)[0]));
    }

    #[test]
    fn without_the_thresholds_nothing_is_said() {
        let mut scene = scene();
        scene.counted("sockstat.mem", 0, u64::MAX);
        assert_eq!(evaluated(&scene), []);
        assert!(!is_short(&scene.namespaces));
    }
}
