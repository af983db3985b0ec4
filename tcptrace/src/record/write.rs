//! Writes one file of a recording: complete batches, each in one write, synced on request. The file is always readable:
//! a batch that does not fit on the disk is removed.

use super::{
    bounds::{BATCH_ROWS, BATCH_TEXT_BYTES},
    columns::BatchBuilder,
    entry::Entry,
    format::{self, FORMAT},
    frame,
    message::MessageEncoder,
    origin::Origin,
};
use crate::outfile::{Cause, NewFile, Whereabouts};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::SchemaRef;
use std::{
    io::{self, Write as _},
    path::Path,
};

/// Encodes entries as messages of one stream.
pub struct Encoder {
    schema: SchemaRef,
    messages: MessageEncoder,
    columns: BatchBuilder,
}

impl Encoder {
    /// A stream of this origin.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new(origin: &Origin) -> io::Result<Self> {
        Ok(Self {
            schema: format::schema(origin.to_metadata(FORMAT)),
            messages: MessageEncoder::new()?,
            columns: BatchBuilder::default(),
        })
    }

    /// The stream's first message.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let message = IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(
            &self.schema,
            &mut DictionaryTracker::new(true),
            &IpcWriteOptions::default(),
        );
        frame::seal(message)
    }

    /// Adds an entry to the batch.
    pub fn push(&mut self, entry: &Entry) {
        self.columns.push(entry);
    }

    /// Whether there are rows that are in no message yet.
    pub(crate) const fn is_pending(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether they are as many as a message takes.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.columns.len() >= BATCH_ROWS || self.columns.text_bytes() >= BATCH_TEXT_BYTES
    }

    /// The rows so far as one message.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn batch(&mut self) -> io::Result<Vec<u8>> {
        Ok(frame::seal(self.columns.encode(&mut self.messages)?))
    }
}

/// Writes batches to a recording.
pub struct Writer {
    encoder: Encoder,
    file: NewFile,
    bytes: u64,
}

impl Writer {
    /// Makes the file, which must not be there yet, and writes its header. While it is written, the file is locked, by
    /// which others see that it is. A file whose header cannot be written is removed.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn create(path: &Path, origin: &Origin) -> Result<Self, Cause> {
        let encoder = Encoder::new(origin)?;
        let mut writer = Self {
            encoder,
            file: NewFile::create(path)?,
            bytes: 0,
        };
        // A file system without locks has none: then nobody sees it.
        let _ = writer.file.file().try_lock();
        let header = writer.encoder.header();
        match writer.append(&header).and_then(|()| writer.sync()) {
            Ok(()) => Ok(writer),
            Err(error) => {
                writer.file.discard();
                Err(error.into())
            }
        }
    }

    /// Adds an entry, and writes a batch where one is full.
    ///
    /// # Errors
    /// If the disk is full, or fails.
    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.encoder.push(entry);
        if self.encoder.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what there is as a batch.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.encoder.is_pending() {
            return Ok(());
        }
        let message = self.encoder.batch()?;
        self.append(&message)
    }

    /// Waits until everything written is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.file().sync_data()
    }

    /// Writes the rest and the end of the stream. Returns where the file is then.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> io::Result<Whereabouts> {
        self.flush()?;
        self.append(&frame::END)?;
        self.file.file().sync_all()?;
        Ok(self.whereabouts())
    }

    /// Where the file is now.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.file.whereabouts()
    }

    /// Bytes in the file.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.file().write_all(bytes) {
            // Readers stop at half a message; without it they find the end of what is whole. Where even that fails,
            // they say what they found.
            let _ = self.file.file().set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
