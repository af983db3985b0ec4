//! Batches that claim more than they hold, or lack a column.

use super::*;
use arrow_ipc::{
    BodyCompressionBuilder, BodyCompressionMethod, CompressionType, FieldNode, MessageBuilder, MessageHeader,
    MetadataVersion, RecordBatchBuilder,
};
use arrow_schema::DataType;
use flatbuffers::FlatBufferBuilder;

/// No batch takes more than the columns of the most rows, and the most texts.
pub(super) const MOST_RESERVED: usize = 48 << 20;

/// The most memory that a batch of these messages takes, with its body where a column was not compressed.
pub(super) fn most_reserved(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut messages = iter::from_fn(|| {
        let Found::Message(length) = frame::find(rest) else {
            return None;
        };
        rest.split_off(..length)
    });
    let schema = try_schema_from_ipc_buffer(messages.next().unwrap()).unwrap();
    let decoder = Decoder::new(&schema).unwrap();
    messages
        .filter_map(|message| decoder.decode(message).ok()?)
        .map(|batch| batch.get_array_memory_size())
        .max()
        .unwrap_or(0)
}

/// A sealed batch that claims these rows and, of each buffer, a length for its bytes.
fn batch_claiming(rows: i64, buffers: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let mut compression = BodyCompressionBuilder::new(&mut builder);
    compression.add_method(BodyCompressionMethod::BUFFER);
    compression.add_codec(CompressionType::ZSTD);
    let compression = compression.finish();
    let mut body = Vec::new();
    let mut places = Vec::new();
    for (size, bytes) in buffers {
        let begin = body.len();
        if !bytes.is_empty() {
            body.extend(size.to_le_bytes());
            body.extend(bytes);
        }
        places.push(arrow_ipc::Buffer::new(
            i64::try_from(begin).unwrap(),
            i64::try_from(body.len() - begin).unwrap(),
        ));
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let places = builder.create_vector(&places);
    let nodes = vec![FieldNode::new(rows, 0); fields().len()];
    let nodes = builder.create_vector(&nodes);
    let mut batch = RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    batch.add_compression(compression);
    let batch = batch.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_header(batch.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    frame::seal(EncodedData {
        ipc_message: builder.finished_data().to_vec(),
        arrow_data: body,
    })
}

/// The buffers of a batch of `rows` rows that are all zeros and as small as zstd makes them, and `texts`.
fn zeros(rows: usize, texts: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let packed = |bytes: &[u8]| {
        let length = i64::try_from(bytes.len()).unwrap();
        (length, zstd::bulk::compress(bytes, 1).unwrap())
    };
    let mut buffers = Vec::new();
    for field in fields() {
        buffers.push((0, Vec::new()));
        match field.data_type() {
            DataType::Binary => {
                buffers.push(packed(&vec![0; (rows + 1) * 4]));
                buffers.push(packed(texts));
            }
            other => buffers.push(packed(&vec![0; rows * other.primitive_width().unwrap_or(16)])),
        }
    }
    buffers
}

/// The damage in a file that has `batch` between two of a live run, of which nothing may be lost.
fn damage_of(batch: Vec<u8>) -> Vec<Damage> {
    let mut live = Live::new(10);
    let entries: Vec<Entry> = (1..=20)
        .map(|ms| Entry::Settled(Nanos::from_millis(1_000 + ms)))
        .collect();
    live.entries.clone_from(&entries);
    let mut messages = live.file(10);
    messages.insert(2, batch);
    let bytes = messages.concat();
    let (read, reader) = read(bytes.clone()).unwrap();
    let settled: Vec<Entry> = read
        .into_iter()
        .filter(|entry| matches!(entry, Entry::Settled(_)))
        .collect();
    assert_eq!(settled, entries);
    assert!(most_reserved(&bytes) <= MOST_RESERVED);
    reader.damage
}

#[test]
fn a_batch_larger_than_any_that_is_written_costs_itself_alone_and_reserves_nothing() {
    let wild = MOST_ROWS + 1;
    for (batch, expected) in [
        (batch_claiming(1 << 36, &zeros(1, &[])), "it claims"),
        (batch_claiming(-1, &zeros(1, &[])), "it claims"),
        // Few bytes for many rows, though the rows are few enough.
        (batch_claiming(50_000, &zeros(50_000, &[])), "it claims"),
        (
            batch_claiming(i64::try_from(wild).unwrap(), &{
                let mut buffers = zeros(wild, &[]);
                buffers.push((-1, vec![0; 1 << 20]));
                buffers
            }),
            "it claims",
        ),
        // A bomb of texts, and one that says that it is small.
        (
            batch_claiming(1, &zeros(1, &vec![0; 32 << 20])),
            "column text does not have one value per row",
        ),
        (
            batch_claiming(1, &{
                let mut buffers = zeros(1, &vec![0; 32 << 20]);
                buffers.last_mut().unwrap().0 = 10;
                buffers
            }),
            "its layout or its compression is invalid",
        ),
        // A bomb where a column has which of its values are null.
        (
            batch_claiming(1, &{
                let mut buffers = zeros(1, &[]);
                buffers[0] = (32 << 20, zstd::bulk::compress(&vec![0; 32 << 20], 1).unwrap());
                buffers
            }),
            "column mono_sec does not have one value per row",
        ),
        // A bomb in a column of numbers.
        (
            batch_claiming(1, &{
                let mut buffers = zeros(1, &[]);
                buffers[1] = (4, zstd::bulk::compress(&vec![0; 32 << 20], 1).unwrap());
                buffers
            }),
            "its layout or its compression is invalid",
        ),
    ] {
        let damage = damage_of(batch);
        assert_eq!(damage.len(), 1, "{damage:?}");
        let text = damage[0].to_string();
        assert!(
            text.contains("damaged or hostile") && text.contains(expected),
            "{text}"
        );
    }
}

#[test]
fn a_batch_without_a_column_is_named_and_never_read_as_zeros() {
    let whole = zeros(1, b"");
    assert_eq!(damage_of(batch_claiming(1, &whole)), []);
    let mut empty = whole.clone();
    empty[3] = (0, Vec::new());
    let mut cut = whole.clone();
    cut.truncate(whole.len() - 1);
    for (buffers, expected) in [
        (empty, Undecodable::Column("mono_nsec")),
        (cut, Undecodable::Column("text")),
    ] {
        let damage = damage_of(batch_claiming(1, &buffers));
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].what, Fault::Undecodable(expected));
    }
}
