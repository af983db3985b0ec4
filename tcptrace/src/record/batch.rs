//! Decodes one file's batches, each into the memory of the one before. Knows the layout of Arrow's messages, and not
//! what rows mean.

use super::{
    format::{self, ADDRESS_BYTES, BLOCK, BlockNumbers, NumbersRead},
    frame,
};
use arrow_buffer::{ArrowNativeType, MutableBuffer};
use arrow_ipc::{CompressionType, root_as_message};
use arrow_schema::{DataType, Schema};
use zstd::bulk::Decompressor;

/// A column of zeros is compressed to fewer bytes than this, whatever its length.
const ZEROS_BYTES: usize = 64;

/// So many forms that columns of zeros take are remembered: one for each width and length.
const ZEROS_KNOWN: usize = 16;

/// Why bytes that fit their checksum are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// What a column of the file is to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Ours, at this place in [`format::fields_read`], and so many bytes a row.
    Fixed { at: usize, width: usize },
    /// Ours, of varying length.
    Text,
    /// One that this version does not know, with so many buffers.
    Unknown { buffers: usize },
}

/// Decodes the batches of one schema.
pub struct Decoder {
    places: Result<Vec<Place>, &'static str>,
    zstd: Decompressor<'static>,
    /// Compressed forms of nothing but zeros, with the length that each stands for.
    zeros: Vec<(usize, Vec<u8>)>,
    rows: usize,
    columns: Vec<Column>,
    offsets: Column,
    texts: Column,
}

/// Memory that is used again: bytes beyond the length are an older batch's, and need no zeros written over them.
#[derive(Default)]
pub(super) struct Column {
    memory: MutableBuffer,
    bytes: usize,
}

impl Column {
    /// Room for so many bytes, whatever is in them.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        // The last block may reach beyond the last row.
        let padded = bytes.next_multiple_of(BLOCK * ADDRESS_BYTES);
        if self.memory.len() < padded {
            self.memory.resize(padded, 0);
        }
        self.bytes = bytes;
        &mut self.memory.as_slice_mut()[..bytes]
    }

    const fn clear(&mut self) {
        self.bytes = 0;
    }

    /// Its bytes.
    fn bytes(&self) -> &[u8] {
        &self.memory.as_slice()[..self.bytes]
    }

    /// Its values; none of a last one that is not whole.
    fn values<T: ArrowNativeType>(&self) -> &[T] {
        &self.memory.typed_data()[..self.bytes / size_of::<T>()]
    }

    /// The same in blocks: the values of the last one go on beyond those that there are.
    pub(super) fn blocks<T: ArrowNativeType>(&self) -> &[[T; BLOCK]] {
        let (blocks, _) = self.memory.typed_data().as_chunks();
        &blocks[..self.bytes.div_ceil(BLOCK * size_of::<T>())]
    }

    fn address_blocks(&self) -> &[[[u8; ADDRESS_BYTES]; BLOCK]] {
        let (addresses, _) = self.memory.as_slice().as_chunks();
        let (blocks, _) = addresses.as_chunks();
        &blocks[..self.bytes.div_ceil(BLOCK * ADDRESS_BYTES)]
    }
}

impl Decoder {
    /// A decoder of batches with this schema.
    ///
    /// # Errors
    /// Where zstd has no memory.
    pub fn new(schema: &Schema) -> std::io::Result<Self> {
        Ok(Self {
            places: places(schema),
            zstd: Decompressor::new()?,
            zeros: Vec::new(),
            rows: 0,
            columns: format::fields_read().iter().map(|_| Column::default()).collect(),
            offsets: Column::default(),
            texts: Column::default(),
        })
    }

