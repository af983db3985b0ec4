//! The table in a recording: its columns, and the kinds of rows. docs/recording.md describes it. No column holds nulls:
//! unused values are 0 or empty.

use super::message::Storage;
use crate::{
    event::{Event, EventData, SockRef, TcpState},
    socket::scan::ScanMechanism,
};
use arrow_array::{
    RecordBatch,
    cast::AsArray as _,
    types::{ArrowPrimitiveType, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_buffer::{ScalarBuffer, ToByteSlice as _};
use arrow_schema::{DataType, Field, Metadata, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// The version that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 3;

/// Kinds of rows that are no events, column `kind`, of which events have the numbers of [`EventKind`] below. Numbers keep
/// their meaning.
///
/// [`EventKind`]: tcptrace_common::EventKind
pub(crate) mod kind {
    pub(crate) const PROCESS: u8 = 32;
    pub(crate) const CLOCK: u8 = 33;
    pub(crate) const SETTLED: u8 = 34;
    pub(crate) const LOST: u8 = 35;
    pub(crate) const GAP: u8 = 36;
    pub(crate) const STOPPED: u8 = 37;
    pub(crate) const SUMMARY: u8 = 38;
    pub(crate) const NOTE: u8 = 39;
    pub(crate) const BLINDSPOTS: u8 = 40;
    pub(crate) const PLACE: u8 = 41;
    pub(crate) const SNAPSHOT_BEGUN: u8 = 48;
    pub(crate) const COVERED: u8 = 49;
    pub(crate) const ROW: u8 = 50;
    pub(crate) const SNAPSHOT_DONE: u8 = 51;
    pub(crate) const POLL_BEGUN: u8 = 52;
    pub(crate) const POLLED: u8 = 53;
    pub(crate) const NETWORK: u8 = 54;
    pub(crate) const SCAN_BEGUN: u8 = 64;
    pub(crate) const HOLDER: u8 = 65;
    pub(crate) const SCAN_DONE: u8 = 66;
}

/// Bits of the column `flags` in rows of snapshots and scans, in addition to those of [`tcptrace_common::flag`].
pub(crate) mod row_flag {
    pub(crate) const HAS_TIMER: u8 = 1 << 5;
    pub(crate) const HAS_IDLE: u8 = 1 << 6;
    /// Of a scan: the options are known.
    pub(crate) const HAS_OPTIONS: u8 = 1 << 5;
}

/// Columns of one batch while it is filled, and the same read. One list, so that schema, writer and reader agree; the
/// second is of columns that earlier formats had.
macro_rules! columns {
    ([$($name:ident: $kind:ty, $storage:ident;)*] [$($before:ident: $before_kind:ty;)*]) => {
        /// The numbers of one batch that is being filled; a column may be shorter than the batch.
        #[derive(Debug, Default)]
        pub(super) struct Numbers { $(pub(super) $name: Vec<<$kind as ArrowPrimitiveType>::Native>,)* }

        impl Numbers {
            fn fields() -> Vec<Field> {
                vec![$(Field::new(stringify!($name), <$kind>::DATA_TYPE, false),)*]
            }

            /// Hands over the bytes of each column, filled up to `rows`, and empties it.
            pub(super) fn drain<E>(
                &mut self,
                rows: usize,
                mut each: impl FnMut(&[u8], Storage) -> Result<(), E>,
            ) -> Result<(), E> {
                $(
                    self.$name.resize(rows, 0);
                    each(self.$name.to_byte_slice(), Storage::$storage)?;
                    self.$name.clear();
                )*
                Ok(())
            }
        }

        fn fields_before() -> Vec<Field> {
            vec![$(Field::new(stringify!($before), <$before_kind>::DATA_TYPE, false),)*]
        }

        /// The numbers of one batch as they are read; zeros in a column that the file does not have.
        #[derive(Debug)]
        pub(super) struct NumbersRead {
            $(pub(super) $name: ScalarBuffer<<$kind as ArrowPrimitiveType>::Native>,)*
            $(pub(super) $before: ScalarBuffer<<$before_kind as ArrowPrimitiveType>::Native>,)*
        }

        impl NumbersRead {
            /// The columns of a batch, by their names.
            pub(super) fn of(batch: &RecordBatch) -> Self {
                Self {
                    $($name: values::<$kind>(batch, stringify!($name)),)*
                    $($before: values::<$before_kind>(batch, stringify!($before)),)*
                }
            }
        }
    };
}

// Most of the time that reading a recording takes is zstd's, for each pattern that it has put in the place of bytes.
// Nanoseconds and cookies have one in every row, of few bytes; the kinds of rows shrink as much without.
columns! {
    [
        mono_sec: UInt32Type, Patterns;
        mono_nsec: UInt32Type, Plain;
        kind: UInt8Type, Bytes;
        old: UInt8Type, Bytes;
        new: UInt8Type, Bytes;
        detail: UInt8Type, Bytes;
        flags: UInt8Type, Bytes;
        protocol: UInt16Type, Patterns;
        error: UInt32Type, Patterns;
        cookie: UInt64Type, Bytes;
        object: UInt64Type, Patterns;
        local_port: UInt16Type, Bytes;
        remote_port: UInt16Type, Bytes;
        netns: UInt32Type, Patterns;
        process: UInt32Type, Bytes;
        pid: UInt32Type, Bytes;
        listener: UInt64Type, Patterns;
        bytes_acked: UInt64Type, Patterns;
        bytes_received: UInt64Type, Patterns;
        retransmits_total: UInt32Type, Patterns;
        srtt_us: UInt32Type, Patterns;
        reset_reason: UInt16Type, Patterns;
        lost: UInt32Type, Patterns;
        uid: UInt32Type, Patterns;
        unread: UInt32Type, Patterns;
        unsent: UInt32Type, Patterns;
        inode: UInt32Type, Patterns;
        entry_stamp_ms: UInt32Type, Patterns;
        expires_in_ns: Int64Type, Patterns;
        idle_ns: UInt64Type, Patterns;
        fd: UInt32Type, Patterns;
        value: UInt64Type, Patterns;
        cgroup: UInt64Type, Patterns;
    ]
    [
        // Format 1: the time in one number.
        mono_ns: UInt64Type;
    ]
}

/// Nanoseconds in a second: `mono_nsec` is below.
pub(super) const NANOS_A_SECOND: u64 = 1_000_000_000;

fn values<T: ArrowPrimitiveType>(batch: &RecordBatch, column: &str) -> ScalarBuffer<T::Native> {
    batch.column_by_name(column).map_or_else(
        || vec![T::Native::default(); batch.num_rows()].into(),
        |column| column.as_primitive::<T>().values().clone(),
    )
}

/// Bytes of an address: IPv6, IPv4 as v4-mapped.
pub(crate) const ADDRESS_BYTES: usize = 16;

static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let address = || DataType::FixedSizeBinary(16);
    let mut fields = Numbers::fields();
    fields.push(Field::new("local_addr", address(), false));
    fields.push(Field::new("remote_addr", address(), false));
    fields.push(Field::new("text", DataType::Binary, false));
    fields
});

/// The table's columns: the numbers first.
#[must_use]
pub fn fields() -> &'static [Field] {
    &FIELDS
}

