//! Replaces what names a host, a process, a container, a file or an address by pseudonyms, consistently within a page:
//! the same input gets the same one. Applied to the data, so that texts that are made of it have nothing else. Messages
//! that were written elsewhere may have anything, and are withheld.

use super::{
    held::Timeline,
    page::{Host, Part, Selection},
};
use crate::{
    event::Endpoints,
    findings::scene::{Netns, Scene},
    plural::{counted, is},
    stats::key::Key,
    unseen::Unseen,
};
use hashbrown::HashMap;
use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// TEST-NET-1, -2 and -3 of RFC 5737.
const DOCUMENTATION: [[u8; 3]; 3] = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];

/// Addresses of each: those that end with 0 and 255 are not hosts'.
const OF_EACH: u32 = 254;

/// Where the next ones are, reserved by RFC 1112.
const RESERVED: u32 = u32::from_be_bytes([240, 0, 0, 0]);

/// The documentation prefix of RFC 3849.
const DOCUMENTATION_V6: u128 = 0x2001_0db8 << 96;

/// The pseudonyms of a page.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// By the kind of name.
    names: HashMap<(&'static str, String), usize>,
    counts: HashMap<&'static str, usize>,
    v4: HashMap<Ipv4Addr, u32>,
    v6: HashMap<Ipv6Addr, u128>,
}

impl Redactor {
    /// Replaces everything of a host.
    pub(super) fn redact(&mut self, host: &mut Host) {
        let Host {
            report,
            scene,
            // Evaluated later.
            findings: _,
            axis: _,
            losses: _,
            parts,
            owners,
            is_folded: _,
            endpoints,
        } = host;
        report.origin.host = self.name("host", &report.origin.host);
        let release = &report.origin.kernel;
        report.origin.kernel = release[..numeric_len(release)].to_owned();
        report.origin.command.clear();
        report.origin.run.clear();
        for list in [
            &mut report.origin.limitations,
            &mut report.view.limitations,
            &mut report.notes,
            &mut report.remarks,
        ] {
            withhold(list);
        }
        for process in &mut report.view.processes {
            if process.key.is_some() {
                process.comm = self.name("process", &process.comm);
            }
            process.name = [0; 16];
            process.location = None;
        }
        for part in parts {
            self.redact_part(part);
        }
        for comm in owners.values_mut() {
            *comm = self.name("process", comm);
        }
        for endpoint in endpoints {
            endpoint.key = self.key(endpoint.key);
        }
        for unanswered in &mut report.unanswered.worst {
            let identity = &mut unanswered.row.identity;
            identity.endpoints = self.endpoints(&identity.endpoints);
            if let Some(owner) = &mut unanswered.row.owner {
                owner.comm = self.comm(&owner.name());
            }
        }
        self.redact_scene(scene);
    }

    fn redact_part(&mut self, part: &mut Part) {
        if let Selection::Process { comm, .. } = &mut part.subject {
            *comm = self.name("process", comm);
        }
        for row in &mut part.handshakes {
            row.key = self.key(row.key);
        }
        for timeline in &mut part.longest {
            let Timeline { endpoints, .. } = timeline;
            *endpoints = self.endpoints(endpoints);
        }
    }

    fn redact_scene(&mut self, scene: &mut Scene) {
        for process in &mut scene.processes {
            process.comm = self.name("process", &process.comm);
        }
        for socket in &mut scene.sockets {
            socket.endpoints = self.endpoints(&socket.endpoints);
        }
        for in_flight in &mut scene.in_flight {
            in_flight.comm = self.name("process", &in_flight.comm);
        }
        for Netns { name, .. } in &mut scene.namespaces {
            *name = name.as_ref().map(|name| self.name("namespace", name));
        }
        for configured in &mut scene.configured {
            configured.file = self.name("file", &configured.file);
        }
        for Unseen { text, .. } in &mut scene.unseen {
            "the reason is withheld by --redact".clone_into(text);
        }
        let history = &mut scene.history;
        history.by_destination = renamed(&mut history.by_destination, |key| {
            key.local = self.address(key.local);
            key.remote = self.address(key.remote);
        });
        history.by_pool = renamed(&mut history.by_pool, |key| key.remote = self.address(key.remote));
    }

