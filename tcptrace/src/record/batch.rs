//! Decodes one file's batches, each into the memory of the one before. Knows the layout of Arrow's messages, and not
//! what rows mean.

use super::{
    bounds::{MOST_ROWS, PADDING, most_text_bytes},
    compatibility::Incompatible,
    format::{self, ADDRESS_BYTES, BLOCK, BlockNumbers, NumbersRead},
    frame,
};
use arrow_buffer::{ArrowNativeType, MutableBuffer};
use arrow_ipc::{CompressionType, root_as_message};
use arrow_schema::{DataType, Field, Schema};
use zstd::bulk::Decompressor;

/// A column of zeros is compressed to fewer bytes than this, whatever its length.
const ZEROS_BYTES: usize = 64;

/// So many forms that columns of zeros take are remembered: one for each width and length.
const ZEROS_KNOWN: usize = 16;

/// Why bytes that fit their checksum are no batch: tcptrace writes none such, so they are damaged or were made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It says that it has more rows than are written, or that as few bytes can hold.
    #[error("it says that {bytes} bytes are {rows} rows")]
    Rows {
        /// Its rows, as it says.
        rows: i64,
        /// The bytes of its body.
        bytes: usize,
    },
    /// It ends before this column.
    #[error("column {0} is missing")]
    Missing(&'static str),
    /// A column is longer or shorter than its rows, or cannot be unpacked.
    #[error("column {0} is not as long as its rows")]
    Length(&'static str),
    /// A column says that values are missing.
    #[error("column {0} holds nulls")]
    Nulls(&'static str),
    /// It is no message of Arrow, or compressed by something else than zstd.
    #[error("it is not laid out as its schema says")]
    Layout,
}

/// What a column of the file is to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Ours, at this place in [`format::fields_read`], and so many bytes a row.
    Fixed { at: usize, width: usize },
    /// Ours, of varying length.
    Text,
    /// One that this version does not know, with so many buffers.
    Unknown { buffers: usize },
}

/// A column of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// What it is called, where it is one of ours.
    name: &'static str,
    layout: Layout,
}

