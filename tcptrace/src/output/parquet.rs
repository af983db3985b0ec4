//! Exported rows as Parquet with zstd. The schema is in the file; docs/recording.md describes its columns.

use super::{
    export::{COLUMNS, ExportRow, Kind},
    row::Value,
};
use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{
        BooleanBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder, UInt16Builder,
        UInt32Builder, UInt64Builder,
    },
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use std::{
    io::Write,
    sync::{Arc, LazyLock},
};

/// Rows are encoded in pieces of this many.
const PIECE_ROWS: usize = 65_536;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|column| {
        let kind = match column.kind {
            Kind::Text => DataType::Utf8,
            Kind::Flag => DataType::Boolean,
            Kind::U16 => DataType::UInt16,
            Kind::U32 => DataType::UInt32,
            Kind::U64 => DataType::UInt64,
            Kind::Nanos => DataType::Int64,
            // What DuckDB and pandas compute with; `mono_ns` has the nanoseconds.
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        };
        Field::new(column.title, kind, column.is_nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
});

pub(crate) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

enum Values {
    Text(StringBuilder),
    Flag(BooleanBuilder),
    U16(UInt16Builder),
    U32(UInt32Builder),
    U64(UInt64Builder),
    Nanos(Int64Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Values {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Flag => Self::Flag(BooleanBuilder::new()),
            Kind::U16 => Self::U16(UInt16Builder::new()),
            Kind::U32 => Self::U32(UInt32Builder::new()),
            Kind::U64 => Self::U64(UInt64Builder::new()),
            Kind::Nanos => Self::Nanos(Int64Builder::new()),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// A value of another kind counts as unknown, which a column that always has one refuses as a whole.
    fn push(&mut self, value: Value<'_>) {
        let number = match value {
            Value::Number(number) | Value::Time(number) => Some(number),
            Value::Null | Value::Text(_) | Value::Flag(_) | Value::Address(_) => None,
        };
        match self {
            Self::Text(values) => {
                let is_known = value != Value::Null;
                values.append_option(is_known.then(|| value.text()));
            }
            Self::Flag(values) => values.append_option(match value {
                Value::Flag(flag) => Some(flag),
                _ => None,
            }),
            Self::U16(values) => values.append_option(number.and_then(|number| number.try_into().ok())),
            Self::U32(values) => values.append_option(number.and_then(|number| number.try_into().ok())),
            Self::U64(values) => values.append_option(number),
            Self::Nanos(values) => values.append_option(number.map(signed)),
            Self::Time(values) => values.append_option(number.map(|nanos| signed(nanos / 1_000))),
        }
    }

    fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(values) => Arc::new(values.finish()),
            Self::Flag(values) => Arc::new(values.finish()),
            Self::U16(values) => Arc::new(values.finish()),
            Self::U32(values) => Arc::new(values.finish()),
            Self::U64(values) => Arc::new(values.finish()),
            Self::Nanos(values) => Arc::new(values.finish()),
            Self::Time(values) => Arc::new(values.finish()),
        }
    }
}

/// Times and spans are signed in every tool that subtracts them; none reaches 2^63, the year 2262.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// A file that is being written. Without [`Writer::finish`] it is none.
pub(crate) struct Writer<W: Write + Send> {
    inner: ArrowWriter<W>,
    columns: Vec<Values>,
    rows: usize,
}

impl<W: Write + Send> Writer<W> {
    pub(crate) fn new(target: W) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        Ok(Self {
            inner: ArrowWriter::try_new(target, schema(), Some(properties))?,
            columns: COLUMNS.iter().map(|column| Values::new(column.kind)).collect(),
            rows: 0,
        })
    }

    pub(crate) fn push(&mut self, row: &ExportRow<'_>) -> Result<(), ParquetError> {
        for (values, column) in self.columns.iter_mut().zip(&COLUMNS) {
            values.push((column.value)(row));
        }
        self.rows += 1;
        if self.rows >= PIECE_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the rest and the file's end.
    pub(crate) fn finish(&mut self) -> Result<(), ParquetError> {
        self.flush()?;
        self.inner.finish()?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        self.rows = 0;
        let columns = self.columns.iter_mut().map(Values::take).collect();
        self.inner.write(&RecordBatch::try_new(schema(), columns)?)
    }
}
