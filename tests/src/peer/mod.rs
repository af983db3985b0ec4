//! The scripted peer: the remote host behind a TUN device, which the test controls segment by segment.

mod conversation;
mod segment;
mod tun;

pub use conversation::Conversation;
pub use segment::{Flags, Options, Segment, Unreachable};

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

/// The IP version of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
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

    /// The remote address of a listener.
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

/// Maximum time until an IPv6 address is usable, which the kernel's work queue decides: with sixty new devices at once,
/// an emulated processor has taken more than ten seconds.
const ADDRESS_TIMEOUT: Duration = Duration::from_mins(1);

pub struct Peer {
    family: Family,
    tun: Tun,
    /// Segments that arrived while the script waited for another one.
    inbox: RefCell<VecDeque<Segment>>,
}

impl Peer {
    /// Creates the device in the current thread's namespace and adds the kernel's address to it.
    pub fn attach(family: Family) -> io::Result<Rc<Self>> {
        let tun = Tun::open("peer0")?;
        interface::bring_up("peer0")?;
        interface::add_address("peer0", family.host())?;
        if poll_until(ADDRESS_TIMEOUT, || reaches_itself(family.host()).ok()).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the kernel does not receive what is sent to its address",
            ));
        }
        Ok(Rc::new(Self {
            family,
            tun,
            inbox: RefCell::default(),
        }))
    }

    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Sends a segment. The kernel has processed it when this returns (`tun_get_user` delivers in the writer's
    /// context), so that the moment includes every transition that it causes.
    pub fn transmit(&self, segment: &Segment) -> Moment {
        self.put(&segment.to_packet())
    }

    /// Responds to a segment with the ICMP error that its receiver is unreachable.
    pub fn refuse(&self, segment: &Segment, what: Unreachable) -> Moment {
        self.put(&segment.unreachable(what))
    }

    fn put(&self, packet: &[u8]) -> Moment {
        let (result, moment) = Moment::of(|| self.tun.write(packet));
        result.expect("the device takes a packet");
        moment
    }

    /// The next segment from `from` to `to` that `wanted` accepts. Earlier ones of the same conversation are dropped,
    /// those of other conversations are kept.
    pub fn receive(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        timeout: Duration,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Option<Segment> {
        let deadline_ns = monotonic_ns() + nanoseconds(timeout);
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
            // The kernel also sends ICMPv6 on the link.
            self.inbox.borrow_mut().extend(Segment::from_packet(&packet));
        }
    }
}

/// Fails until the host receives packets to this address. `bind` succeeds a moment earlier: the kernel first assigns an
/// IPv6 address and then adds its local route (`addrconf_dad_begin`, `addrconf_dad_completed`), and drops packets to it
/// in between.
fn reaches_itself(address: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.send_to(b"probe", socket.local_addr()?)?;
    socket.recv(&mut [0; 8]).map(drop)
}
