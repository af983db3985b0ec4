//! Reads one file of a recording: its intact batches, and where it is damaged. Damaged bytes are never decoded.

use super::{
    batch::{Decoder, Undecodable},
    bounds::MOST_REMARKS,
    compatibility::{self, Incompatible},
    entry::{Entry, Item},
    frame::Found,
    input::Input,
    origin::Origin,
    source::{Part, Source},
};
use crate::event::{Nanos, SockRef};
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use std::{
    fmt,
    fs::File,
    io,
    ops::{ControlFlow, Range},
    path::Path,
    sync::mpsc,
    thread,
};

/// Maximum number of parts that are decoded ahead.
const PARTS_AHEAD: usize = 4;

/// Sockets that are prefetched together.
const PREFETCHED: usize = 32;

/// Why a file gives nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{0}\n  what it means: nothing was read\n  what to do: check its name and permissions")]
    Io(#[from] io::Error),
    /// It has no bytes.
    #[error(
        "it is empty\n  what it means: its run ended before anything was written\n  what to do: record again"
    )]
    Empty,
    /// Its first message, which says what it is, is no such message.
    #[error(
        "its header, up to byte {0}, is damaged or not that of a recording\n  what it means: its rows cannot be interpreted, so none is read\n  what to do: give a file that `tcptrace record` has written, or another copy of it"
    )]
    NoHeader(u64),
    /// It is Arrow, and no recording for this version.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
}

/// Bytes that were skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub bytes: Range<u64>,
    /// What is wrong with them.
    pub what: Fault,
}

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file ends in the middle of a batch.
    Cut,
    /// They do not fit their checksum, or are no message.
    Damaged,
    /// They fit their checksum, and are still no batch of a recording.
    Undecodable(Undecodable),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.bytes;
        match self.what {
            Fault::Cut => write!(
                f,
                "truncated at byte {start}: the last {} bytes are an incomplete batch",
                end - start
            ),
            Fault::Damaged => write!(f, "bytes {start} to {end} are damaged and were skipped"),
            Fault::Undecodable(why) => write!(
                f,
                "bytes {start} to {end} are not a valid batch, damaged or hostile, and were skipped: {why}"
            ),
        }
    }
}

/// An open recording.
pub struct Reader {
    /// Where it comes from.
    pub origin: Origin,
    /// What was skipped so far, at the first `MOST_REMARKS` places.
    pub damage: Vec<Damage>,
    /// At how many more places something was.
    pub more_damage: u64,
    /// Rows of a kind that this version does not know, so far.
    pub unknown: u64,
    /// Whether the end of the stream was found.
    pub is_whole: bool,
    /// `None` after [`Self::close`] and [`Self::visit`].
    pub(super) source: Option<Source>,
}

impl Reader {
    /// Opens a file and reads its header. Fails if it gives nothing at all.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(Box::new(File::open(path)?))
    }

    /// Reads from any source of the same bytes.
    ///
    /// # Errors
    /// If it gives nothing at all.
    pub fn new(source: Box<dyn io::Read + Send>) -> Result<Self, ReadError> {
        let mut input = Input::new(source);
        let Found::Message(length) = input.find()? else {
            return Err(if input.is_at_end()? {
                ReadError::Empty
            } else {
                ReadError::NoHeader(input.read_to())
            });
        };
        let header = try_schema_from_ipc_buffer(input.peek(length));
        input.pass(length);
        let Ok(schema) = header else {
            return Err(ReadError::NoHeader(input.offset));
        };
        Ok(Self {
            origin: compatibility::check(&schema)?,
            damage: Vec::new(),
            more_damage: 0,
            unknown: 0,
            is_whole: false,
            source: Some(Source::new(input, Decoder::new(&schema)?)),
        })
    }

    /// Closes the file until [`Self::reopen`].
    pub(crate) fn close(&mut self) {
        self.source = None;
    }

    /// Opens the file anew if it was closed. Fails if it gives nothing any more.
    pub(crate) fn reopen(&mut self, path: &Path) -> Result<(), ReadError> {
        if self.source.is_none() {
            *self = Self::open(path)?;
        }
        Ok(())
    }

    /// Hands over every entry until `each` breaks off, while another thread decodes the ones after it. Where bytes are
    /// skipped, it gets a gap. Returns whether the file was read to its end; a file is read once.
    ///
    /// # Errors
    /// If the file cannot be read further, or there is no thread to decode it. What was handed over is whole.
    pub fn visit(&mut self, each: &mut impl FnMut(Item<'_>) -> ControlFlow<()>) -> io::Result<bool> {
        let Some(mut source) = self.source.take() else {
            return Ok(true);
        };
        let (sender, parts) = mpsc::sync_channel(PARTS_AHEAD);
        thread::Builder::new().name("decoder".to_owned()).spawn(move || {
            let sent = source.decode(&mut |part| match sender.send(Ok(part)) {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody wants the rest.
                Err(_) => ControlFlow::Break(()),
            });
            if let Err(error) = sent {
                let _ = sender.send(Err(error));
            }
        })?;
        let mut latest = Nanos(self.origin.clock.mono_ns);
        for part in parts {
            let flow = match part? {
                Part::Entries { entries, unknown } => {
                    self.unknown += unknown;
                    hand_over(&entries, &mut latest, each)
                }
                Part::Damage(damage) => {
                    self.note(damage);
                    each(Item::Entry(&Entry::Gap {
                        time: latest,
                        entries: 0,
                    }))
                }
                Part::End { is_whole } => {
                    self.is_whole = is_whole;
                    return Ok(true);
                }
            };
            if flow.is_break() {
                return Ok(false);
            }
        }
        Err(io::Error::other(
            "the thread that decodes the recording has failed",
        ))
    }

    fn note(&mut self, damage: Damage) {
        if self.damage.len() < MOST_REMARKS {
            self.damage.push(damage);
        } else {
            self.more_damage += 1;
        }
    }
}

fn hand_over(
    entries: &[Entry],
    latest: &mut Nanos,
    each: &mut impl FnMut(Item<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for entries in entries.chunks(PREFETCHED) {
        let mut socks = [SockRef::default(); PREFETCHED];
        for (sock, entry) in socks.iter_mut().zip(entries) {
            *sock = entry.sock();
        }
        each(Item::Prefetch(&socks[..entries.len()]))?;
        for entry in entries {
            if let Some(time) = entry.time() {
                *latest = (*latest).max(time);
            }
            each(Item::Entry(entry))?;
        }
    }
    ControlFlow::Continue(())
}
