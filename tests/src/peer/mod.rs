//! The scripted peer: the remote host at the far end of a TUN device, played segment by segment by the test.
//! Knows the wire, not the kernel's sockets and not the tracer.

mod conversation;
mod segment;
mod tun;

pub use conversation::Conversation;
pub use segment::{Flags, Options, Segment};

use crate::{
    clock::{Moment, monotonic_ns, nanoseconds, poll_until},
    interface,
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    rc::Rc,
    time::Duration,
};
use tun::Tun;

/// The IP version that a script is played in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The kernel's address on the device.
    #[must_use]
    pub fn host(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 98, 0, 1).into(),
            Self::V6 => Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// The scripted peer's address.
    #[must_use]
    pub fn peer(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 98, 0, 2).into(),
            Self::V6 => Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    /// The address that a listener's remote end has.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// The kernel lets nobody use an IPv6 address before its own work queue has looked at it. Where sixty devices are made
/// at once on an emulated processor, that once took more than ten seconds.
const ADDRESS_PATIENCE: Duration = Duration::from_mins(1);

/// The remote host.
pub struct Peer {
    family: Family,
    tun: Tun,
    /// Segments that came while the script waited for another one.
    inbox: RefCell<VecDeque<Segment>>,
}

impl Peer {
    /// Makes the device in the current thread's namespace and gives the kernel its address there.
    pub fn attach(family: Family) -> io::Result<Rc<Self>> {
        let tun = Tun::open("peer0")?;
        interface::bring_up("peer0")?;
        interface::add_address("peer0", family.host())?;
        let usable = poll_until(ADDRESS_PATIENCE, || UdpSocket::bind((family.host(), 0)).ok());
        if usable.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the kernel does not take its address",
            ));
        }
        Ok(Rc::new(Self {
            family,
            tun,
            inbox: RefCell::default(),
        }))
    }

    /// The IP version spoken.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Puts a segment on the wire. The kernel has dealt with it when this returns (`tun_get_user` delivers in
    /// the writer's context), so the moment brackets every transition that it makes.
    pub fn transmit(&self, segment: &Segment) -> Moment {
        let packet = segment.to_packet();
        let (result, moment) = Moment::of(|| self.tun.write(&packet));
        result.expect("the device takes a packet");
        moment
    }

    /// The next segment from `from` to `to` that `wanted` accepts; others of theirs that came before it are
    /// dropped, segments of other conversations are kept.
    pub fn receive(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        patience: Duration,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Option<Segment> {
        let deadline_ns = monotonic_ns() + nanoseconds(patience);
        loop {
            let position = self
                .inbox
                .borrow()
                .iter()
                .position(|segment| (segment.from, segment.to) == (from, to));
            if let Some(segment) = position.and_then(|position| self.inbox.borrow_mut().remove(position)) {
                if wanted(&segment) {
                    return Some(segment);
                }
                continue;
            }
            let left = Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()));
            let packet = self.tun.read(left).expect("the device gives packets")?;
            // The kernel also speaks ICMPv6 to the link.
            self.inbox.borrow_mut().extend(Segment::from_packet(&packet));
        }
    }
}
