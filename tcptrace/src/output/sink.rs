//! Where output goes: flushed a line at a time into a pipe, a batch at a time onto a terminal or into a file. A
//! reader that has gone away is a clean end, and is noticed even while there is nothing to write.

use super::descriptor::Descriptor;
use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

/// An open output.
pub struct Sink {
    writer: BufWriter<Descriptor>,
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
        let output = match file {
            Some(path) => Descriptor::from(File::create(path)?),
            None => Descriptor::stdout()?,
        };
        let is_terminal = file.is_none() && output.is_terminal();
        Ok(Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, output),
            flush_lines: file.is_none() && !is_terminal,
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
        self.writer.get_ref().is_closed()
    }
}
