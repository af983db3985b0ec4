//! The table that a recording is: its columns, and what each kind of row is called. docs/recording.md describes it for
//! people. No column holds nulls: 0, or nothing, where a kind of row has no use for it.

use super::batch::Column;
use crate::{
    decode::SockKind,
    event::{Event, How, SockRef, TcpState, TimerStep, What},
    owner::holders::Way,
};
use arrow_array::{
    ArrayRef, PrimitiveArray,
    types::{ArrowPrimitiveType, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_schema::{DataType, Field, Metadata, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// The version that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

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

/// Columns of one batch while it is filled, and the same read. One list, so that schema, writer and reader agree.
macro_rules! columns {
    ($($name:ident: $kind:ty),* $(,)?) => {
        /// The numbers of one batch that is being filled; a column may be shorter than the batch.
        #[derive(Debug, Default)]
        pub(super) struct Numbers { $(pub(super) $name: Vec<<$kind as ArrowPrimitiveType>::Native>,)* }

        impl Numbers {
            fn fields() -> Vec<Field> {
                vec![$(Field::new(stringify!($name), <$kind>::DATA_TYPE, false),)*]
            }

            /// Moves the columns out, each filled up to `rows`.
            pub(super) fn take(&mut self, rows: usize) -> Vec<ArrayRef> {
                vec![$({
                    let mut column = std::mem::take(&mut self.$name);
                    column.resize(rows, 0);
                    Arc::new(PrimitiveArray::<$kind>::new(column.into(), None)) as ArrayRef
                },)*]
            }
        }

        /// The numbers of one batch, column by column; a column that the file does not have is empty.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "docs/recording.md describes every column")]
        pub struct NumbersRead<'a> { $(pub $name: &'a [<$kind as ArrowPrimitiveType>::Native],)* }

        impl<'a> NumbersRead<'a> {
            /// The columns in the order of [`fields`].
            pub(super) fn new(columns: &'a [Column]) -> Self {
                let mut columns = columns.iter();
                Self { $($name: columns.next().map_or(&[], Column::values),)* }
            }
        }
    };
}

columns! {
    mono_ns: UInt64Type,
    kind: UInt8Type,
    old: UInt8Type,
    new: UInt8Type,
    detail: UInt8Type,
    flags: UInt8Type,
    protocol: UInt16Type,
    error: UInt32Type,
    cookie: UInt64Type,
    object: UInt64Type,
    local_port: UInt16Type,
    remote_port: UInt16Type,
    netns: UInt32Type,
    process: UInt32Type,
    pid: UInt32Type,
    listener: UInt64Type,
    bytes_acked: UInt64Type,
    bytes_received: UInt64Type,
    lost: UInt32Type,
    uid: UInt32Type,
    unread: UInt32Type,
    unsent: UInt32Type,
    inode: UInt32Type,
    entry_stamp_ms: UInt32Type,
    expires_in_ns: Int64Type,
    idle_ns: UInt64Type,
    fd: UInt32Type,
    value: UInt64Type,
    cgroup: UInt64Type,
}

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
    cookie == 0
        || matches!(
            event.what,
            What::State {
                old: TcpState::SynRecv,
                ..
            } | What::State {
                new: TcpState::SynRecv,
                ..
            }
        )
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
