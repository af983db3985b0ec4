//! Reads batches by Arrow's reader, once it is checked how much memory a batch would make it reserve. Knows the layout
//! of columns, not the meaning of rows.

use super::{
    bounds::{MOST_ROWS, PADDING, most_text_bytes},
    compatibility::Incompatible,
    format::{self, ADDRESS_BYTES, NumbersRead},
    frame,
};
use arrow_array::{BinaryArray, FixedSizeBinaryArray, RecordBatch, cast::AsArray as _};
use arrow_buffer::Buffer;
use arrow_ipc::{CompressionType, reader::read_record_batch, root_as_message};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

/// Why bytes that fit their checksum are no batch: tcptrace writes none such, so they are damaged or were made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Its row count exceeds what is ever written, or what its bytes can hold.
    #[error("it claims {rows} rows in {bytes} bytes")]
    Rows {
        /// The number of rows that it claims.
        rows: i64,
        /// The bytes of its body.
        bytes: usize,
    },
    /// A column is missing, holds nulls, or is longer or shorter than its rows.
    #[error("column {0} does not have one value per row")]
    Column(&'static str),
    /// It is no message of Arrow, or its buffers cannot be decompressed to columns of its schema.
    #[error("its layout or its compression is invalid")]
    Layout,
}

pub(super) struct Decoder {
    /// The columns of the file.
    schema: SchemaRef,
    /// The places of those that this version knows.
    known: Vec<usize>,
}

impl Decoder {
    /// A decoder of batches with this schema, which [`compatibility::check`](super::compatibility::check) has found to
    /// have our columns. Fails if a column that this version does not know has columns within: where the next one
    /// begins is not checked then.
    pub(super) fn new(schema: &Schema) -> Result<Self, Incompatible> {
        let fields = schema.fields();
        if let Some(field) = fields
            .iter()
            .find(|field| buffer_lengths(field.data_type(), 0, 0).is_none())
        {
            return Err(Incompatible::wrong_column(field.name()));
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields.clone())),
            known: (0..fields.len())
                .filter(|at| known(&fields[*at]).is_some())
                .collect(),
        })
    }

    /// Decodes a message, which [`frame::find`] has found to be whole; `None` where it holds no batch. Fails if its
    /// layout does not match its schema, or is larger than anything that is written. Nothing is reserved for it in the
    /// second case.
    pub(super) fn decode(&self, message: &[u8]) -> Result<Option<RecordBatch>, Undecodable> {
        let (metadata, body) = frame::split(message).ok_or(Undecodable::Layout)?;
        let message = root_as_message(metadata).map_err(|_| Undecodable::Layout)?;
        let Some(batch) = message.header_as_record_batch() else {
            return Ok(None);
        };
        self.check(batch, body)?;
        read_record_batch(
            &Buffer::from(body),
            batch,
            Arc::clone(&self.schema),
            &HashMap::new(),
            Some(&self.known),
            &message.version(),
        )
        .map(Some)
        .map_err(|_| Undecodable::Layout)
    }

    /// Checks what Arrow's reader trusts: that buffers lie within the body, where it would panic, and their lengths
    /// after decompression, for which it reserves memory.
    fn check(&self, batch: arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), Undecodable> {
        // A row takes a byte at least: what tells it from others, its time or a socket, is of no pattern.
        let rows = usize::try_from(batch.length())
            .ok()
            .filter(|rows| *rows <= MOST_ROWS.min(body.len()))
            .ok_or(Undecodable::Rows {
                rows: batch.length(),
                bytes: body.len(),
            })?;
        let is_compressed = match batch.compression().map(|compression| compression.codec()) {
            None => false,
            Some(CompressionType::ZSTD) => true,
            Some(_) => return Err(Undecodable::Layout),
        };
        let mut nodes = batch.nodes().ok_or(Undecodable::Layout)?.iter();
        let mut buffers = batch.buffers().ok_or(Undecodable::Layout)?.iter();
        for field in self.schema.fields() {
            let node = nodes.next();
            let mut fits = node.is_some_and(|node| node.length() == batch.length() && node.null_count() == 0);
            let lengths = buffer_lengths(field.data_type(), rows, most_text_bytes(body.len()));
            for expected in lengths.ok_or(Undecodable::Layout)? {
                let length = buffers
                    .next()
                    .and_then(|buffer| length(buffer, body, is_compressed));
                fits &= length.is_some_and(|length| expected.contains(&length));
            }
            // Arrow's reader skips the others.
            if !fits && let Some(known) = known(field) {
                return Err(Undecodable::Column(known.name()));
            }
        }
        Ok(())
    }
}

