//! Prometheus's protocol buffers (`io/prometheus/client/metrics.proto` of client_model): what of them is written here.
//! Histograms have both forms, so that a Prometheus without native histograms keeps the classic one.

use crate::metrics::{
    Family, Kind, Sample, Value,
    distribution::{BOUNDS, Distribution, Native, SCHEMA, ZERO_THRESHOLD},
    seconds,
};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    /// [`COUNTER`] and so on; absent it would be a counter's.
    #[prost(int32, optional, tag = "3")]
    pub(super) kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metrics: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    pub(super) unit: Option<String>,
}

const COUNTER: i32 = 0;
const GAUGE: i32 = 1;
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// A gauge or counter.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Number {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(super) count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) buckets: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub(super) deltas: Vec<i64>,
}

/// A bucket of the classic form.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub(super) cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
}

/// Consecutive buckets of the native form.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BucketSpan {
    /// Buckets between the end of the span before, or bucket 0, and its first.
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

pub(super) fn write(families: &[Family]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in families {
        // A vector takes any length.
        let _ = message(family).encode_length_delimited(&mut bytes);
    }
    bytes
}

fn message(family: &Family) -> MetricFamily {
    let what = family.what;
    let (kind, suffix) = match what.kind {
        Kind::Counter => (COUNTER, "_total"),
        Kind::Gauge => (GAUGE, ""),
        Kind::Histogram => (HISTOGRAM, ""),
    };
    MetricFamily {
        name: format!("{}{suffix}", what.name),
        help: what.help.to_owned(),
        kind: Some(kind),
        metrics: family
            .samples
            .iter()
            .map(|sample| metric(family, sample))
            .collect(),
        unit: what.unit.map(|unit| unit.name().to_owned()),
    }
}

fn metric(family: &Family, sample: &Sample) -> Metric {
    let labels = family.what.labels.iter().zip(&sample.labels);
    let mut metric = Metric {
        labels: labels
            .map(|(name, value)| LabelPair {
                name: (*name).to_owned(),
                value: value.to_string(),
            })
            .collect(),
        ..Metric::default()
    };
    let number = match &sample.value {
        Value::Integer(count) => as_double(*count),
        Value::Real(value) => *value,
        Value::Distribution(distribution) => {
            metric.histogram = Some(histogram(distribution));
            return metric;
        }
    };
    let number = Some(Number { value: Some(number) });
    match family.what.kind {
        Kind::Counter => metric.counter = number,
        Kind::Gauge | Kind::Histogram => metric.gauge = number,
    }
    metric
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has doubles for all numbers"
)]
fn as_double(count: u64) -> f64 {
    count as f64
}

fn histogram(distribution: &Distribution) -> Histogram {
    let bounds = BOUNDS.into_iter().zip(distribution.cumulative());
    let native = distribution.native();
    let mut spans = spans(&native);
    if spans.is_empty() {
        // Without any span it would be a classic histogram.
        spans.push(BucketSpan {
            offset: Some(0),
            length: Some(0),
        });
    }
    Histogram {
        count: Some(distribution.count()),
        sum: Some(distribution.sum()),
        buckets: bounds
            .map(|(bound, count)| Bucket {
                cumulative_count: Some(count),
                upper_bound: Some(seconds(bound)),
            })
            .collect(),
        schema: Some(SCHEMA),
        zero_threshold: Some(ZERO_THRESHOLD),
        zero_count: Some(native.zero),
        spans,
        deltas: deltas(&native),
    }
}

/// Runs of buckets that follow each other.
fn spans(native: &Native) -> Vec<BucketSpan> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next = 0;
    for (index, _) in &native.buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length = span.length.map(|length| length + 1),
            _ => spans.push(BucketSpan {
                offset: Some(index - next),
                length: Some(1),
            }),
        }
        next = index + 1;
    }
    spans
}

/// Each count less the one before.
fn deltas(native: &Native) -> Vec<i64> {
    let mut before = 0;
    let counts = native.buckets.iter().map(|(_, count)| count.cast_signed());
    counts
        .map(|count| {
            let delta = count - before;
            before = count;
            delta
        })
        .collect()
}
