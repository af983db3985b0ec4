//! Requests as the protocol's own definitions read them.

use super::{Encoder, Record, Rejected, rejected};
use crate::{
    connection::lifetime::{Lifetime, Role},
    event::{Age, ConnectionId, Nanos, PathStats, TcpState, fixture::endpoints},
    metrics::{
        Family, Label,
        catalogue::{self, CONNECTS, CPU, POD_SOCKETS, RETRANS_SEGS, SOCKETS, STATE_DURATION, TRANSITIONS},
        distribution::Distribution,
    },
    stats::{
        bins::Bins,
        measure::{Kind, Measure},
    },
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        },
    },
    common::v1::any_value::Value as Any,
    logs::v1::SeverityNumber,
    metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point},
};
use prost::Message as _;
use std::collections::BTreeMap;

const BEGAN: u64 = 1_000;

fn read(encoder: &mut Encoder, families: &[Family], at: u64) -> Vec<Metric> {
    let request =
        ExportMetricsServiceRequest::decode(&*encoder.metrics(families, at)).expect("it is a request");
    let [resource] = &request.resource_metrics[..] else {
        panic!("there is one resource");
    };
    let attributes = &resource.resource.as_ref().expect("it has attributes").attributes;
    assert_eq!(attributes[0].key, "host.name");
    let [scope] = &resource.scope_metrics[..] else {
        panic!("there is one scope");
    };
    assert_eq!(scope.scope.as_ref().expect("it has a name").name, "tcptrace");
    scope.metrics.clone()
}

fn encoder() -> Encoder {
    Encoder::new(&[("host.name".to_owned(), "web-1".to_owned())], BEGAN)
}

fn labels<const N: usize>(values: [&'static str; N]) -> [Label; N] {
    values.map(Label::from)
}

/// Attributes and start of each point of a metric.
fn points(metric: &Metric) -> Vec<(BTreeMap<String, String>, u64)> {
    let of = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], start| {
        let attributes = attributes.iter().map(|attribute| {
            let value = match attribute.value.as_ref().and_then(|value| value.value.clone()) {
                Some(Any::StringValue(text)) => text,
                Some(Any::IntValue(number)) => format!("{number} (int)"),
                other => panic!("{other:?}"),
            };
            (attribute.key.clone(), value)
        });
        (attributes.collect(), start)
    };
    match metric.data.as_ref().expect("it has data") {
        Data::Gauge(gauge) => gauge
            .data_points
            .iter()
            .map(|p| of(&p.attributes, p.start_time_unix_nano))
            .collect(),
        Data::Sum(sum) => sum
            .data_points
            .iter()
            .map(|p| of(&p.attributes, p.start_time_unix_nano))
            .collect(),
        Data::ExponentialHistogram(all) => all
            .data_points
            .iter()
            .map(|p| of(&p.attributes, p.start_time_unix_nano))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sockets_have_the_name_and_the_states_of_the_semantic_conventions() {
    let mut sockets = Family::new(&SOCKETS);
    for state in TcpState::ALL {
        sockets.add([state.name().into()], 7);
    }
    let metrics = read(&mut encoder(), &[sockets], 2_000);
    let metric = &metrics[0];
    assert_eq!(
        (metric.name.as_str(), metric.unit.as_str()),
        ("system.network.connection.count", "{connection}")
    );
    let Some(Data::Sum(sum)) = &metric.data else {
        panic!("it is an up-down counter");
    };
    assert!(!sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
    let mut states: Vec<String> = points(metric)
        .into_iter()
        .map(|(mut attributes, start)| {
            assert_eq!(start, BEGAN);
            assert_eq!(attributes.remove("network.transport").as_deref(), Some("tcp"));
            attributes
                .remove("network.connection.state")
                .expect("it has a state")
        })
        .collect();
    states.sort_unstable();
    let expected = [
        "close_wait",
        "closed",
        "closing",
        "established",
        "fin_wait_1",
        "fin_wait_2",
        "last_ack",
        "listen",
        "syn_received",
        "syn_sent",
        "time_wait",
    ];
    assert_eq!(states, expected);
}

#[test]
fn names_keep_no_unit_and_attributes_are_those_of_the_conventions() {
    let mut connects = Family::new(&CONNECTS);
    connects.add(labels(["443", "refused"]), 3);
    connects.add(labels(["other", "refused"]), 1);
    let mut transitions = Family::new(&TRANSITIONS);
    transitions.add(labels(["SYN_RECV", "FIN_WAIT1"]), 1);
    let cpu = Family::single(&CPU, 1.5);
    let metrics = read(&mut encoder(), &[connects, transitions, cpu], 2_000);
    let named: Vec<(&str, &str)> = metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.unit.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            ("tcptrace.connects", ""),
            ("tcptrace.transitions", ""),
            ("tcptrace.cpu", "s")
        ]
    );
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        points(&metrics[0])[0].0,
        of(&[("server.port", "443 (int)"), ("tcptrace.outcome", "refused")])
    );
    assert_eq!(
        points(&metrics[0])[1].0,
        of(&[("server.port", "other"), ("tcptrace.outcome", "refused")])
    );
    assert_eq!(
        points(&metrics[1])[0].0,
        of(&[("tcptrace.from", "syn_received"), ("tcptrace.to", "fin_wait_1")])
    );
}