    /// Decodes a message, which [`frame::find`] has found to be whole. Returns its number of rows; `None` where it
    /// holds no batch.
    ///
    /// # Errors
    /// Where it is not laid out as its schema says.
    pub fn decode(&mut self, message: &[u8]) -> Result<Option<usize>, Undecodable> {
        let (metadata, body) = frame::split(message).ok_or(Undecodable)?;
        let message = root_as_message(metadata).map_err(|_| Undecodable)?;
        let Some(batch) = message.header_as_record_batch() else {
            return Ok(None);
        };
        let rows = usize::try_from(batch.length()).map_err(|_| Undecodable)?;
        let compression = batch.compression().map(|compression| compression.codec());
        if !matches!(compression, None | Some(CompressionType::ZSTD)) {
            return Err(Undecodable);
        }
        let mut nodes = batch.nodes().ok_or(Undecodable)?.iter();
        let mut buffers = batch.buffers().ok_or(Undecodable)?.iter().map(|buffer| {
            let from = usize::try_from(buffer.offset()).map_err(|_| Undecodable)?;
            let length = usize::try_from(buffer.length()).map_err(|_| Undecodable)?;
            let to = from.checked_add(length).ok_or(Undecodable)?;
            body.get(from..to).ok_or(Undecodable)
        });
        let mut next = || buffers.next().ok_or(Undecodable)?;
        self.rows = rows;
        let Self {
            places,
            zstd,
            zeros,
            columns,
            offsets,
            texts,
            ..
        } = self;
        columns
            .iter_mut()
            .chain([&mut *offsets, &mut *texts])
            .for_each(Column::clear);
        let Ok(places) = places else {
            return Ok(Some(rows));
        };
        let mut reading = Reading {
            zstd,
            zeros,
            is_compressed: compression.is_some(),
        };
        for place in places {
            let node = nodes.next().ok_or(Undecodable)?;
            match *place {
                Place::Fixed { at, width } => {
                    let (_validity, values) = (next()?, next()?);
                    let length = rows.checked_mul(width).ok_or(Undecodable)?;
                    let column = columns.get_mut(at).ok_or(Undecodable)?;
                    reading.read(values, Some(length), column)?;
                }
                Place::Text => {
                    let (_validity, its_offsets, its_texts) = (next()?, next()?, next()?);
                    let length = rows.checked_add(1).and_then(|count| count.checked_mul(4));
                    reading.read(its_offsets, length, offsets)?;
                    reading.read(its_texts, None, texts)?;
                }
                Place::Unknown { buffers } => {
                    for _ in 0..buffers {
                        next()?;
                    }
                    continue;
                }
            }
            // No column of ours holds nulls.
            if node.null_count() != 0 {
                return Err(Undecodable);
            }
        }
        Ok(Some(rows))
    }

    /// The columns of the batch that was decoded last.
    ///
    /// # Errors
    /// The name of a column that has another type than this version writes.
    pub fn columns(&self) -> Result<Columns<'_>, &'static str> {
        self.places.as_ref().map_err(|name| *name)?;
        let addresses = |name| {
            let column = format::fields_read()
                .iter()
                .position(|field| field.name() == name);
            column
                .and_then(|at| self.columns.get(at))
                .map_or(&[][..], Column::address_blocks)
        };
        Ok(Columns {
            count: self.rows,
            numbers: NumbersRead::new(&self.columns),
            local_addr: addresses("local_addr"),
            remote_addr: addresses("remote_addr"),
            offsets: self.offsets.values(),
            texts: self.texts.bytes(),
        })
    }
}

/// One address column of a block.
type Addresses = [[u8; ADDRESS_BYTES]; BLOCK];

/// The columns of one batch.
#[derive(Debug)]
pub struct Columns<'a> {
    /// Rows.
    pub count: usize,
    numbers: NumbersRead<'a>,
    local_addr: &'a [Addresses],
    remote_addr: &'a [Addresses],
    offsets: &'a [i32],
    texts: &'a [u8],
}

/// [`BLOCK`] neighbouring rows, the last of a batch fewer. A column that is missing holds zeros.
#[derive(Debug)]
pub struct Block<'a> {
    /// The number of its first row in the batch.
    pub first: usize,
    /// How many rows there are.
    pub count: usize,
    /// Their numbers.
    pub numbers: BlockNumbers<'a>,
    /// Their addresses.
    pub local_addr: &'a Addresses,
    /// The same.
    pub remote_addr: &'a Addresses,
}

