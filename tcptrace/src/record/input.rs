//! The bytes of one file of a recording, message by message.

use super::{
    bounds::LONGEST_BODY,
    frame::{self, Found},
};
use std::io::{self, Read as _};

/// The file is read in pieces of this size.
const PIECE_BYTES: u64 = 4 << 20;

/// Limit on bytes read in the search for the next complete message, in addition to four times what was skipped.
const VAIN_BYTES: u64 = 16 * LONGEST_BODY as u64;

/// The file, and the part of it that was read and not yet used.
pub(super) struct Input {
    source: Box<dyn io::Read + Send>,
    /// Place in the file of the first byte that was not used.
    pub(super) offset: u64,
    bytes: Vec<u8>,
    used: usize,
    is_read: bool,
    /// Bytes that were read for checksums which they did not fit, while the next message was looked for.
    in_vain: u64,
}

impl Input {
    pub(super) const fn new(source: Box<dyn io::Read + Send>) -> Self {
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

    pub(super) const fn read_to(&self) -> u64 {
        self.offset + (self.bytes.len() - self.used) as u64
    }

    /// What comes next; [`Found::Cut`] only where the file has no more.
    pub(super) fn find(&mut self) -> io::Result<Found> {
        loop {
            match frame::find(self.rest()) {
                Found::Cut if !self.is_read => self.read_more()?,
                found => return Ok(found),
            }
        }
    }

    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        if self.rest().is_empty() && !self.is_read {
            self.read_more()?;
        }
        Ok(self.rest().is_empty())
    }

    pub(super) fn peek(&self, length: usize) -> &[u8] {
        self.rest().get(..length).unwrap_or_default()
    }

    pub(super) fn pass(&mut self, length: usize) {
        let length = length.min(self.rest().len());
        self.used += length;
        self.offset += length as u64;
    }

    /// Passes over at least one byte, up to the next whole message; `false` where there is none, at the file's end.
    pub(super) fn skip_to_message(&mut self) -> io::Result<bool> {
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
