//! Exported rows as Parquet with zstd. The schema stands in the file; docs/recording.md describes its columns.

use super::export::ExportRow;
use crate::{
    event::{EndReason, TcpState},
    owner::{container::Runtime, policy::Evidence},
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
    // What DuckDB and pandas compute with; `mono_ns` has the nanoseconds.
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let known = |name: &str, kind: DataType| Field::new(name, kind, false);
    let maybe = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        known("host", DataType::Utf8),
        known("time", micros),
        known("mono_ns", DataType::Int64),
        known("cookie", DataType::UInt64),
        known("incarnation", DataType::UInt32),
        known("family", DataType::Utf8),
        known("local_addr", DataType::Utf8),
        known("local_port", DataType::UInt16),
        known("remote_addr", DataType::Utf8),
        known("remote_port", DataType::UInt16),
        known("netns", DataType::UInt32),
        known("protocol", DataType::UInt16),
        known("old", DataType::Utf8),
        maybe("new", DataType::Utf8),
        maybe("dwell_ns", DataType::Int64),
        known("dwell_exact", DataType::Boolean),
        maybe("reason", DataType::Utf8),
        known("syn_cookie", DataType::Boolean),
        known("kernel", DataType::Boolean),
        maybe("pid", DataType::UInt32),
        maybe("start_ns", DataType::Int64),
        maybe("comm", DataType::Utf8),
        maybe("cgroup", DataType::UInt64),
        maybe("cgroup_path", DataType::Utf8),
        maybe("runtime", DataType::Utf8),
        maybe("container", DataType::Utf8),
        maybe("pod", DataType::Utf8),
        maybe("unit", DataType::Utf8),
        maybe("evidence", DataType::Utf8),
        maybe("since_ns", DataType::Int64),
    ]))
});

/// The table's columns.
#[must_use]
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

#[derive(Default)]
struct Columns {
    rows: usize,
    host: StringBuilder,
    time: TimestampMicrosecondBuilder,
    mono_ns: Int64Builder,
    cookie: UInt64Builder,
    incarnation: UInt32Builder,
    family: StringBuilder,
    local_addr: StringBuilder,
    local_port: UInt16Builder,
    remote_addr: StringBuilder,
    remote_port: UInt16Builder,
    netns: UInt32Builder,
    protocol: UInt16Builder,
    old: StringBuilder,
    new: StringBuilder,
    dwell_ns: Int64Builder,
    dwell_exact: BooleanBuilder,
    reason: StringBuilder,
    syn_cookie: BooleanBuilder,
    kernel: BooleanBuilder,
    pid: UInt32Builder,
    start_ns: Int64Builder,
    comm: StringBuilder,
    cgroup: UInt64Builder,
    cgroup_path: StringBuilder,
    runtime: StringBuilder,
    container: StringBuilder,
    pod: StringBuilder,
    unit: StringBuilder,
    evidence: StringBuilder,
    since_ns: Int64Builder,
}

impl Columns {
    fn push(&mut self, row: &ExportRow<'_>) {
        self.rows += 1;
        self.host.append_value(row.host);
        self.time.append_value(signed(row.time / 1_000));
        self.mono_ns.append_value(signed(row.mono_ns));
        self.cookie.append_value(row.cookie);
        self.incarnation.append_value(row.incarnation);
        self.family.append_value(row.family.name());
        self.local_addr.append_value(row.local_addr.to_string());
        self.local_port.append_value(row.local_port);
        self.remote_addr.append_value(row.remote_addr.to_string());
        self.remote_port.append_value(row.remote_port);
        self.netns.append_value(row.netns);
        self.protocol.append_value(row.protocol);
        self.old.append_value(row.old.name());
        self.new.append_option(row.new.map(TcpState::name));
        self.dwell_ns.append_option(row.dwell_ns.map(signed));
        self.dwell_exact.append_value(row.dwell_exact);
        self.reason.append_option(row.reason.map(EndReason::name));
        self.syn_cookie.append_value(row.syn_cookie);
        self.kernel.append_value(row.kernel);
        self.pid.append_option(row.pid);
        self.start_ns.append_option(row.start_ns.map(signed));
        self.comm.append_option(row.comm.as_deref());
        self.cgroup.append_option(row.cgroup);
        self.cgroup_path.append_option(row.cgroup_path);
        self.runtime.append_option(row.runtime.map(Runtime::name));
        self.container.append_option(row.container);
        self.pod.append_option(row.pod);
        self.unit.append_option(row.unit);
        self.evidence.append_option(row.evidence.map(Evidence::name));
        self.since_ns.append_option(row.since_ns.map(signed));
    }

    fn take(&mut self) -> Result<RecordBatch, ParquetError> {
        self.rows = 0;
        let time = std::mem::take(&mut self.time).with_timezone("UTC").finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.host.finish()),
            Arc::new(time),
            Arc::new(self.mono_ns.finish()),
            Arc::new(self.cookie.finish()),
            Arc::new(self.incarnation.finish()),
            Arc::new(self.family.finish()),
            Arc::new(self.local_addr.finish()),
            Arc::new(self.local_port.finish()),
            Arc::new(self.remote_addr.finish()),
            Arc::new(self.remote_port.finish()),
            Arc::new(self.netns.finish()),
            Arc::new(self.protocol.finish()),
            Arc::new(self.old.finish()),
            Arc::new(self.new.finish()),
            Arc::new(self.dwell_ns.finish()),
            Arc::new(self.dwell_exact.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.syn_cookie.finish()),
            Arc::new(self.kernel.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.start_ns.finish()),
            Arc::new(self.comm.finish()),
            Arc::new(self.cgroup.finish()),
            Arc::new(self.cgroup_path.finish()),
            Arc::new(self.runtime.finish()),
            Arc::new(self.container.finish()),
            Arc::new(self.pod.finish()),
            Arc::new(self.unit.finish()),
            Arc::new(self.evidence.finish()),
            Arc::new(self.since_ns.finish()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

/// Times and spans are signed in every tool that subtracts them; none of ours reaches 2^63, the year 2262.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// A file that is being written. Without [`Writer::finish`] it is none.
pub struct Writer<W: Write + Send> {
    inner: ArrowWriter<W>,
    columns: Columns,
}

impl<W: Write + Send> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn new(target: W) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        Ok(Self {
            inner: ArrowWriter::try_new(target, schema(), Some(properties))?,
            columns: Columns::default(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn push(&mut self, row: &ExportRow<'_>) -> Result<(), ParquetError> {
        self.columns.push(row);
        if self.columns.rows >= PIECE_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the rest and the file's end.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn finish(&mut self) -> Result<(), ParquetError> {
        self.flush()?;
        self.inner.finish()?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        let batch = self.columns.take()?;
        self.inner.write(&batch)
    }
}
