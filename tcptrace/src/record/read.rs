//! Reads one file of a recording: what is whole, and where what is not. Never takes damaged bytes for data.

use super::{
    batch::{Decoder, Undecodable},
    compatibility::{self, Incompatible},
    entry::{Entry, Told},
    frame::{self, Found},
    origin::Origin,
    rows::Rows,
};
use crate::event::Nanos;
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use std::{
    cell::Cell,
    fmt,
    fs::File,
    io::{self, Read as _},
    ops::{ControlFlow, Range},
    path::Path,
};

/// The file is read in pieces of this size.
const PIECE_BYTES: u64 = 4 << 20;

/// Why a file gives nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{0}\n  it means: nothing of it was read\n  what to do: check its name and who may read it")]
    Io(#[from] io::Error),
    /// It has no bytes.
    #[error(
        "it is empty\n  it means: its run ended before anything was written\n  what to do: there is nothing to save"
    )]
    Empty,
    /// Its first message, which says what it is, is no such message.
    #[error(
        "its header, up to byte {0}, is damaged, or is not that of a recording\n  it means: where it comes from and what its rows are is not known, so none is read\n  what to do: give a file that `tcptrace record` has written, or another copy of it"
    )]
    NoHeader(u64),
    /// It is Arrow, and no recording for this version.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
}

/// Bytes that were passed over.
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
    Undecodable,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.bytes;
        match self.what {
            Fault::Cut => write!(
                f,
                "cut off at byte {start}: the last {} bytes are half a batch",
                end - start
            ),
            Fault::Damaged => write!(f, "bytes {start} to {end} are damaged and were passed over"),
            Fault::Undecodable => write!(f, "bytes {start} to {end} are no batch that this version reads"),
        }
    }
}

/// An open recording.
pub struct Reader {
    /// Where it comes from.
    pub origin: Origin,
    /// What was passed over so far.
    pub damage: Vec<Damage>,
    /// Rows of a kind that this version does not know, so far.
    pub unknown: u64,
    /// Whether the end of the stream was found.
    pub is_whole: bool,
    decoder: Decoder,
    input: Input,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Where it gives nothing at all.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(Box::new(File::open(path)?))
    }

    /// Reads from any source of the same bytes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn new(source: Box<dyn io::Read>) -> Result<Self, ReadError> {
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
            origin: compatibility::judge(schema.metadata())?,
            damage: Vec::new(),
            unknown: 0,
            is_whole: false,
            decoder: Decoder::new(&schema)?,
            input,
        })
    }

    /// Hands over every entry until `each` breaks off. Where bytes are passed over, it gets a gap. Returns whether the
    /// file was read to its end.
    ///
    /// # Errors
    /// Where the file cannot be read further; what was handed over is whole.
    pub fn visit(&mut self, each: &mut impl FnMut(Told<'_>) -> ControlFlow<()>) -> io::Result<bool> {
        let latest = Cell::new(Nanos(self.origin.clock.mono_ns));
        let mut each = |told: Told<'_>| {
            if let Told::Entry(entry) = told
                && let Some(time) = entry.time()
            {
                latest.set(latest.get().max(time));
            }
            each(told)
        };
        while let Some(step) = self.next_batch()? {
            let flow = match step {
                Step::Batch(count) => {
                    if let Ok(columns) = self.decoder.columns() {
                        let mut rows = Rows::new(columns);
                        let flow = rows.visit(&mut each);
                        self.unknown += rows.unknown;
                        flow
                    } else {
                        // A column of another type: no version wrote this.
                        self.unknown += count as u64;
                        ControlFlow::Continue(())
                    }
                }
                Step::Gap => each(Told::Entry(&Entry::Gap {
                    time: latest.get(),
                    entries: 0,
                })),
            };
            if flow.is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next_batch(&mut self) -> io::Result<Option<Step>> {
        loop {
            let start = self.input.offset;
            return match self.input.find()? {
                Found::Message(length) => {
                    let decoded = self.decoder.decode(self.input.peek(length));
                    self.input.pass(length);
                    match decoded {
                        Ok(Some(rows)) => Ok(Some(Step::Batch(rows))),
                        // An empty message, or a dictionary: nothing that a recording has, and nothing lost.
                        Ok(None) => continue,
                        Err(Undecodable) => {
                            self.note(start..self.input.offset, Fault::Undecodable);
                            Ok(Some(Step::Gap))
                        }
                    }
                }
                Found::End => {
                    self.input.pass(frame::END.len());
                    if self.input.is_at_end()? {
                        self.is_whole = true;
                        return Ok(None);
                    }
                    // A length that was damaged to 0 looks like an end.
                    self.resume(start, Fault::Damaged)
                }
                Found::Cut if self.input.is_at_end()? => Ok(None),
                Found::Cut => self.resume(start, Fault::Cut),
                Found::Damaged => self.resume(start, Fault::Damaged),
            };
        }
    }

    /// Looks for the next whole message beyond `start`.
    fn resume(&mut self, start: u64, fault: Fault) -> io::Result<Option<Step>> {
        let found = self.input.skip_to_message()?;
        let what = if found { Fault::Damaged } else { fault };
        self.note(start..self.input.offset, what);
        Ok(Some(Step::Gap))
    }

    fn note(&mut self, bytes: Range<u64>, what: Fault) {
        self.damage.push(Damage { bytes, what });
    }
}

enum Step {
    /// So many rows are decoded.
    Batch(usize),
    Gap,
}

/// The file, and the part of it that was read and not yet used.
struct Input {
    source: Box<dyn io::Read>,
    /// Place in the file of the first byte that was not used.
    offset: u64,
    bytes: Vec<u8>,
    used: usize,
    is_read: bool,
}

impl Input {
    const fn new(source: Box<dyn io::Read>) -> Self {
        Self {
            source,
            offset: 0,
            bytes: Vec::new(),
            used: 0,
            is_read: false,
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    const fn read_to(&self) -> u64 {
        self.offset + (self.bytes.len() - self.used) as u64
    }

    /// What comes next; [`Found::Cut`] only where the file has no more.
    fn find(&mut self) -> io::Result<Found> {
        loop {
            match frame::find(self.rest()) {
                Found::Cut if !self.is_read => self.read_more()?,
                found => return Ok(found),
            }
        }
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        if self.rest().is_empty() && !self.is_read {
            self.read_more()?;
        }
        Ok(self.rest().is_empty())
    }

    fn peek(&self, length: usize) -> &[u8] {
        self.rest().get(..length).unwrap_or_default()
    }

    fn pass(&mut self, length: usize) {
        let length = length.min(self.rest().len());
        self.used += length;
        self.offset += length as u64;
    }

    /// Passes over at least one byte, up to the next whole message; `false` where there is none, at the file's end.
    fn skip_to_message(&mut self) -> io::Result<bool> {
        loop {
            if self.rest().is_empty() && self.is_at_end()? {
                return Ok(false);
            }
            // Messages begin with bytes that are all ones.
            let ones = self.rest().iter().skip(1).position(|byte| *byte == 0xff);
            let step = ones.map_or(self.rest().len(), |at| at + 1);
            self.used += step;
            self.offset += step as u64;
            if ones.is_some() && matches!(self.find()?, Found::Message(_)) {
                return Ok(true);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let limit = PIECE_BYTES.max(self.bytes.len() as u64);
        let count = (&mut self.source).take(limit).read_to_end(&mut self.bytes)?;
        self.is_read = count == 0;
        Ok(())
    }
}