impl<'a> Columns<'a> {
    /// The block that begins with row `first`, a multiple of [`BLOCK`].
    #[must_use]
    pub fn block(&self, first: usize) -> Block<'a> {
        let number = first / BLOCK;
        let addresses = |column: &'a [Addresses]| column.get(number).unwrap_or(&[[0; ADDRESS_BYTES]; BLOCK]);
        Block {
            first,
            count: (self.count - first).min(BLOCK),
            numbers: self.numbers.block(number),
            local_addr: addresses(self.local_addr),
            remote_addr: addresses(self.remote_addr),
        }
    }

    /// The text of a row; empty where it has none.
    #[must_use]
    pub fn text(&self, at: usize) -> &'a [u8] {
        let offset = |at: usize| {
            self.offsets
                .get(at)
                .and_then(|offset| usize::try_from(*offset).ok())
        };
        match (offset(at), offset(at + 1)) {
            (Some(from), Some(to)) => self.texts.get(from..to).unwrap_or_default(),
            (_, None) | (None, _) => &[],
        }
    }
}

/// Finds the schema's columns; the name of one whose type is not ours.
fn places(schema: &Schema) -> Result<Vec<Place>, &'static str> {
    let ours = format::fields_read();
    schema
        .fields()
        .iter()
        .map(|field| {
            let Some(at) = ours.iter().position(|our| our.name() == field.name()) else {
                let buffers = buffers(field.data_type()).ok_or("a column of an unknown layout")?;
                return Ok(Place::Unknown { buffers });
            };
            let our = &ours[at];
            if our.data_type() != field.data_type() {
                return Err(our.name().as_str());
            }
            Ok(match our.data_type() {
                DataType::FixedSizeBinary(_) => Place::Fixed {
                    at,
                    width: ADDRESS_BYTES,
                },
                other => other
                    .primitive_width()
                    .map_or(Place::Text, |width| Place::Fixed { at, width }),
            })
        })
        .collect()
}

/// How many buffers a column has (Arrow, "Buffer Listing for Each Layout"), where it has no columns within.
fn buffers(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::Binary | DataType::Utf8 | DataType::LargeBinary | DataType::LargeUtf8 => Some(3),
        DataType::Boolean | DataType::FixedSizeBinary(_) => Some(2),
        DataType::Null => Some(0),
        other => other.primitive_width().map(|_| 2),
    }
}

struct Reading<'a> {
    zstd: &'a mut Decompressor<'static>,
    zeros: &'a mut Vec<(usize, Vec<u8>)>,
    is_compressed: bool,
}

impl Reading<'_> {
    /// Fills `column`, which is empty, with what `buffer` holds: `length` bytes, where that is known. Leaves it empty
    /// where all of them are zeros.
    fn read(&mut self, buffer: &[u8], length: Option<usize>, column: &mut Column) -> Result<(), Undecodable> {
        let (said, bytes) = match (self.is_compressed, buffer.split_first_chunk()) {
            // Arrow, "Compression": the length before compression, -1 where it was left out; nothing for nothing.
            (true, Some((said, bytes))) => (i64::from_le_bytes(*said), bytes),
            (true, None) if buffer.is_empty() => return Ok(()),
            (true, None) => return Err(Undecodable),
            (false, _) => (-1, buffer),
        };
        if said == -1 {
            let bytes = match length {
                Some(length) => bytes.get(..length).ok_or(Undecodable)?,
                None => bytes,
            };
            column.room(bytes.len()).copy_from_slice(bytes);
            return Ok(());
        }
        let said = usize::try_from(said).map_err(|_| Undecodable)?;
        // Writers may pad a buffer to 64 bytes.
        if length.map_or(said > frame::LONGEST_TEXTS, |length| {
            said < length || said - length > 64
        }) {
            return Err(Undecodable);
        }
        let is_short = bytes.len() < ZEROS_BYTES;
        if is_short && self.zeros.iter().any(|(of, known)| *of == said && known == bytes) {
            return Ok(());
        }
        match self.zstd.decompress_to_buffer(bytes, column.room(said)) {
            Ok(count) if count == said => {}
            Ok(_) | Err(_) => {
                column.clear();
                return Err(Undecodable);
            }
        }
        column.bytes = length.unwrap_or(said);
        if is_short && length.is_some() && column.bytes().iter().all(|byte| *byte == 0) {
            column.clear();
            if self.zeros.len() == ZEROS_KNOWN {
                self.zeros.remove(0);
            }
            self.zeros.push((said, bytes.to_vec()));
        }
        Ok(())
    }
}
