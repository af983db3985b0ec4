//! A TUN device, whose file reads and writes whole IP packets.

use crate::interface;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
    time::{Duration, Instant},
};

/// Larger than any packet with the usual MTU of 1500.
const LARGEST_PACKET: usize = 2048;

/// An open device, which is removed on drop.
pub(super) struct Tun {
    file: File,
}

impl Tun {
    /// Creates a device of this name in the current thread's namespace.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let mut request = interface::request(name);
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("two low bits");
        // SAFETY: TUNSETIFF reads and writes an `ifreq`.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(result)?;
        Ok(Self { file })
    }

    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write_all(packet)
    }

    /// The next packet that the kernel sends; `None` if `timeout` elapses first.
    pub(super) fn read(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        let mut packet = vec![0; LARGEST_PACKET];
        loop {
            match (&self.file).read(&mut packet) {
                Ok(length) => {
                    packet.truncate(length);
                    return Ok(Some(packet));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Rounded up, so that the last wait does not spin.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout)?;
        }
    }
}
