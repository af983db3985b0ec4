//! The writer thread: collects entries into batches and syncs them within a given interval. Stops at the first error,
//! with everything written intact.

use super::{
    entry::Entry,
    origin::Origin,
    recorder::{Message, Recorder, WAITING_PIECES},
    write::Writer,
};
use crate::{
    event::Nanos,
    outfile::{Cause, Whereabouts},
    priority,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Interval of batches without activity, as a heartbeat: one or two kilobytes each.
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);

/// Why a recording could not begin, or go on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) cause: Cause,
}

/// What the thread has done so far.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes in the current file.
    bytes: AtomicU64,
    /// Files that were begun.
    files: AtomicU64,
    /// A file that was removed or moved, until it is reported.
    displaced: Mutex<Option<(PathBuf, Whereabouts)>>,
}

/// A running thread.
pub(crate) struct FileWriter {
    progress: Arc<Progress>,
    thread: JoinHandle<Result<(), WriteError>>,
}

impl FileWriter {
    /// Creates the file and writes what `recorder` records. `sync` is the time that a crash may lose. Fails if the file
    /// cannot be made or written, or there is no thread.
    pub(crate) fn start(
        path: &Path,
        origin: &Origin,
        sync: Duration,
        recorder: &mut Recorder,
    ) -> Result<Self, WriteError> {
        let at = |cause| WriteError {
            path: path.to_owned(),
            cause,
        };
        let writer = Writer::create(path, origin).map_err(at)?;
        let progress = Arc::new(Progress::default());
        progress.begun(&writer);
        let (sender, receiver) = mpsc::sync_channel(WAITING_PIECES);
        let writing = Writing {
            path: path.to_owned(),
            writer,
            sync,
            progress: Arc::clone(&progress),
            is_displaced: false,
            settled: None,
            is_fresh: false,
        };
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                priority::be_usual();
                writing.run(&receiver)
            })
            .map_err(|error| at(error.into()))?;
        recorder.connect(sender);
        Ok(Self { progress, thread })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::Relaxed)
    }

    /// How many files were begun, of which the last is the current one.
    pub(crate) fn files(&self) -> u64 {
        self.progress.files.load(Ordering::Acquire)
    }

    /// The current file, if it was found to be removed or moved since this was asked.
    pub(crate) fn displaced(&self) -> Option<(PathBuf, Whereabouts)> {
        let displaced = &self.progress.displaced;
        displaced.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until everything is written. The recorder must have been closed, or be broken. Errors: why it could not be
    /// written.
    pub(crate) fn finish(self) -> Result<(), WriteError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

impl Progress {
    fn begun(&self, writer: &Writer) {
        self.bytes.store(writer.bytes(), Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Release);
    }
}

struct Writing {
    path: PathBuf,
    writer: Writer,
    sync: Duration,
    progress: Arc<Progress>,
    /// Whether it was reported that the current file was removed or moved.
    is_displaced: bool,
    /// Of several consecutive settlings, only the last matters.
    settled: Option<Nanos>,
    /// Whether something else than a settling waits to be written.
    is_fresh: bool,
}

impl Writing {
    fn run(mut self, receiver: &Receiver<Message>) -> Result<(), WriteError> {
        let mut due = Instant::now() + self.sync;
        let mut last_sign = Instant::now();
        loop {
            match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Entries(piece)) => {
                    let taken = piece.iter().try_for_each(|entry| self.take(entry));
                    taken.map_err(|error| self.failed(error))?;
                }
                Ok(Message::Next(path, origin)) => self.go_on(path, &origin)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            if Instant::now() >= due {
                due = Instant::now() + self.sync;
                self.look();
                if self.is_fresh || last_sign.elapsed() >= SIGN_OF_LIFE {
                    last_sign = Instant::now();
                    self.save().map_err(|error| self.failed(error))?;
                }
            }
            self.progress.bytes.store(self.writer.bytes(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        if let Entry::Settled(time) = entry {
            self.settled = Some(*time);
            return Ok(());
        }
        // While there is something to poll, it is polled 50 times a second.
        self.is_fresh |= !matches!(entry, Entry::Polled(_));
        self.settle()?;
        self.writer.push(entry)
    }

    fn settle(&mut self) -> io::Result<()> {
        match self.settled.take() {
            Some(time) => self.writer.push(&Entry::Settled(time)),
            None => Ok(()),
        }
    }

    /// Has everything on the disk.
    fn save(&mut self) -> io::Result<()> {
        self.is_fresh = false;
        self.settle()?;
        self.writer.flush()?;
        self.writer.sync()
    }

    /// Makes sure that the current file is still where it was made.
    fn look(&mut self) {
        let whereabouts = self.writer.whereabouts();
        if whereabouts == Whereabouts::InPlace || self.is_displaced {
            return;
        }
        self.is_displaced = true;
        let displaced = &self.progress.displaced;
        *displaced.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.path.clone(), whereabouts));
    }

    /// Ends the current file once the next one exists. If that cannot be created, the current one is ended anyway.
    fn go_on(&mut self, path: PathBuf, origin: &Origin) -> Result<(), WriteError> {
        self.settle().map_err(|error| self.failed(error))?;
        let next = match Writer::create(&path, origin) {
            Ok(next) => next,
            Err(cause) => {
                self.save().map_err(|error| self.failed(error))?;
                return Err(WriteError { path, cause });
            }
        };
        self.progress.begun(&next);
        self.is_displaced = false;
        let before = std::mem::replace(&mut self.writer, next);
        before.finish().map_err(|error| self.failed(error))?;
        self.path = path;
        Ok(())
    }

    fn finish(mut self) -> Result<(), WriteError> {
        self.settle().map_err(|error| self.failed(error))?;
        let Self { path, writer, .. } = self;
        match writer.finish() {
            Ok(Whereabouts::InPlace | Whereabouts::Moved) => Ok(()),
            Ok(Whereabouts::Removed) => Err(WriteError {
                path,
                cause: Cause::Removed,
            }),
            Err(error) => Err(WriteError {
                path,
                cause: error.into(),
            }),
        }
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError {
            path: self.path.clone(),
            cause: error.into(),
        }
    }
}