#[test]
fn every_family_has_a_name_of_its_own() {
    let mut names = std::collections::HashSet::new();
    for family in catalogue::ALL {
        let (name, _) = super::names::metric(family);
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}

#[test]
fn a_pod_without_a_name_has_its_uid_alone() {
    let mut pods = Family::new(&POD_SOCKETS);
    pods.add(labels(["", "0123", "0123", "LISTEN"]), 1);
    pods.add(labels(["prod", "shop-1", "4567", "LISTEN"]), 1);
    let metrics = read(&mut encoder(), &[pods], 2_000);
    let keys: Vec<Vec<String>> = points(&metrics[0])
        .into_iter()
        .map(|(all, _)| all.into_keys().collect())
        .collect();
    assert_eq!(keys[0], ["k8s.pod.uid", "network.connection.state"]);
    assert_eq!(
        keys[1],
        [
            "k8s.namespace.name",
            "k8s.pod.name",
            "k8s.pod.uid",
            "network.connection.state"
        ]
    );
}

#[test]
fn a_histogram_has_the_buckets_of_its_durations() {
    let measure = Measure::Dwell(TcpState::Established);
    let mut bins = Bins::default();
    // 3 in (1, 2^(1/8)], one in (2^(32/8), 2^(33/8)].
    for span in [0, 1_050_000_000, 1_050_000_000, 1_050_000_000, 17_000_000_000] {
        bins.record(measure, Kind::Finished, Nanos(span));
    }
    let mut family = Family::new(&STATE_DURATION);
    let distribution = Distribution::of(bins.buckets(measure, Kind::Finished));
    family.add(
        labels(["ESTABLISHED"]),
        crate::metrics::Value::Distribution(distribution),
    );
    let metrics = read(&mut encoder(), &[family], 2_000);
    assert_eq!(
        (metrics[0].name.as_str(), metrics[0].unit.as_str()),
        ("tcptrace.state_duration", "s")
    );
    let Some(Data::ExponentialHistogram(histogram)) = &metrics[0].data else {
        panic!("it is an exponential histogram");
    };
    assert_eq!(
        histogram.aggregation_temporality(),
        AggregationTemporality::Cumulative
    );
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.zero_count, point.scale), (5, 1, 3));
    let positive = point.positive.as_ref().expect("there are buckets");
    // Bucket i is (2^(i/8), 2^((i+1)/8)].
    assert_eq!(positive.offset, 0);
    assert_eq!(positive.bucket_counts.len(), 33);
    assert_eq!((positive.bucket_counts[0], positive.bucket_counts[32]), (3, 1));
    assert_eq!(
        positive.bucket_counts.iter().sum::<u64>() + point.zero_count,
        point.count
    );
    let sum = point.sum.expect("it has a sum");
    assert!((sum - 20.15).abs() < 0.2, "{sum}");
}

