//! An open file, pipe or terminal that is written to. Another process that shares it may have made it non-blocking:
//! writing then waits until it is writable.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::{AsFd, BorrowedFd},
};

/// An output without a buffer of its own.
#[derive(Debug)]
pub(crate) struct Descriptor(File);

impl Descriptor {
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::copy_of(io::stdout().as_fd())
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Self::copy_of(io::stderr().as_fd())
    }

    fn copy_of(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(File::from(descriptor.try_clone_to_owned()?)))
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Whether the reader of a pipe or socket has gone away.
    pub(crate) fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => fds[0]
                .revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL)),
            Err(Errno::EINTR) => false,
            Err(_) => true,
        }
    }

    /// Waits until a write finds room, or fails.
    fn wait_for_room(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<File> for Descriptor {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room()?,
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::{io::Read as _, os::fd::OwnedFd, thread};

    #[test]
    fn a_pipe_that_is_full_and_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut output = Descriptor::from(File::from(OwnedFd::from(writer)));
        // More than any pipe holds unless it is asked to.
        let bytes: Vec<u8> = (0_u8..=255).cycle().take(1 << 20).collect();
        let writing = thread::spawn({
            let bytes = bytes.clone();
            move || output.write_all(&bytes)
        });
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert!(read == bytes);
    }

    #[test]
    fn a_reader_that_goes_away_is_noticed_without_writing() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output = Descriptor::from(File::from(OwnedFd::from(writer)));
        assert!(!output.is_closed());
        drop(reader);
        assert!(output.is_closed());
        assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