/// The column of this version that has the same name.
fn known(field: &Field) -> Option<&'static Field> {
    format::fields_read()
        .iter()
        .find(|known| known.name() == field.name())
}

/// The lengths that the buffers of a column may have (Arrow, "Buffer Listing for Each Layout"); `None` where it has
/// columns within.
fn buffer_lengths(kind: &DataType, rows: usize, most_text: usize) -> Option<Vec<RangeInclusive<usize>>> {
    let padded = |bytes: usize| bytes..=bytes + PADDING;
    let bits = rows.div_ceil(8);
    let validity = 0..=bits + PADDING;
    Some(match kind {
        DataType::Null => vec![],
        DataType::Boolean => vec![validity, padded(bits)],
        DataType::Binary | DataType::Utf8 => {
            vec![validity, padded((rows + 1) * size_of::<i32>()), 0..=most_text]
        }
        DataType::LargeBinary | DataType::LargeUtf8 => {
            vec![validity, padded((rows + 1) * size_of::<i64>()), 0..=most_text]
        }
        DataType::FixedSizeBinary(width) => vec![validity, padded(rows * usize::try_from(*width).ok()?)],
        other => vec![validity, padded(rows * other.primitive_width()?)],
    })
}

/// The length of a buffer after decompression, as the buffer itself has it; `None` if it is not within the body.
fn length(buffer: &arrow_ipc::Buffer, body: &[u8], is_compressed: bool) -> Option<usize> {
    let from = usize::try_from(buffer.offset()).ok()?;
    let to = from.checked_add(usize::try_from(buffer.length()).ok()?)?;
    let bytes = body.get(from..to)?;
    if bytes.is_empty() || !is_compressed {
        return Some(bytes.len());
    }
    let (length, stored) = bytes.split_first_chunk()?;
    match i64::from_le_bytes(*length) {
        // Arrow, "Compression": it was left out.
        -1 => Some(stored.len()),
        length => usize::try_from(length).ok(),
    }
}

#[derive(Debug)]
pub(super) struct Columns {
    pub(super) count: usize,
    pub(super) numbers: NumbersRead,
    local_addr: FixedSizeBinaryArray,
    remote_addr: FixedSizeBinaryArray,
    text: BinaryArray,
}

impl Columns {
    /// The columns of a batch that [`Decoder`] has decoded.
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let column = |name| batch.column_by_name(name).expect("every format has this column");
        Self {
            count: batch.num_rows(),
            numbers: NumbersRead::of(batch),
            local_addr: column("local_addr").as_fixed_size_binary().clone(),
            remote_addr: column("remote_addr").as_fixed_size_binary().clone(),
            text: column("text").as_binary().clone(),
        }
    }

    pub(super) fn local_addr(&self, at: usize) -> [u8; ADDRESS_BYTES] {
        self.local_addr.value_data().as_chunks().0[at]
    }

    pub(super) fn remote_addr(&self, at: usize) -> [u8; ADDRESS_BYTES] {
        self.remote_addr.value_data().as_chunks().0[at]
    }

    /// The text of a row; empty where it has none.
    pub(super) fn text(&self, at: usize) -> &[u8] {
        self.text.value(at)
    }
}
