//! Writes output: to a pipe it is flushed line by line, to a terminal or file batch by batch. A reader that has gone
//! away is a clean end, and is detected even while there is nothing to write.

use super::{descriptor::Descriptor, outbox::Output, services::Services, terminal::Look};
use crate::outfile::{self, Cause, Inputs, Left, NotWritten, OutFile, Whereabouts};
use std::{
    io::{self, BufWriter, Write as _},
    path::Path,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Sink {
    writer: BufWriter<Descriptor>,
    /// What the writer writes to, unless that is standard output.
    file: Option<OutFile>,
    flush_lines: bool,
    look: Look,
    services: Services,
    /// When the name of the file was last checked.
    checked: Instant,
    is_displaced: bool,
    notice: Option<String>,
}

impl From<Descriptor> for Sink {
    /// Flushed as a pipe is.
    fn from(output: Descriptor) -> Self {
        Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, output),
            file: None,
            flush_lines: true,
            look: Look::default(),
            services: Services::default(),
            checked: Instant::now(),
            is_displaced: false,
            notice: None,
        }
    }
}

/// Why writing ended.
#[derive(Debug)]
pub(crate) enum SinkError {
    /// The reader has gone away: a clean end.
    Closed,
    Failed(NotWritten),
}

impl From<NotWritten> for SinkError {
    fn from(error: NotWritten) -> Self {
        if error.cause.kind() == Some(io::ErrorKind::BrokenPipe) {
            Self::Closed
        } else {
            Self::Failed(error)
        }
    }
}

const BUFFER_BYTES: usize = 64 << 10;

/// How often the name of a stream's file is checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Sink {
    /// Makes ready to write to `file`, or to standard output. A file has its name only after [`Self::begin`] or
    /// [`Self::finish`]. `inputs` are the files that the command reads, which are not written to.
    /// Fails if it must not be written to, or cannot be made.
    pub(crate) fn open(file: Option<&Path>, inputs: &Inputs) -> Result<Self, NotWritten> {
        let file = file.map(|path| OutFile::open(path, inputs)).transpose()?;
        let output = match &file {
            Some(file) => file
                .try_clone()
                .map(Descriptor::from)
                .map_err(|error| file.failed(error)),
            None => outfile::check_stdout(inputs).and_then(|()| Descriptor::stdout().map_err(not_to_stdout)),
        }?;
        let is_terminal = file.is_none() && output.is_terminal();
        Ok(Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, output),
            flush_lines: file.is_none() && !is_terminal,
            look: Look::default(),
            services: Services::default(),
            file,
            checked: Instant::now(),
            is_displaced: false,
            notice: None,
        })
    }

    /// The same; `is_text` says whether it is text for people, which standard output shows as the terminal needs it.
    pub(crate) fn shown(mut self, is_text: bool) -> Self {
        if is_text && self.file.is_none() {
            self.look = Look::of_stdout();
        }
        self
    }

    /// The same; ports in text are named by these.
    pub(crate) fn naming(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// Begins a stream: its file, if it has one, has its name from now on, in place of an older one. Fails if the file
    /// cannot have its name.
    pub(crate) fn begin(&mut self) -> Result<(), NotWritten> {
        self.file.as_mut().map_or(Ok(()), OutFile::publish)
    }

    /// Writes what is left. A file that was not begun has its name from now on, whole.
    pub(crate) fn finish(&mut self) -> Result<(), SinkError> {
        self.flush()?;
        Ok(self.begin()?)
    }

    /// A message about the output, returned once.
    pub(crate) const fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    pub(crate) fn lines(&mut self, text: &str) -> Result<(), SinkError> {
        let text = self.services.apply(text);
        let mut written = self.writer.write_all(self.look.apply(&text).as_bytes());
        if self.flush_lines {
            written = written.and_then(|()| self.writer.flush());
        }
        written.map_err(|error| self.failed(error))
    }

    /// Ends a batch of lines. Fails as [`Sink::lines`], and where the file was removed meanwhile.
    pub(crate) fn flush(&mut self) -> Result<(), SinkError> {
        self.writer.flush().map_err(|error| self.failed(error))?;
        self.look()
    }

    fn failed(&self, error: io::Error) -> SinkError {
        let not_written = match &self.file {
            Some(file) => file.failed(error),
            None => not_to_stdout(error),
        };
        not_written.into()
    }

    /// Makes sure, at most once in [`LOOK_EVERY`], that the file of a stream is still there.
    fn look(&mut self) -> Result<(), SinkError> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.checked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.checked = Instant::now();
        match file.whereabouts() {
            Whereabouts::InPlace => {}
            Whereabouts::Moved if self.is_displaced => {}
            Whereabouts::Moved => {
                self.is_displaced = true;
                self.notice = Some(outfile::moved(file.path()));
            }
            Whereabouts::Removed => return Err(file.failed(Cause::Removed).into()),
        }
        Ok(())
    }

    /// An output with a reader that may stop reading: not a file.
    pub(crate) fn reader(&self) -> io::Result<Option<Descriptor>> {
        self.file.is_none().then(Descriptor::stdout).transpose()
    }
}

impl Output for Sink {
    type Error = SinkError;
    const LOOK_EVERY: Option<Duration> = Some(LOOK_EVERY);

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let written = if self.look == Look::default() && self.services == Services::default() {
            self.writer.write_all(bytes)
        } else {
            let text = String::from_utf8_lossy(bytes);
            let text = self.services.apply(&text);
            self.writer.write_all(self.look.apply(&text).as_bytes())
        };
        written.map_err(|error| self.failed(error))?;
        self.flush()
    }

    fn has_a_name(&self) -> bool {
        self.file.is_some()
    }

    fn look(&mut self) -> Result<Option<String>, SinkError> {
        self.flush()?;
        Ok(self.take_notice())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Self::finish(self)
    }
}

/// Standard output could not be written to its end.
pub(crate) fn not_to_stdout(error: io::Error) -> NotWritten {
    NotWritten {
        what: "standard output".to_owned(),
        cause: error.into(),
        left: Left::Beginning,
    }
}
