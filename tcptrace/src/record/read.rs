//! Reads one file of a recording: what is whole, and where what is not. Never takes damaged bytes for data.

use super::{
    batch::{Decoder, Places, Undecodable},
    bounds::{LONGEST_BODY, MOST_REMARKS},
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

/// So much may be read in vain for the next whole message, and four times what was passed over.
const VAIN_BYTES: u64 = 16 * LONGEST_BODY as u64;

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
    Undecodable(Undecodable),
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
            Fault::Undecodable(why) => write!(
                f,
                "bytes {start} to {end} are no batch that tcptrace writes, so damaged or hostile, and were passed over: {why}"
            ),
        }
    }
}

/// An open recording.
pub struct Reader {
    /// Where it comes from.
    pub origin: Origin,
    /// What was passed over so far, at the first [`MOST_REMARKS`] places.
    pub damage: Vec<Damage>,
    /// At how many more places something was.
    pub more_damage: u64,
    /// Rows of a kind that this version does not know, so far.
    pub unknown: u64,
    /// Whether the end of the stream was found.
    pub is_whole: bool,
    pub(super) decoder: Decoder,
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
            origin: compatibility::judge(&schema)?,
            damage: Vec::new(),
            more_damage: 0,
            unknown: 0,
            is_whole: false,
            decoder: Decoder::new(Places::of(&schema)?)?,
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
                Step::Batch => {
                    let mut rows = Rows::new(self.decoder.columns());
                    let flow = rows.visit(&mut each);
                    self.unknown += rows.unknown;
                    flow
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
                        Ok(Some(_)) => Ok(Some(Step::Batch)),
                        // An empty message, or a dictionary: nothing that a recording has, and nothing lost.
                        Ok(None) => continue,
                        Err(why) => {
                            self.note(start..self.input.offset, Fault::Undecodable(why));
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
                Found::Unfit(_) | Found::Damaged => self.resume(start, Fault::Damaged),
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
        if self.damage.len() < MOST_REMARKS {
            self.damage.push(Damage { bytes, what });
        } else {
            self.more_damage += 1;
        }
    }
}

enum Step {
    /// Rows are decoded.
    Batch,
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
    /// Bytes that were read for checksums which they did not fit, while the next message was looked for.
    in_vain: u64,
}

impl Input {
    const fn new(source: Box<dyn io::Read>) -> Self {
        Self {
            source,
            offset: 0,
            bytes: Vec::new(),
            used: 0,
            is_read: false,
            in_vain: 0,
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
            if ones.is_none() || self.has_given_up() {
                continue;
            }
            match self.find()? {
                Found::Message(_) => return Ok(true),
                Found::Unfit(bytes) => self.in_vain += bytes as u64,
                Found::End | Found::Cut | Found::Damaged => {}
            }
        }
    }

    /// Whether looking for messages costs more than reading: somebody has written beginnings of messages that overlap.
    /// What is damaged is read twice, once for its own checksum.
    const fn has_given_up(&self) -> bool {
        self.in_vain > VAIN_BYTES + 4 * self.offset
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let count = (&mut self.source)
            .take(PIECE_BYTES)
            .read_to_end(&mut self.bytes)?;
        self.is_read = count == 0;
        Ok(())
    }
}
