//! Brings up a network interface and adds addresses by ioctls, without the `ip` command.

use nix::{errno::Errno, net::if_::if_nametoindex};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

/// Brings up the interface.
pub fn bring_up(name: &str) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("two low bits");
    ioctl(Domain::IPV4, libc::SIOCSIFFLAGS, &mut request)
}

/// Adds an address to the interface; the rest of its prefix (24 bits, 64 bits for IPv6) is then routed to it.
pub fn add_address(name: &str, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let mut request = request(name);
            request.ifr_ifru.ifru_addr = sockaddr(address);
            ioctl(Domain::IPV4, libc::SIOCSIFADDR, &mut request)?;
            request.ifr_ifru.ifru_netmask = sockaddr(Ipv4Addr::new(255, 255, 255, 0));
            ioctl(Domain::IPV4, libc::SIOCSIFNETMASK, &mut request)
        }
        IpAddr::V6(address) => {
            let index = i32::try_from(if_nametoindex(name)?).expect("interface indices are small");
            let mut request = In6Ifreq {
                address,
                prefix_length: 64,
                index,
            };
            ioctl(Domain::IPV6, libc::SIOCSIFADDR, &mut request)
        }
    }
}

/// `struct in6_ifreq` of `linux/ipv6.h`, which libc lacks.
#[repr(C)]
struct In6Ifreq {
    address: Ipv6Addr,
    prefix_length: u32,
    index: i32,
}

/// A request for the interface, with all other fields zero.
pub(crate) fn request(name: &str) -> libc::ifreq {
    // SAFETY: all-zero bytes are a valid `ifreq`: integers, and a union of such.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(
        name.len() < request.ifr_name.len(),
        "interface name {name:?} is too long"
    );
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: all-zero bytes are a valid `sockaddr`.
    let mut generic: libc::sockaddr = unsafe { std::mem::zeroed() };
    generic.sa_family = libc::sa_family_t::try_from(libc::AF_INET).expect("AF_INET is 2");
    // `sockaddr_in`: two bytes of port, then the address.
    for (to, from) in generic.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    generic
}

fn ioctl<T>(domain: Domain, number: libc::Ioctl, request: &mut T) -> io::Result<()> {
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    // SAFETY: callers pair each number with the structure that the kernel reads and writes for it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) };
    Errno::result(result)?;
    Ok(())
}