/// Decodes the batches of one schema.
pub struct Decoder {
    places: Vec<Place>,
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
    /// A decoder of batches with these columns.
    ///
    /// # Errors
    /// Where zstd has no memory.
    pub fn new(places: Places) -> std::io::Result<Self> {
        Ok(Self {
            places: places.0,
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
    /// Where it is not laid out as its schema says, or larger than anything that is written. Nothing is reserved for it
    /// then.
    pub fn decode(&mut self, message: &[u8]) -> Result<Option<usize>, Undecodable> {
        let (metadata, body) = frame::split(message).ok_or(Undecodable::Layout)?;
        let message = root_as_message(metadata).map_err(|_| Undecodable::Layout)?;
        let Some(batch) = message.header_as_record_batch() else {
            return Ok(None);
        };
        // A row takes a byte at least: what tells it from others, its time or a socket, is of no pattern.
        let rows = usize::try_from(batch.length())
            .ok()
            .filter(|rows| *rows <= MOST_ROWS.min(body.len()))
            .ok_or(Undecodable::Rows {
                rows: batch.length(),
                bytes: body.len(),
            })?;
        let compression = batch.compression().map(|compression| compression.codec());
        if !matches!(compression, None | Some(CompressionType::ZSTD)) {
            return Err(Undecodable::Layout);
        }
        let mut nodes = batch.nodes().ok_or(Undecodable::Layout)?.iter();
        let mut buffers = batch.buffers().ok_or(Undecodable::Layout)?.iter().map(|buffer| {
            let from = usize::try_from(buffer.offset()).ok()?;
            let length = usize::try_from(buffer.length()).ok()?;
            body.get(from..from.checked_add(length)?)
        });
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
        let mut reading = Reading {
            zstd,
            zeros,
            is_compressed: compression.is_some(),
            most_text: most_text_bytes(body.len()),
        };
        for Place { name, layout } in places {
            let node = nodes.next().ok_or(Undecodable::Missing(name))?;
            let mut next = || buffers.next().flatten().ok_or(Undecodable::Missing(name));
            let is_read = match *layout {
                Layout::Fixed { at, width } => {
                    let (_validity, values) = (next()?, next()?);
                    let column = columns.get_mut(at).ok_or(Undecodable::Missing(name))?;
                    reading.read(values, Some(rows * width), column)
                }
                Layout::Text => {
                    let (_validity, its_offsets, its_texts) = (next()?, next()?, next()?);
                    let length = (rows + 1) * size_of::<i32>();
                    reading
                        .read(its_offsets, Some(length), offsets)
                        .and_then(|()| reading.read(its_texts, None, texts))
                }
                Layout::Unknown { buffers } => {
                    for _ in 0..buffers {
                        next()?;
                    }
                    continue;
                }
            };
            is_read.map_err(|WrongLength| Undecodable::Length(name))?;
            if usize::try_from(node.length()) != Ok(rows) {
                return Err(Undecodable::Length(name));
            }
            // No column of ours holds nulls.
            if node.null_count() != 0 {
                return Err(Undecodable::Nulls(name));
            }
        }
        Ok(Some(rows))
    }

    /// Bytes that are reserved for columns.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        let columns = self.columns.iter().chain([&self.offsets, &self.texts]);
        columns.map(|column| column.memory.capacity()).sum()
    }

    /// The columns of the batch that was decoded last.
    #[must_use]
    pub fn columns(&self) -> Columns<'_> {
        let addresses = |name| {
            let column = format::fields_read()
                .iter()
                .position(|field| field.name() == name);
            column
                .and_then(|at| self.columns.get(at))
                .map_or(&[][..], Column::address_blocks)
        };
        Columns {
            count: self.rows,
            numbers: NumbersRead::new(&self.columns),
            local_addr: addresses("local_addr"),
            remote_addr: addresses("remote_addr"),
            offsets: self.offsets.values(),
            texts: self.texts.bytes(),
        }
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

/// [`BLOCK`] neighbouring rows, the last of a batch fewer. A column that the file's format does not have holds zeros.
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

/// The columns of a file, in their order.
pub struct Places(Vec<Place>);

impl Places {
    /// Finds the columns of a schema, which [`compatibility::judge`](super::compatibility::judge) has found to have
    /// ours.
    ///
    /// # Errors
    /// One that this version does not know, of a layout that it does not know either: where the next column begins is
    /// not known.
    pub fn of(schema: &Schema) -> Result<Self, Incompatible> {
        schema
            .fields()
            .iter()
            .map(|field| place(field))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn place(field: &Field) -> Result<Place, Incompatible> {
    let ours = format::fields_read();
    let Some((at, our)) = ours
        .iter()
        .enumerate()
        .find(|(_, our)| our.name() == field.name())
    else {
        let buffers = buffers(field.data_type()).ok_or_else(|| Incompatible::wrong_column(field.name()))?;
        return Ok(Place {
            name: "of another version",
            layout: Layout::Unknown { buffers },
        });
    };
    let layout = match our.data_type() {
        DataType::FixedSizeBinary(_) => Layout::Fixed {
            at,
            width: ADDRESS_BYTES,
        },
        other => other
            .primitive_width()
            .map_or(Layout::Text, |width| Layout::Fixed { at, width }),
    };
    Ok(Place {
        name: our.name(),
        layout,
    })
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

/// A buffer of another length than it must have, or that zstd does not unpack to what it says.
struct WrongLength;

struct Reading<'a> {
    zstd: &'a mut Decompressor<'static>,
    zeros: &'a mut Vec<(usize, Vec<u8>)>,
    is_compressed: bool,
    /// Bytes that texts may have.
    most_text: usize,
}

impl Reading<'_> {
    /// Fills `column`, which is empty, with what `buffer` holds: `length` bytes, or any number of texts. Leaves it empty
    /// where all of them are zeros.
    fn read(&mut self, buffer: &[u8], length: Option<usize>, column: &mut Column) -> Result<(), WrongLength> {
        let (said, bytes) = match (self.is_compressed, buffer.split_first_chunk()) {
            // Arrow, "Compression": the length before compression, -1 where it was left out; nothing for nothing.
            (true, Some((said, bytes))) => (i64::from_le_bytes(*said), bytes),
            (true, None) if buffer.is_empty() && length.is_none_or(|length| length == 0) => return Ok(()),
            (true, None) => return Err(WrongLength),
            (false, _) => (-1, buffer),
        };
        if said == -1 {
            let bytes = match length {
                Some(length) => bytes.get(..length).ok_or(WrongLength)?,
                None if bytes.len() > self.most_text => return Err(WrongLength),
                None => bytes,
            };
            column.room(bytes.len()).copy_from_slice(bytes);
            return Ok(());
        }
        let said = usize::try_from(said).map_err(|_| WrongLength)?;
        if length.map_or(said > self.most_text, |length| {
            said < length || said - length > PADDING
        }) {
            return Err(WrongLength);
        }
        let is_short = bytes.len() < ZEROS_BYTES;
        if is_short && self.zeros.iter().any(|(of, known)| *of == said && known == bytes) {
            return Ok(());
        }
        match self.zstd.decompress_to_buffer(bytes, column.room(said)) {
            Ok(count) if count == said => {}
            Ok(_) | Err(_) => {
                column.clear();
                return Err(WrongLength);
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