    fn key(&mut self, key: Key) -> Key {
        match key {
            Key::Client { netns, endpoints } => Key::Client {
                netns,
                endpoints: self.endpoints(&endpoints),
            },
            Key::Tuple { netns, endpoints } => Key::Tuple {
                netns,
                endpoints: self.endpoints(&endpoints),
            },
            Key::Server { .. } | Key::Process(_) | Key::Cgroup(_) => key,
        }
    }

    fn endpoints(&mut self, endpoints: &Endpoints) -> Endpoints {
        let local = self.address(endpoints.local());
        let remote = self.address(endpoints.remote());
        Endpoints::new((local, endpoints.local_port), (remote, endpoints.remote_port))
    }

    /// Loopback and unspecified addresses name nobody, and stay.
    fn address(&mut self, address: IpAddr) -> IpAddr {
        if address.is_loopback() || address.is_unspecified() {
            return address;
        }
        match address {
            IpAddr::V4(v4) => {
                let next = u32::try_from(self.v4.len()).unwrap_or(u32::MAX);
                IpAddr::V4(documentation(*self.v4.entry(v4).or_insert(next)))
            }
            IpAddr::V6(v6) => {
                let next = self.v6.len() as u128 + 1;
                let number = *self.v6.entry(v6).or_insert(next);
                IpAddr::V6(Ipv6Addr::from_bits(DOCUMENTATION_V6 | number))
            }
        }
    }

    fn comm(&mut self, name: &str) -> [u8; 16] {
        let mut comm = [0; 16];
        let pseudonym = self.name("process", name);
        let bytes = &pseudonym.as_bytes()[..pseudonym.len().min(15)];
        comm[..bytes.len()].copy_from_slice(bytes);
        comm
    }

    /// `host-1`, `process-3`.
    fn name(&mut self, kind: &'static str, name: &str) -> String {
        let count = self.counts.entry(kind).or_default();
        let number = *self.names.entry((kind, name.to_owned())).or_insert_with(|| {
            *count += 1;
            *count
        });
        format!("{kind}-{number}")
    }
}

/// The length of the version that a kernel's release begins with: what follows may name who built it.
fn numeric_len(release: &str) -> usize {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    let number = &release[..end.unwrap_or(release.len())];
    number.trim_end_matches('.').len()
}

fn documentation(number: u32) -> Ipv4Addr {
    let network = usize::try_from(number / OF_EACH)
        .ok()
        .and_then(|at| DOCUMENTATION.get(at));
    match (network, u8::try_from(number % OF_EACH + 1)) {
        (Some([a, b, c]), Ok(host)) => Ipv4Addr::new(*a, *b, *c, host),
        _ => Ipv4Addr::from_bits(RESERVED.saturating_add(number)),
    }
}

/// The same map with other keys, which are renamed in the order of the old ones.
fn renamed<K: Copy + Ord + Hash, V>(
    map: &mut HashMap<K, V>,
    mut rename: impl FnMut(&mut K),
) -> HashMap<K, V> {
    let mut entries: Vec<(K, V)> = map.drain().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, _) in &mut entries {
        rename(key);
    }
    entries.into_iter().collect()
}

