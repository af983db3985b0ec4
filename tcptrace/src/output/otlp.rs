//! Metrics and log records as OTLP: requests of the protocol's buffers, and what its responses say. Knows no connection and no clock.

mod logs;
mod messages;
mod names;
mod starts;
#[cfg(test)]
mod tests;

pub(crate) use logs::Record;

use crate::{
    event::TcpState,
    metrics::{
        Description, Family, Kind, Sample, Value,
        catalogue::SOCKETS,
        distribution::{Distribution, SCHEMA, ZERO_THRESHOLD},
    },
};
use messages::{
    AnyKind, AnyValue, Buckets, CUMULATIVE, Data, ExponentialHistogram, Gauge, HistogramPoint, KeyValue,
    Metric, MetricsRequest, Number, NumberPoint, Resource, ResourceMetrics, Scope, ScopeMetrics, Sum,
};
use prost::Message as _;
use starts::Starts;

/// Writes requests for one session.
#[derive(Debug)]
pub(crate) struct Encoder {
    resource: Resource,
    starts: Starts,
}

impl Encoder {
    /// For what these attributes describe, which began at a wall time.
    pub(crate) fn new(resource: &[(String, String)], began_wall_ns: u64) -> Self {
        Self {
            resource: Resource {
                attributes: resource
                    .iter()
                    .map(|(key, value)| text(key, value.clone()))
                    .collect(),
            },
            starts: Starts::new(began_wall_ns),
        }
    }

    /// The families of a moment, as an `ExportMetricsServiceRequest`. All that accumulates is cumulative.
    pub(crate) fn metrics(&mut self, families: &[Family], wall_ns: u64) -> Vec<u8> {
        let metrics = families
            .iter()
            .map(|family| self.metric(family, wall_ns))
            .collect();
        self.starts.finish(wall_ns);
        let request = MetricsRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                }],
            }],
        };
        request.encode_to_vec()
    }

    fn metric(&mut self, family: &Family, time: u64) -> Metric {
        let what = family.what;
        let (name, unit) = names::metric(what);
        let data = match what.kind {
            Kind::Histogram => Data::ExponentialHistogram(ExponentialHistogram {
                points: family
                    .samples
                    .iter()
                    .filter_map(|sample| self.histogram(what, sample, time))
                    .collect(),
                temporality: CUMULATIVE,
            }),
            Kind::Counter => Data::Sum(Sum {
                points: self.numbers(family, time),
                temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            // The only one that the semantic conventions have, as an up-down counter.
            Kind::Gauge if what.name == SOCKETS.name => Data::Sum(Sum {
                points: self.numbers(family, time),
                temporality: CUMULATIVE,
                is_monotonic: false,
            }),
            Kind::Gauge => Data::Gauge(Gauge {
                points: self.numbers(family, time),
            }),
        };
        Metric {
            name,
            description: what.help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
        }
    }

    fn numbers(&mut self, family: &Family, time: u64) -> Vec<NumberPoint> {
        let what = family.what;
        let points = family.samples.iter().filter_map(|sample| {
            let value = match sample.value {
                Value::Integer(count) => Number::Integer(i64::try_from(count).unwrap_or(i64::MAX)),
                Value::Real(value) => Number::Real(value),
                Value::Distribution(_) => return None,
            };
            let start = match what.kind {
                Kind::Counter => self.starts.of(what.name, sample, time),
                Kind::Gauge if what.name == SOCKETS.name => self.starts.began(),
                // The time of a gauge is that of its value alone.
                Kind::Gauge | Kind::Histogram => 0,
            };
            Some(NumberPoint {
                start,
                time,
                attributes: attributes(what, sample),
                value: Some(value),
            })
        });
        points.collect()
    }

    fn histogram(&mut self, what: &Description, sample: &Sample, time: u64) -> Option<HistogramPoint> {
        let Value::Distribution(distribution) = &sample.value else {
            return None;
        };
        let (zero_count, positive) = buckets(distribution);
        Some(HistogramPoint {
            attributes: attributes(what, sample),
            start: self.starts.of(what.name, sample, time),
            time,
            count: distribution.count(),
            sum: Some(distribution.sum()),
            scale: SCHEMA,
            zero_count,
            positive: Some(positive),
            zero_threshold: ZERO_THRESHOLD,
        })
    }
}

fn scope() -> Scope {
    Scope {
        name: "tcptrace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(AnyKind::Text(value)),
        }),
    }
}

fn number(key: &str, value: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(AnyKind::Integer(value)),
        }),
    }
}

/// The attributes of a sample; an empty label is none, as in Prometheus.
fn attributes(what: &Description, sample: &Sample) -> Vec<KeyValue> {
    let labels = what.labels.iter().zip(&sample.labels);
    let value_of = |label: &str| {
        let at = what.labels.iter().position(|other| *other == label)?;
        sample.labels.get(at)
    };
    let mut attributes: Vec<KeyValue> = labels
        .filter(|(_, value)| !value.is_empty())
        // An id in place of a name has an attribute of its own.
        .filter(|(label, value)| match **label {
            "pod" => value_of("uid") != Some(value),
            "container" => value_of("container_id") != Some(value),
            _ => true,
        })
        .map(|(label, value)| attribute(label, value))
        .collect();
    if what.name == SOCKETS.name {
        attributes.push(text("network.transport", "tcp".to_owned()));
    }
    attributes
}

fn attribute(label: &str, value: &str) -> KeyValue {
    let key = names::attribute(label);
    if names::is_state(label) {
        let state = TcpState::ALL.into_iter().find(|state| state.name() == value);
        return text(
            &key,
            state.map_or_else(|| value.to_owned(), |state| names::state(state).to_owned()),
        );
    }
    match value.parse() {
        // What has no port of its own is under `other`.
        Ok(port) if label == "port" => number(&key, port),
        Ok(_) | Err(_) => text(&key, value.to_owned()),
    }
}

/// The zero bucket, and the others from the first that was hit to the last. OTLP's bucket `i` begins where Prometheus's
/// ends.
fn buckets(distribution: &Distribution) -> (u64, Buckets) {
    let native = distribution.native();
    let offset = native.buckets.first().map_or(0, |(index, _)| index - 1);
    let mut counts = Vec::new();
    for (index, count) in native.buckets {
        let at = usize::try_from(index - 1 - offset).unwrap_or(0);
        counts.resize(at, 0);
        counts.push(count);
    }
    (native.zero, Buckets { offset, counts })
}

/// What a collector did not take of a request that it accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    pub(crate) reason: String,
}

/// Reads an `Export…ServiceResponse`; `None` if everything was taken. Fails if the bytes are no response.
pub(crate) fn rejected(response: &[u8]) -> Result<Option<Rejected>, prost::DecodeError> {
    let response = messages::Response::decode(response)?;
    let rejected = response.partial_success.map(|partial| Rejected {
        count: u64::try_from(partial.rejected).unwrap_or(0),
        reason: partial.error_message,
    });
    Ok(rejected.filter(|rejected| rejected.count > 0 || !rejected.reason.is_empty()))
}
