//! The thread that writes: takes pieces of entries, makes batches of them, and has them on the disk within a stated
//! interval. Ends at the first error, with what was written intact.

use super::{
    entry::Entry,
    origin::Origin,
    tap::{Message, Tap, WAITING_PIECES},
    write::Writer,
};
use crate::event::Nanos;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Where nothing happens, a batch that says so is written this often: it costs a kilobyte or two.
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);

/// Why a recording could not go on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct WriteError {
    /// In which file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// A running thread.
pub struct Recorder {
    bytes: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), WriteError>>,
}

impl Recorder {
    /// Makes the file and takes over what `tap` is told. `sync` is how much time a crash may cost.
    ///
    /// # Errors
    /// Where the file cannot be made or written, or there is no thread.
    pub fn start(path: &Path, origin: &Origin, sync: Duration, tap: &mut Tap) -> Result<Self, WriteError> {
        let at = |error| WriteError {
            path: path.to_owned(),
            error,
        };
        let writer = Writer::create(path, origin).map_err(at)?;
        let bytes = Arc::new(AtomicU64::new(writer.bytes()));
        let (sender, receiver) = mpsc::sync_channel(WAITING_PIECES);
        let writing = Writing {
            path: path.to_owned(),
            writer,
            sync,
            bytes: Arc::clone(&bytes),
            settled: None,
            is_fresh: false,
        };
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || writing.run(&receiver))
            .map_err(at)?;
        tap.connect(sender);
        Ok(Self { bytes, thread })
    }

    /// Bytes in the current file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until everything is written. The tap must have been closed, or be broken.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn finish(self) -> Result<(), WriteError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

struct Writing {
    path: PathBuf,
    writer: Writer,
    sync: Duration,
    bytes: Arc<AtomicU64>,
    /// Of several settlings in a row only the last tells anything.
    settled: Option<Nanos>,
    /// Whether something else than a settling waits to be written.
    is_fresh: bool,
}

impl Writing {
    fn run(mut self, receiver: &Receiver<Message>) -> Result<(), WriteError> {
        let mut due = Instant::now() + self.sync;
        let mut last_sign = Instant::now();
        loop {
            let result = match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Entries(piece)) => piece.iter().try_for_each(|entry| self.take(entry)),
                Ok(Message::Next(path, origin)) => self.go_on(path, &origin),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    let Self { path, .. } = &self;
                    let path = path.clone();
                    return self.finish().map_err(|error| WriteError { path, error });
                }
            };
            let result = result.and_then(|()| {
                if Instant::now() < due {
                    return Ok(());
                }
                due = Instant::now() + self.sync;
                if self.is_fresh || last_sign.elapsed() >= SIGN_OF_LIFE {
                    last_sign = Instant::now();
                    self.save()?;
                }
                Ok(())
            });
            if let Err(error) = result {
                let path = self.path;
                return Err(WriteError { path, error });
            }
            self.bytes.store(self.writer.bytes(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        if let Entry::Settled(time) = entry {
            self.settled = Some(*time);
            return Ok(());
        }
        // Where there is something to look at, it is looked at 50 times a second.
        self.is_fresh |= !matches!(entry, Entry::Looked(_));
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

    fn go_on(&mut self, path: PathBuf, origin: &Origin) -> io::Result<()> {
        self.settle()?;
        let next = Writer::create(&path, origin)?;
        self.path = path;
        std::mem::replace(&mut self.writer, next).finish()?;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        self.writer.finish()?;
        Ok(())
    }
}