/// Leaves only how many there were.
fn withhold(list: &mut Vec<String>) {
    if !list.is_empty() {
        let count = list.len();
        *list = vec![format!(
            "{} {} withheld by --redact",
            counted(count, "message"),
            is(count)
        )];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{ProcessKey, TcpState},
        findings::{
            fixture,
            history::{Destination, OfDestination, OfPool, Pool},
            scene::{Carrier, Configured, InFlight, Process},
        },
        unseen::What,
    };
    use hashbrown::HashSet;

    #[test]
    fn equal_addresses_stay_equal_and_families_and_loopback_are_kept() {
        let mut redactor = Redactor::default();
        let mut of = |text: &str| redactor.address(text.parse().expect("an address")).to_string();
        for (address, expected) in [
            ("10.1.2.3", "192.0.2.1"),
            ("10.1.2.4", "192.0.2.2"),
            ("10.1.2.3", "192.0.2.1"),
            ("127.0.0.53", "127.0.0.53"),
            ("0.0.0.0", "0.0.0.0"),
            ("::1", "::1"),
            ("fe80::99", "2001:db8::1"),
            ("2a00::7", "2001:db8::2"),
            ("fe80::99", "2001:db8::1"),
        ] {
            assert_eq!(of(address), expected, "{address}");
        }
        let distinct: HashSet<Ipv4Addr> = (0..100_000).map(documentation).collect();
        assert_eq!(distinct.len(), 100_000);
        assert_eq!(documentation(254), Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!(documentation(762), Ipv4Addr::new(240, 0, 2, 250));
    }

    /// What only a live run has: names of namespaces and files, and whose queue has a socket.
    #[test]
    fn the_parts_of_a_scene_that_no_recording_has_are_replaced_too() {
        let mut scene = fixture::scene();
        let socket = fixture::socket(TcpState::Established, "10.66.66.1:1", "10.66.66.2:2", 1, None);
        scene.sockets.push(socket);
        scene.namespaces[0].name = Some("secret".to_owned());
        scene.configured.push(Configured {
            file: "/etc/secret.conf".to_owned(),
            line: 1,
            name: "net.ipv4.tcp_tw_reuse".to_owned(),
            value: "1".to_owned(),
        });
        scene.processes.push(Process {
            key: ProcessKey::new(1, 1),
            comm: "secret".to_owned(),
            descriptors: None,
        });
        scene.in_flight.push(InFlight {
            pid: 1,
            comm: "secret".to_owned(),
            fd: 3,
            carrier: Carrier::Ring { sockets: 1 },
        });
        scene.unseen.push(Unseen::new(What::Holders, "secret"));
        let [local, remote] = ["10.66.66.1", "10.66.66.2"].map(|text| text.parse().expect("an address"));
        let destination = Destination {
            netns: 1,
            local,
            remote,
            port: 80,
        };
        scene
            .history
            .by_destination
            .insert(destination, OfDestination::default());
        let pool = Pool {
            process: ProcessKey::new(1, 1),
            netns: 1,
            remote,
            port: 80,
        };
        scene.history.by_pool.insert(pool, OfPool::default());
        Redactor::default().redact_scene(&mut scene);
        // Addresses in sockets are bytes, and their texts are in the history.
        let text = format!("{scene:?}");
        for secret in ["secret", "10.66.66", "66, 66"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let process = scene.processes.last().expect("it was added");
        assert_eq!(scene.in_flight[0].comm, process.comm, "one name is one pseudonym");
    }

    #[test]
    fn of_a_kernel_s_release_only_the_number_is_left() {
        for (release, number) in [
            ("6.8.0-1021-acme", "6.8.0"),
            ("6.12.7", "6.12.7"),
            ("5.10.acme", "5.10"),
            ("acme-6", ""),
        ] {
            assert_eq!(&release[..numeric_len(release)], number, "{release}");
        }
    }

    #[test]
    fn equal_names_stay_equal_and_kinds_are_numbered_apart() {
        let mut redactor = Redactor::default();
        assert_eq!(redactor.name("process", "nginx"), "process-1");
        assert_eq!(redactor.name("host", "nginx"), "host-1");
        assert_eq!(redactor.name("process", "redis"), "process-2");
        assert_eq!(redactor.name("process", "nginx"), "process-1");
        assert_eq!(redactor.comm("redis"), *b"process-2\0\0\0\0\0\0\0");
    }
}
