//! The table that a recording is: its columns, and what each kind of row is called. docs/recording.md describes it for
//! people. No column holds nulls: 0, or nothing, where a kind of row has no use for it.

use super::{batch::Column, message::Storage};
use crate::{
    decode::SockKind,
    event::{Event, How, SockRef, TcpState, TimerStep, What},
    owner::holders::Way,
};
use arrow_array::types::{ArrowPrimitiveType, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_buffer::ToByteSlice as _;
use arrow_schema::{DataType, Field, Metadata, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// The version that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 2;

/// What a row is, column `kind`. Numbers keep their meaning.
#[expect(missing_docs, reason = "the entries of the same name say it")]
pub mod kind {
    pub const STATE: u8 = 1;
    pub const RESET_RECEIVED: u8 = 2;
    pub const RESET_SENT: u8 = 3;
    pub const TIMEWAIT_START: u8 = 4;
    pub const TIMEWAIT_FULL: u8 = 5;
    pub const TIMEWAIT_SEGMENT: u8 = 6;
    pub const TIMEWAIT_END: u8 = 7;
    pub const TIMEWAIT_TIMER: u8 = 8;
    pub const REQUEST_START: u8 = 9;
    pub const REQUEST_END: u8 = 10;
    pub const REQUEST_TIMER: u8 = 11;
    pub const ACCEPT: u8 = 12;
    pub const RENAMED: u8 = 13;
    pub const PROCESS: u8 = 32;
    pub const CLOCK: u8 = 33;
    pub const SETTLED: u8 = 34;
    pub const LOST: u8 = 35;
    pub const GAP: u8 = 36;
    pub const STOPPED: u8 = 37;
    pub const SUMMARY: u8 = 38;
    pub const NOTE: u8 = 39;
    pub const HIDDEN: u8 = 40;
    pub const PLACE: u8 = 41;
    pub const SNAPSHOT_BEGUN: u8 = 48;
    pub const COVERED: u8 = 49;
    pub const ROW: u8 = 50;
    pub const SNAPSHOT_DONE: u8 = 51;
    pub const LOOK_BEGUN: u8 = 52;
    pub const LOOKED: u8 = 53;
    pub const SCAN_BEGUN: u8 = 64;
    pub const HOLDER: u8 = 65;
    pub const SCAN_DONE: u8 = 66;
}

/// Bits of the column `flags`.
#[expect(missing_docs, reason = "the names are those of the fields they stand for")]
pub mod flag {
    pub const FIN_RECEIVED: u8 = 1;
    pub const ORPHAN: u8 = 2;
    pub const KERNEL_SOCKET: u8 = 4;
    pub const RESET: u8 = 8;
    pub const KERNEL_THREAD: u8 = 16;
    pub const HAS_TIMER: u8 = 32;
    pub const HAS_IDLE: u8 = 64;
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
            ///
            /// # Errors
            /// That of `each`.
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

        /// The numbers of one batch, column by column, in blocks; a column that the file does not have, or that holds
        /// only zeros, is empty.
        #[derive(Debug)]
        pub struct NumbersRead<'a> {
            $($name: &'a [[<$kind as ArrowPrimitiveType>::Native; BLOCK]],)*
            $($before: &'a [[<$before_kind as ArrowPrimitiveType>::Native; BLOCK]],)*
        }

        /// The numbers of one block. What lies beyond the batch's last row is not defined.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "docs/recording.md describes every column")]
        pub struct BlockNumbers<'a> {
            $(pub $name: &'a [<$kind as ArrowPrimitiveType>::Native; BLOCK],)*
            $(pub $before: &'a [<$before_kind as ArrowPrimitiveType>::Native; BLOCK],)*
        }

        impl<'a> NumbersRead<'a> {
            /// The columns in the order of [`fields_read`].
            pub(super) fn new(columns: &'a [Column]) -> Self {
                let mut numbers = columns.iter();
                let mut before = columns.iter().skip(fields().len());
                Self {
                    $($name: numbers.next().map_or(&[], Column::blocks),)*
                    $($before: before.next().map_or(&[], Column::blocks),)*
                }
            }

            /// The rows from `number` times [`BLOCK`] on.
            #[must_use]
            pub fn block(&self, number: usize) -> BlockNumbers<'a> {
                BlockNumbers {
                    $($name: self.$name.get(number).unwrap_or(&[0; BLOCK]),)*
                    $($before: self.$before.get(number).unwrap_or(&[0; BLOCK]),)*
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

/// So many rows are looked at together: the sockets that they are about are fetched from memory at once.
pub const BLOCK: usize = 32;

/// Bytes of an address: IPv6, IPv4 as v4-mapped.
pub const ADDRESS_BYTES: usize = 16;

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
#[must_use]
pub fn fields_read() -> &'static [Field] {
    static READ: LazyLock<Vec<Field>> = LazyLock::new(|| {
        let mut fields = FIELDS.clone();
        fields.extend(fields_before());
        fields
    });
    &READ
}

/// The table's columns, with this metadata.
#[must_use]
pub fn schema(metadata: Metadata) -> SchemaRef {
    Arc::new(Schema::new_with_metadata(FIELDS.clone(), metadata))
}

/// Whether the kernel object's address tells something: it names a sock that has no cookie, and pairs a child's making
/// with its ESTABLISHED, or with a snapshot's row in between. Elsewhere it would cost bytes, and tell who reads the file where the kernel keeps its data.
#[must_use]
pub const fn needs_object(event: &Event) -> bool {
    let SockRef { cookie, .. } = event.sock;
    match event.what {
        What::State {
            old: TcpState::SynRecv,
            ..
        }
        | What::State {
            new: TcpState::SynRecv,
            ..
        } => true,
        // A request is known by its ends.
        What::RequestStart { .. } | What::RequestTimer { .. } | What::RequestEnd => false,
        _ => cookie == 0,
    }
}

/// The number of what happened to a timer, column `detail`.
#[must_use]
pub const fn step_number(step: TimerStep) -> u8 {
    match step {
        TimerStep::Start => 1,
        TimerStep::Cancel => 2,
        TimerStep::Expire => 3,
    }
}

/// The number of how a sock ended, column `detail`.
#[must_use]
pub const fn how_number(how: How) -> u8 {
    match how {
        How::Expired => 1,
        How::Reset => 2,
        How::ReusedBySyn => 3,
        How::AnsweredByReset => 4,
        How::Other => 5,
    }
}

/// The number of a kind of sock, column `detail`.
#[must_use]
pub const fn sock_number(kind: SockKind) -> u8 {
    match kind {
        SockKind::Full => 1,
        SockKind::Timewait => 2,
        SockKind::Request => 3,
    }
}

/// The number of how a scan was made, column `detail`.
#[must_use]
pub const fn way_number(way: Way) -> u8 {
    match way {
        Way::Iterator => 1,
        Way::Proc => 2,
    }
}
