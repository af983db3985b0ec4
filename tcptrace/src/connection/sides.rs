//! Derives which side opened a connection if neither its start nor a listener shows it: incoming connections share a
//! port of this host, outgoing ones a port of another host. Pure.

use crate::event::Endpoints;
use hashbrown::HashMap;
use std::net::IpAddr;

/// Where ports begin that Linux and others choose for clients (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;

/// An end of connections: network namespace of this host, address, port.
type End = (u32, IpAddr, u16);

/// How many connections have each end.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    local: HashMap<End, u32>,
    remote: HashMap<End, u32>,
}

impl Sides {
    /// Counts connections, each with the network namespace that its socket is in.
    pub(crate) fn of<'a>(connections: impl Iterator<Item = (u32, &'a Endpoints)>) -> Self {
        let mut sides = Self::default();
        for (netns, endpoints) in connections {
            *sides.local.entry(local(netns, endpoints)).or_default() += 1;
            *sides.remote.entry(remote(netns, endpoints)).or_default() += 1;
        }
        sides
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty()
    }

    /// Whether the connection came to this host, most likely. Where as many have the one end as the other, as with a
    /// single connection, the ports decide.
    pub(crate) fn is_server(&self, netns: u32, endpoints: &Endpoints) -> bool {
        let here = self.local.get(&local(netns, endpoints)).copied().unwrap_or(0);
        let there = self.remote.get(&remote(netns, endpoints)).copied().unwrap_or(0);
        here > there
            || (here == there
                && endpoints.local_port < FIRST_EPHEMERAL
                && endpoints.remote_port >= FIRST_EPHEMERAL)
    }
}

fn local(netns: u32, endpoints: &Endpoints) -> End {
    (netns, endpoints.local(), endpoints.local_port)
}

fn remote(netns: u32, endpoints: &Endpoints) -> End {
    (netns, endpoints.remote(), endpoints.remote_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn endpoints(local: u16, remote: u16) -> Endpoints {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        Endpoints::new((host, local), (host, remote))
    }

    #[test]
    fn the_side_with_a_port_in_common_is_the_server() {
        let pairs: Vec<Endpoints> = (0..20)
            .flat_map(|client| {
                [
                    endpoints(8_600, 40_000 + client),
                    endpoints(40_000 + client, 8_600),
                ]
            })
            .chain((0..5).map(|client| endpoints(50_000, 60_000 + client)))
            .collect();
        let sides = Sides::of(pairs.iter().map(|endpoints| (1, endpoints)));
        for pair in &pairs {
            let is_server = matches!(pair.local_port, 8_600 | 50_000);
            assert_eq!(sides.is_server(1, pair), is_server, "{pair:?}");
        }
    }

    #[test]
    fn a_single_connection_is_decided_by_its_ports() {
        for (local, remote, is_server) in [
            (80, 40_000, true),
            (40_000, 80, false),
            // A client of NFS binds to a reserved port.
            (800, 2_049, false),
            (40_000, 50_000, false),
        ] {
            let one = endpoints(local, remote);
            let sides = Sides::of([(1, &one)].into_iter());
            assert_eq!(sides.is_server(1, &one), is_server, "{one:?}");
        }
    }

    #[test]
    fn a_client_s_port_that_leads_to_two_servers_is_a_client_s() {
        let all: Vec<Endpoints> = (0..10)
            .flat_map(|client| [endpoints(40_000 + client, 80), endpoints(41_000 + client, 443)])
            .chain([endpoints(40_000, 443)])
            .collect();
        let sides = Sides::of(all.iter().map(|endpoints| (1, endpoints)));
        assert!(all.iter().all(|endpoints| !sides.is_server(1, endpoints)));
    }
}
