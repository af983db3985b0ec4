//! A writer thread, so that the producer of output never waits for its reader. What waits to be written
//! is bounded in bytes; what does not fit is refused.

use super::descriptor::Descriptor;
use crate::{priority, privileges};
use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Maximum number of bytes per write: the capacity of a pipe (pipe(7)), so that any progress of the reader is noticed.
const CHUNK_BYTES: usize = 64 << 10;

/// What a thread can write to.
pub(crate) trait Output: Send + 'static {
    type Error: Send + 'static;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Interval at which [`Self::look`] is called while there is nothing to write; `None`: never. It is also called after each
    /// piece.
    const LOOK_EVERY: Option<Duration>;

    /// Whether it is more than an open descriptor, as a file that is looked after by its name: then its thread keeps what
    /// the thread that starts it may do.
    fn has_a_name(&self) -> bool;

    /// Checks the output; returns a message about it, if any. Fails if nothing more can be written.
    fn look(&mut self) -> Result<Option<String>, Self::Error>;

    /// Does what is left to do when everything is written.
    fn finish(&mut self) -> Result<(), Self::Error>;
}

impl Output for Descriptor {
    type Error = io::Error;
    const LOOK_EVERY: Option<Duration> = None;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn has_a_name(&self) -> bool {
        false
    }

    fn look(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that is written by a thread of its own.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    shared: Arc<Shared<E>>,
    most_bytes: usize,
}

/// Why a piece was not taken.
#[derive(Debug)]
pub(crate) enum Refused<E> {
    /// Too much is waiting already.
    Full,
    /// The output has failed; the error is reported once.
    Failed(Option<E>),
}

/// Bytes that were not written, because the reader took none before the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stalled {
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Shared<E> {
    state: Mutex<State<E>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<E> {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes in them, and in what the thread has in hand.
    waiting: usize,
    /// No more pieces will come.
    is_closed: bool,
    /// What waits is of no use to anybody.
    is_abandoned: bool,
    is_over: bool,
    error: Option<E>,
    notice: Option<String>,
}

impl<E> Shared<E> {
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as `goes_on` with the state, for at most `patience` since anything was written.
    fn wait_while(
        &self,
        patience: Option<Duration>,
        goes_on: impl Fn(&State<E>) -> bool,
    ) -> MutexGuard<'_, State<E>> {
        let mut state = self.state();
        while goes_on(&state) {
            let before = state.waiting;
            let Some(patience) = patience else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (locked, timeout) = self
                .changed
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if timeout.timed_out() && state.waiting == before && goes_on(&state) {
                return state;
            }
        }
        state
    }
}

impl<E: Send + 'static> Outbox<E> {
    /// Starts the thread. No more than `most_bytes` wait, except that a single piece may be larger.
    pub(crate) fn start(name: &str, output: impl Output<Error = E>, most_bytes: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                pieces: VecDeque::new(),
                waiting: 0,
                is_closed: false,
                is_abandoned: false,
                is_over: false,
                error: None,
                notice: None,
            }),
            changed: Condvar::new(),
        });
        let mut writing = Writing {
            shared: Arc::clone(&shared),
            output,
        };
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            priority::be_usual();
            if !writing.output.has_a_name() {
                privileges::renounce();
            }
            writing.run();
        })?;
        Ok(Self { shared, most_bytes })
    }

    /// Hands a piece over, and takes it out of `piece`. Never waits for the reader. Fails if it does not fit, and is
    /// still in `piece`, or where the output has failed.
    pub(crate) fn offer(&self, piece: &mut Vec<u8>) -> Result<(), Refused<E>> {
        let mut state = self.shared.state();
        if state.is_over {
            return Err(Refused::Failed(state.error.take()));
        }
        if piece.is_empty() {
            return Ok(());
        }
        if state.waiting > 0 && state.waiting + piece.len() > self.most_bytes {
            return Err(Refused::Full);
        }
        state.waiting += piece.len();
        state.pieces.push_back(std::mem::take(piece));
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// A message about the output, returned once.
    pub(crate) fn take_notice(&self) -> Option<String> {
        self.shared.state().notice.take()
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state().waiting
    }

    /// The most bytes that may wait.
    pub(crate) const fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Waits until nothing waits to be written, as long as something is taken within each `patience`. Whether that is so.
    pub(crate) fn wait_until_empty(&self, patience: Option<Duration>) -> bool {
        let state = self
            .shared
            .wait_while(patience, |state| state.waiting > 0 && !state.is_over);
        state.waiting == 0
    }

    /// Adds what comes last, however much waits, and waits until everything is written and finished. With `patience`,
    /// no longer than that for a reader who takes nothing. Fails if the output failed, now or before.
    pub(crate) fn finish(self, last: Vec<u8>, patience: Option<Duration>) -> Result<Result<(), Stalled>, E> {
        let mut state = self.shared.state();
        state.waiting += last.len();
        state.pieces.push_back(last);
        state.is_closed = true;
        drop(state);
        self.shared.changed.notify_all();
        let mut state = self.shared.wait_while(patience, |state| !state.is_over);
        match state.error.take() {
            Some(error) => Err(error),
            None if state.is_over && state.waiting == 0 => Ok(Ok(())),
            None => Ok(Err(Stalled { bytes: state.waiting })),
        }
    }
}

