//! Where output goes: flushed a line at a time into a pipe, a batch at a time onto a terminal or into a file. A
//! reader that has gone away is a clean end, and is noticed even while there is nothing to write.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

enum Target {
    Stdout(io::Stdout),
    File(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(stdout) => stdout.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// An open output.
pub struct Sink {
    writer: BufWriter<Target>,
    flush_lines: bool,
    is_terminal: bool,
}

/// Why writing ended.
#[derive(Debug)]
pub enum SinkError {
    /// The reader has gone away: a clean end.
    Closed,
    /// Anything else.
    Failed(io::Error),
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Failed(error)
        }
    }
}

const BUFFER_BYTES: usize = 64 << 10;

impl Sink {
    /// Opens `file`, or standard output.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let (target, flush_lines, is_terminal) = if let Some(path) = file {
            (Target::File(File::create(path)?), false, false)
        } else {
            let stdout = io::stdout();
            let is_terminal = stdout.is_terminal();
            (Target::Stdout(stdout), !is_terminal, is_terminal)
        };
        Ok(Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, target),
            flush_lines,
            is_terminal,
        })
    }

    /// Whether a person is looking.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// Where the reader has gone, the disk is full, and so on.
    pub fn lines(&mut self, text: &str) -> Result<(), SinkError> {
        self.writer.write_all(text.as_bytes())?;
        if self.flush_lines {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Ends a batch of lines.
    ///
    /// # Errors
    /// As [`Sink::lines`].
    pub fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.writer.flush()?)
    }

    /// Whether the reader of a pipe or socket has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let fd = self.writer.get_ref().as_fd();
        let mut fds = [PollFd::new(fd, PollFlags::empty())];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => fds[0]
                .revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL)),
            Err(Errno::EINTR) => false,
            Err(_) => true,
        }
    }
}
