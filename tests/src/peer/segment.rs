//! TCP segments with their endpoints, to and from the bytes of an IP packet.

use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4, icmpv6,
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::BitOr,
};

/// What an ICMP error calls unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The network; ICMPv6: no route.
    Network,
    /// The host; ICMPv6: the address.
    Host,
    /// The port.
    Port,
    /// Communication is administratively prohibited.
    Prohibited,
}

/// The control bits that scripts use, without PSH and the ECN bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const FIN: Self = Self(1);
    pub const SYN: Self = Self(2);
    pub const RST: Self = Self(4);
    pub const ACK: Self = Self(16);
    pub const SYN_ACK: Self = Self(2 | 16);
    pub const FIN_ACK: Self = Self(1 | 16);
    pub const RST_ACK: Self = Self(4 | 16);

    /// Whether all of `bits` are set.
    #[must_use]
    pub fn contain(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The TCP options that scripts use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Timestamp value and echo.
    pub timestamps: Option<(u32, u32)>,
    /// Fast Open cookie; empty to request one.
    pub fast_open: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: Flags,
    pub seq: u32,
    /// Valid with ACK.
    pub ack: u32,
    pub options: Options,
    pub payload: Vec<u8>,
}

/// Time to live of IPv4 packets, and hop limit of IPv6 packets.
const HOPS: u8 = 64;

impl Segment {
    /// The sequence numbers that the segment takes: its data, SYN and FIN.
    #[must_use]
    pub fn length(&self) -> u32 {
        let data = u32::try_from(self.payload.len()).expect("a packet is small");
        data + u32::from(self.flags.contain(Flags::SYN)) + u32::from(self.flags.contain(Flags::FIN))
    }

    /// The IP packet of the ICMP error that the segment's receiver is unreachable, checksums included.
    #[must_use]
    pub fn unreachable(&self, what: Unreachable) -> Vec<u8> {
        use icmpv4::DestUnreachableHeader as V4;
        use icmpv6::DestUnreachableCode as V6;
        let (code_v4, code_v6) = match what {
            Unreachable::Network => (V4::Network, V6::NoRoute),
            Unreachable::Host => (V4::Host, V6::Address),
            Unreachable::Port => (V4::Port, V6::Port),
            Unreachable::Prohibited => (V4::FilterProhibited, V6::Prohibited),
        };
        let quoted = self.to_packet();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let error = Icmpv4Type::DestinationUnreachable(code_v4);
                let packet = PacketBuilder::ipv4(to.octets(), from.octets(), HOPS).icmpv4(error);
                whole(packet.size(quoted.len()), |bytes| packet.write(bytes, &quoted))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let error = Icmpv6Type::DestinationUnreachable(code_v6);
                let packet = PacketBuilder::ipv6(to.octets(), from.octets(), HOPS).icmpv6(error);
                whole(packet.size(quoted.len()), |bytes| packet.write(bytes, &quoted))
            }
            (from, to) => panic!("{from} and {to} are of two families"),
        }
    }

    /// The IP packet, checksums included.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        const WINDOW: u16 = u16::MAX;
        let ip = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
            (from, to) => panic!("{from} and {to} are of two families"),
        };
        let mut tcp = ip.tcp(self.from.port(), self.to.port(), self.seq, WINDOW);
        if self.flags.contain(Flags::FIN) {
            tcp = tcp.fin();
        }
        if self.flags.contain(Flags::SYN) {
            tcp = tcp.syn();
        }
        if self.flags.contain(Flags::RST) {
            tcp = tcp.rst();
        }
        if self.flags.contain(Flags::ACK) {
            tcp = tcp.ack(self.ack);
        }
        let tcp = tcp
            .options_raw(&self.options.to_bytes())
            .expect("the options fit 40 bytes");
        whole(tcp.size(self.payload.len()), |bytes| {
            tcp.write(bytes, &self.payload)
        })
    }

    /// Parses the segment in an IP packet; `None` for another protocol.
    #[must_use]
    pub fn from_packet(packet: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ip(packet).ok()?;
        let (from, to): (IpAddr, IpAddr) = match packet.net? {
            NetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            NetSlice::Arp(_) => return None,
        };
        let TransportSlice::Tcp(tcp) = packet.transport? else {
            return None;
        };
        let mut flags = Flags::default();
        for (set, bit) in [
            (tcp.fin(), Flags::FIN),
            (tcp.syn(), Flags::SYN),
            (tcp.rst(), Flags::RST),
            (tcp.ack(), Flags::ACK),
        ] {
            if set {
                flags = flags | bit;
            }
        }
        Some(Self {
            from: SocketAddr::new(from, tcp.source_port()),
            to: SocketAddr::new(to, tcp.destination_port()),
            flags,
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            options: Options::from_bytes(tcp.options()),
            payload: tcp.payload().to_vec(),
        })
    }
}