impl<E> Drop for Outbox<E> {
    /// Without [`Self::finish`] what waits is abandoned.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_abandoned = true;
        state.is_closed = true;
        drop(state);
        self.shared.changed.notify_all();
    }
}

struct Writing<O: Output> {
    shared: Arc<Shared<O::Error>>,
    output: O,
}

impl<O: Output> Writing<O> {
    fn run(&mut self) {
        if let Err(error) = self.write_all() {
            self.shared.state().error = Some(error);
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), O::Error> {
        for chunk in piece.chunks(CHUNK_BYTES) {
            self.output.write(chunk)?;
            self.shared.state().waiting -= chunk.len();
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), O::Error> {
        loop {
            let mut state = self
                .shared
                .wait_while(O::LOOK_EVERY, |state| state.pieces.is_empty() && !state.is_closed);
            let piece = state.pieces.pop_front();
            let (is_closed, is_abandoned) = (state.is_closed, state.is_abandoned);
            drop(state);
            if is_abandoned {
                return Ok(());
            }
            match piece {
                Some(piece) => self.write(&piece)?,
                None if is_closed => return self.output.finish(),
                None => {}
            }
            if let Some(notice) = self.output.look()? {
                self.shared.state().notice = Some(notice);
            }
        }
    }
}

impl<O: Output> Drop for Writing<O> {
    /// However it ends, nothing blocks on it.
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{PipeReader, Read as _},
        os::fd::OwnedFd,
    };

    const PATIENCE: Duration = Duration::from_millis(20);

    fn outbox(most_bytes: usize) -> (PipeReader, Outbox<io::Error>) {
        let (reader, writer) = io::pipe().unwrap();
        let output = Descriptor::from(File::from(OwnedFd::from(writer)));
        (reader, Outbox::start("test", output, most_bytes).unwrap())
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_what_does_not_fit_and_no_time() {
        let (mut reader, outbox) = outbox(1 << 20);
        let mut taken = 0;
        let refused = loop {
            let mut piece = vec![b'x'; 100_000];
            match outbox.offer(&mut piece) {
                Ok(()) => taken += 100_000,
                Err(refused) => {
                    assert_eq!(piece.len(), 100_000, "a piece that is refused stays");
                    break refused;
                }
            }
        };
        assert!(matches!(refused, Refused::Full));
        assert!(outbox.waiting() <= 1 << 20);
        assert!(!outbox.wait_until_empty(Some(PATIENCE)));
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read.len())
        });
        assert_eq!(outbox.finish(Vec::new(), None).unwrap(), Ok(()));
        assert_eq!(reading.join().unwrap().unwrap(), taken);
    }

    #[test]
    fn a_piece_larger_than_the_bound_goes_when_nothing_else_waits() {
        let (mut reader, outbox) = outbox(10);
        outbox.offer(&mut vec![b'x'; 1_000]).unwrap();
        let mut read = vec![0; 1_000];
        reader.read_exact(&mut read).unwrap();
        assert!(outbox.wait_until_empty(None));
        assert_eq!(outbox.finish(Vec::new(), None).unwrap(), Ok(()));
    }

    #[test]
    fn patience_ends_only_where_nothing_is_taken() {
        let (mut reader, outbox) = outbox(10 << 20);
        outbox.offer(&mut vec![b'x'; 1 << 20]).unwrap();
        let Err(stalled) = outbox.finish(Vec::new(), Some(PATIENCE)).unwrap() else {
            panic!("nobody reads")
        };
        assert!(stalled.bytes > 0 && stalled.bytes <= 1 << 20, "{stalled:?}");
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
    }

    #[test]
    fn a_reader_that_has_gone_is_reported_once() {
        let (reader, outbox) = outbox(1 << 20);
        drop(reader);
        outbox.offer(&mut b"x".to_vec()).unwrap();
        assert!(!outbox.wait_until_empty(None));
        let Err(Refused::Failed(Some(error))) = outbox.offer(&mut b"y".to_vec()) else {
            panic!("it has failed")
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(matches!(
            outbox.offer(&mut b"z".to_vec()),
            Err(Refused::Failed(None))
        ));
    }
}