/// The columns that this version reads: its own, and those that earlier formats had.
pub(crate) fn fields_read() -> &'static [Field] {
    static READ: LazyLock<Vec<Field>> = LazyLock::new(|| {
        let mut fields = FIELDS.clone();
        fields.extend(fields_before());
        fields
    });
    &READ
}

/// The table's columns, with this metadata.
pub(crate) fn schema(metadata: Metadata) -> SchemaRef {
    Arc::new(Schema::new_with_metadata(FIELDS.clone(), metadata))
}

/// Whether the kernel object's address tells something: it names a sock that has no cookie, and pairs a child's making
/// with its ESTABLISHED, or with a snapshot's row in between. Elsewhere it would cost bytes, and tell who reads the file where the kernel keeps its data.
pub(crate) const fn needs_object(event: &Event) -> bool {
    let SockRef { cookie, .. } = event.sock;
    match event.data {
        EventData::State {
            old: TcpState::SynRecv,
            ..
        }
        | EventData::State {
            new: TcpState::SynRecv,
            ..
        } => true,
        // A request is known by its ends.
        EventData::RequestStart { .. } | EventData::RequestTimer { .. } | EventData::RequestEnd => false,
        _ => cookie == 0,
    }
}

/// The number of how a scan was made, column `detail`.
pub(crate) const fn scan_mechanism_number(mechanism: ScanMechanism) -> u8 {
    match mechanism {
        ScanMechanism::Iterator => 1,
        ScanMechanism::Proc => 2,
    }
}