/// A packet of `size` bytes, filled by `write`.
fn whole<E: fmt::Debug>(size: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(size);
    write(&mut packet).expect("a vector takes all bytes");
    packet
}

impl Options {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MSS: u8 = 2;
    const TIMESTAMPS: u8 = 8;
    const FAST_OPEN: u8 = 34;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mss) = self.mss {
            bytes.extend([Self::MSS, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if let Some((value, echo)) = self.timestamps {
            bytes.extend([Self::TIMESTAMPS, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        }
        if let Some(cookie) = &self.fast_open {
            bytes.extend([
                Self::FAST_OPEN,
                u8::try_from(2 + cookie.len()).expect("a cookie is 16 bytes"),
            ]);
            bytes.extend(cookie);
        }
        while bytes.len() % 4 != 0 {
            bytes.push(Self::NO_OPERATION);
        }
        bytes
    }

    fn from_bytes(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            match *kind {
                Self::END => break,
                Self::NO_OPERATION => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&length) = rest.first() else { break };
            let Some((option, next)) = bytes.split_at_checked(usize::from(length).max(2)) else {
                break;
            };
            match (*kind, &option[2..]) {
                (Self::MSS, &[high, low]) => options.mss = Some(u16::from_be_bytes([high, low])),
                (Self::TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                    let value = u32::from_be_bytes([v0, v1, v2, v3]);
                    options.timestamps = Some((value, u32::from_be_bytes([e0, e1, e2, e3])));
                }
                (Self::FAST_OPEN, cookie) => options.fast_open = Some(cookie.to_vec()),
                _ => {}
            }
            bytes = next;
        }
        options
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SYN, "SYN"),
            (Self::FIN, "FIN"),
            (Self::RST, "RST"),
            (Self::ACK, "ACK"),
        ];
        let set: Vec<&str> = names
            .into_iter()
            .filter(|(bit, _)| self.contain(*bit))
            .map(|(_, name)| name)
            .collect();
        f.write_str(&set.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_survives_the_wire() {
        for (from, to) in [("10.98.0.2:9", "10.98.0.1:80"), ("[fd98::2]:9", "[fd98::1]:80")] {
            let segment = Segment {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                flags: Flags::SYN_ACK,
                seq: 7,
                ack: 8,
                options: Options {
                    mss: Some(1400),
                    timestamps: Some((1, 2)),
                    fast_open: Some(vec![1; 8]),
                },
                payload: b"data".to_vec(),
            };
            assert_eq!(Segment::from_packet(&segment.to_packet()), Some(segment));
        }
    }

    #[test]
    fn truncated_options_end_the_reading() {
        assert_eq!(Options::from_bytes(&[2, 4, 5]), Options::default());
        assert_eq!(Options::from_bytes(&[8]), Options::default());
        assert_eq!(Options::from_bytes(&[1, 1, 2, 4, 5, 180]).mss, Some(1460));
    }
}
