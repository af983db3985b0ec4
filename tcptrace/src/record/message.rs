//! Encodes the columns of a batch as one message of an Arrow IPC stream. Arrow's own writer compresses every buffer
//! alike; here each column is stored as it is read fastest for its bytes.

use arrow_ipc::{
    BodyCompressionBuilder, BodyCompressionMethod, Buffer, CompressionType, FieldNode, MessageBuilder,
    MessageHeader, MetadataVersion, RecordBatchBuilder, writer::EncodedData,
};
use flatbuffers::FlatBufferBuilder;
use std::io;
use zstd::{
    bulk::Compressor,
    zstd_safe::{CParameter, ParamSwitch},
};

/// Every buffer begins at a multiple of this.
const ALIGNMENT: usize = super::frame::ALIGNMENT;

/// The length of a buffer that is not compressed, where others are (Arrow, "Compression").
const NOT_COMPRESSED: i64 = -1;

/// How a column's bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Uncompressed.
    Plain,
    /// By zstd, each byte by how frequent it is (Huffman's code) and no patterns: for bytes of few values in an order
    /// of their own.
    Bytes,
    /// By zstd at its own default level.
    Patterns,
}

/// Compresses buffers and describes them.
pub struct MessageEncoder {
    bytes: Compressor<'static>,
    patterns: Compressor<'static>,
    builder: FlatBufferBuilder<'static>,
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
    body: Vec<u8>,
    rows: i64,
}

impl MessageEncoder {
    /// One that has encoded nothing yet.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new() -> io::Result<Self> {
        // The lowest level passes over so much between two looks for a pattern that it finds none.
        let mut bytes = Compressor::new(*zstd::compression_level_range().start())?;
        bytes.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Self {
            bytes,
            patterns: Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            builder: FlatBufferBuilder::new(),
            nodes: Vec::new(),
            buffers: Vec::new(),
            body: Vec::new(),
            rows: 0,
        })
    }

    /// Begins a batch with this number of rows.
    pub fn begin(&mut self, rows: usize) {
        self.nodes.clear();
        self.buffers.clear();
        self.body.clear();
        self.rows = long(rows);
    }

    /// Adds a column without nulls, of these buffers.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn column(&mut self, buffers: &[(&[u8], Storage)]) -> io::Result<()> {
        self.nodes.push(FieldNode::new(self.rows, 0));
        // The first buffer says which values are nulls; where there are none, it may be empty.
        self.buffers.push(Buffer::new(long(self.body.len()), 0));
        buffers
            .iter()
            .try_for_each(|(bytes, storage)| self.buffer(bytes, *storage))
    }

    fn buffer(&mut self, bytes: &[u8], storage: Storage) -> io::Result<()> {
        let begin = self.body.len();
        if !bytes.is_empty() {
            let compressed = match storage {
                Storage::Plain => None,
                Storage::Bytes => Some(self.bytes.compress(bytes)?),
                Storage::Patterns => Some(self.patterns.compress(bytes)?),
            };
            let (said, stored) = match &compressed {
                Some(compressed) if compressed.len() < bytes.len() => (long(bytes.len()), &compressed[..]),
                Some(_) | None => (NOT_COMPRESSED, bytes),
            };
            self.body.extend(said.to_le_bytes());
            self.body.extend(stored);
        }
        self.buffers
            .push(Buffer::new(long(begin), long(self.body.len() - begin)));
        self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
        Ok(())
    }

    /// The message of the columns that were added.
    pub fn finish(&mut self) -> EncodedData {
        let Self {
            builder,
            nodes,
            buffers,
            body,
            rows,
            ..
        } = self;
        builder.reset();
        let mut compression = BodyCompressionBuilder::new(builder);
        compression.add_method(BodyCompressionMethod::BUFFER);
        compression.add_codec(CompressionType::ZSTD);
        let compression = compression.finish();
        let buffers = builder.create_vector(buffers);
        let nodes = builder.create_vector(nodes);
        let mut batch = RecordBatchBuilder::new(builder);
        batch.add_length(*rows);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        batch.add_compression(compression);
        let batch = batch.finish();
        let mut message = MessageBuilder::new(builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(long(body.len()));
        message.add_header(batch.as_union_value());
        let message = message.finish();
        builder.finish(message, None);
        EncodedData {
            ipc_message: builder.finished_data().to_vec(),
            arrow_data: std::mem::take(body),
        }
    }
}

/// A length as Arrow writes it.
fn long(length: usize) -> i64 {
    i64::try_from(length).expect("no memory holds 2^63 bytes")
}
