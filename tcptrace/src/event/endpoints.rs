//! The two endpoints of a socket.

use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// The two ends of a socket. Addresses are kept as IPv6, IPv4 as v4-mapped (RFC 4291 section 2.5.5.2), so that
/// an IPv4 connection on an IPv6 socket is the same as on an IPv4 one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoints {
    local_addr: [u8; 16],
    remote_addr: [u8; 16],
    /// Port of this host, 0 where the kernel has not chosen one yet.
    pub local_port: u16,
    /// Port of the other host, 0 for a listener.
    pub remote_port: u16,
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Endpoints {
    /// From the two addresses in network order: IPv6 as they are, IPv4 in the first four bytes.
    pub(crate) fn from_wire(
        is_ipv4: bool,
        local_addr: [u8; 16],
        remote_addr: [u8; 16],
        local_port: u16,
        remote_port: u16,
    ) -> Self {
        let widen = |addr: [u8; 16]| {
            if !is_ipv4 {
                return addr;
            }
            let mut mapped = [0; 16];
            mapped[..12].copy_from_slice(&V4_MAPPED);
            mapped[12..].copy_from_slice(&addr[..4]);
            mapped
        };
        Self {
            local_addr: widen(local_addr),
            remote_addr: widen(remote_addr),
            local_port,
            remote_port,
        }
    }

    /// From addresses and ports.
    #[must_use]
    pub fn new(local: (IpAddr, u16), remote: (IpAddr, u16)) -> Self {
        let octets = |addr: IpAddr| match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self {
            local_addr: octets(local.0),
            remote_addr: octets(remote.0),
            local_port: local.1,
            remote_port: remote.1,
        }
    }

    /// The same connection as its other end has it.
    pub(crate) const fn reversed(&self) -> Self {
        Self {
            local_addr: self.remote_addr,
            remote_addr: self.local_addr,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }

    /// The two addresses as they are kept, local first.
    pub(crate) const fn octets(&self) -> ([u8; 16], [u8; 16]) {
        (self.local_addr, self.remote_addr)
    }

    /// IPv4 for v4-mapped addresses.
    pub(crate) fn family(&self) -> Family {
        if self.local_addr[..12] == V4_MAPPED || self.remote_addr[..12] == V4_MAPPED {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }

    /// This host's address.
    pub(crate) fn local(&self) -> IpAddr {
        self.shown(self.local_addr)
    }

    /// The other host's address; unspecified for a listener.
    pub(crate) fn remote(&self) -> IpAddr {
        self.shown(self.remote_addr)
    }

    /// Whether the other end is the same, address and port.
    pub(crate) fn has_remote_of(&self, other: &Self) -> bool {
        self.remote_port == other.remote_port && self.remote_addr == other.remote_addr
    }

    /// Whether the other end of this one is the local end of `other`.
    pub(crate) fn is_to(&self, other: &Self) -> bool {
        self.remote_port == other.local_port && self.remote_addr == other.local_addr
    }

    /// Whether the two are the ends of one connection.
    pub(crate) fn is_other_end_of(&self, other: &Self) -> bool {
        self.is_to(other) && other.is_to(self)
    }

    /// Whether no address is known, as of a socket that was only just made.
    pub(crate) fn is_unbound(&self) -> bool {
        self.local_port == 0 && self.remote_port == 0
    }

    fn shown(&self, addr: [u8; 16]) -> IpAddr {
        if addr[..12] == V4_MAPPED {
            IpAddr::V4(Ipv4Addr::new(addr[12], addr[13], addr[14], addr[15]))
        } else if self.family() == Family::Ipv4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::from(addr))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_connection_is_ipv4() {
        let mapped = Endpoints::new(
            ("::ffff:10.0.0.1".parse().unwrap(), 80),
            ("::ffff:10.0.0.2".parse().unwrap(), 4242),
        );
        assert_eq!(mapped.family(), Family::Ipv4);
        assert_eq!(mapped.local().to_string(), "10.0.0.1");
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[10, 0, 0, 1]);
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[10, 0, 0, 2]);
        assert_eq!(mapped, Endpoints::from_wire(true, local, remote, 80, 4242));
    }
}