#[test]
fn a_counter_that_begins_anew_has_a_later_start() {
    let mut encoder = encoder();
    let of = |values: &[(&'static str, u64)]| {
        let mut family = Family::new(&TRANSITIONS);
        for (from, count) in values {
            family.add(labels([*from, "CLOSE"]), *count);
        }
        family
    };
    let mut starts = |values: &[(&'static str, u64)], at| -> Vec<u64> {
        let metrics = read(&mut encoder, &[of(values)], at);
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("it is a counter");
        };
        assert!(sum.is_monotonic);
        let counts: Vec<u64> = sum
            .data_points
            .iter()
            .map(|point| match point.value {
                Some(number_data_point::Value::AsInt(count)) => count.unsigned_abs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            counts,
            values.iter().map(|(_, count)| *count).collect::<Vec<u64>>()
        );
        points(&metrics[0]).into_iter().map(|(_, start)| start).collect()
    };
    assert_eq!(starts(&[("CLOSING", 5), ("LAST_ACK", 5)], 2_000), [BEGAN, BEGAN]);
    // One is less than before, one is new, one is away.
    assert_eq!(
        starts(&[("CLOSING", 7), ("LAST_ACK", 1), ("LISTEN", 1)], 3_000),
        [BEGAN, 2_000, 2_000]
    );
    assert_eq!(starts(&[("LAST_ACK", 1), ("LISTEN", 2)], 4_000), [2_000, 2_000]);
    assert_eq!(starts(&[("CLOSING", 9)], 5_000), [4_000]);
}

#[test]
fn a_connection_that_ended_is_a_log_record() {
    let lifetime = Lifetime {
        id: ConnectionId::first(9),
        endpoints: endpoints("10.0.0.1:80", "10.0.0.2:40000"),
        netns: 1,
        role: Role::Server,
        ended: Nanos(7),
        total: Age::Exact(Nanos(7)),
        spans: Default::default(),
        sent: None,
        received: None,
        reason: None,
        reset_reason: None,
        path: PathStats::default(),
        owner: None,
        is_kernel_socket: false,
    };
    let record = Record::of_lifetime(&lifetime, "{\"role\":\"server\"}\n", 2_000, 3_000);
    let request = ExportLogsServiceRequest::decode(&*encoder().logs(vec![record])).expect("it is a request");
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    let [record] = &records[..] else {
        panic!("there is one");
    };
    assert_eq!(
        (record.time_unix_nano, record.observed_time_unix_nano),
        (2_000, 3_000)
    );
    assert_eq!(record.severity_number(), SeverityNumber::Info);
    assert_eq!(record.event_name, "tcptrace.connection.end");
    let body = record.body.clone().and_then(|body| body.value);
    assert_eq!(body, Some(Any::StringValue("{\"role\":\"server\"}".to_owned())));
    let attributes = record.attributes.iter().map(|attribute| {
        let value = attribute.value.clone().and_then(|value| value.value);
        (attribute.key.as_str(), value.expect("it has a value"))
    });
    let text = |text: &str| Any::StringValue(text.to_owned());
    let expected = [
        ("network.transport", text("tcp")),
        ("network.type", text("ipv4")),
        ("network.local.address", text("10.0.0.1")),
        ("network.local.port", Any::IntValue(80)),
        ("network.peer.address", text("10.0.0.2")),
        ("network.peer.port", Any::IntValue(40_000)),
    ];
    assert_eq!(attributes.collect::<Vec<_>>(), expected);
}

#[test]
fn a_response_says_what_was_rejected() {
    let response = |partial| {
        ExportMetricsServiceResponse {
            partial_success: partial,
        }
        .encode_to_vec()
    };
    assert_eq!(rejected(&response(None)), Ok(None));
    assert_eq!(
        rejected(&response(Some(ExportMetricsPartialSuccess::default()))),
        Ok(None)
    );
    let partial = ExportMetricsPartialSuccess {
        rejected_data_points: 3,
        error_message: "too old".to_owned(),
    };
    let found = Rejected {
        count: 3,
        reason: "too old".to_owned(),
    };
    assert_eq!(rejected(&response(Some(partial))), Ok(Some(found)));
    assert!(rejected(b"<html>").is_err());
}

#[test]
fn when_the_kernel_began_to_count_is_not_known() {
    let mut family = Family::new(&RETRANS_SEGS);
    family.add(labels(["4026531840"]), 7);
    let metrics = read(&mut encoder(), &[family], 2_000);
    let starts: Vec<u64> = points(&metrics[0]).into_iter().map(|(_, start)| start).collect();
    assert_eq!(starts, [0]);
}
