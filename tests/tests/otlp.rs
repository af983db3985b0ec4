//! `serve --otlp` against a collector made of the protocol's own definitions, and against a real one: the values of
//! `/metrics` at the same moment, by HTTP and by gRPC, and what happens where the collector takes nothing.

use opentelemetry_proto::tonic::{
    common::v1::any_value,
    metrics::v1::{AggregationTemporality, Metric, metric::Data},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};
use tcptrace_tests::{
    by_name,
    certificates::certify,
    clock::poll_until,
    collector::{self, Collector, Manner},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    rotel,
    serving::Serving,
};

/// Maximum time until something that is due in a second or two has happened.
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let test = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let mut tests = by_name! {
        test =>
            http_pushes_the_values_of_metrics,
            grpc_pushes_the_values_of_metrics,
            counters_and_buckets_grow_from_push_to_push,
            what_is_asked_for_is_in_every_request,
            a_collector_that_is_down_is_reported_once_and_found_again,
            a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not,
            a_collector_that_never_answers_delays_no_scrape,
            a_host_name_is_resolved_without_privileges,
            a_collector_is_trusted_by_its_authority_alone,
            connections_that_end_are_log_records,
            log_records_wait_for_a_collector_that_is_busy;
    };
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Collector);
    tests.push(LiveTest::new(
        "a_real_collector_takes_both_protocols",
        &requirements,
        || {
            Netns::run(a_real_collector_takes_both_protocols);
        },
    ));
    live::run(tests, Parallelism::One, || Ok(()))
}

/// Serves, and pushes every second there.
fn push_to(url: &str, arguments: &[&str]) -> Serving {
    Serving::start(&[&["--otlp", url, "--otlp-interval", "1s"], arguments].concat())
}

/// Connections that begin and end, `count` of them.
fn connect(count: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    for _ in 0..count {
        let address = listener.local_addr().expect("it listens");
        let mut client = TcpStream::connect(address).expect("it is accepted");
        let (mut server, _) = listener.accept().expect("it connects");
        client.write_all(b"x").expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut read = Vec::new();
        server.read_to_end(&mut read).expect("the client has ended");
    }
}

/// The name that a Prometheus gives to a metric of ours that it receives by OTLP.
fn prometheus_name(metric: &Metric) -> String {
    if metric.name == "system.network.connection.count" {
        return "tcptrace_sockets".to_owned();
    }
    let unit = match metric.unit.as_str() {
        "" => "",
        "s" => "_seconds",
        "By" => "_bytes",
        "1" => "_ratio",
        other => panic!("{}: unknown unit {other}", metric.name),
    };
    let total = match &metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => "_total",
        _ => "",
    };
    format!("{}{unit}{total}", metric.name.replace('.', "_"))
}

/// The values of each family in order, whatever their labels are.
fn values_of_request(metrics: &[Metric]) -> BTreeMap<String, Vec<f64>> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for metric in metrics {
        let name = prometheus_name(metric);
        if let Some(Data::ExponentialHistogram(histogram)) = &metric.data {
            for point in &histogram.data_points {
                #[expect(clippy::cast_precision_loss, reason = "tests count less")]
                values
                    .entry(format!("{name}_count"))
                    .or_default()
                    .push(point.count as f64);
                values
                    .entry(format!("{name}_sum"))
                    .or_default()
                    .push(point.sum.expect("it has a sum"));
            }
        } else {
            let points = collector::points(metric);
            values
                .entry(name)
                .or_default()
                .extend(points.into_iter().map(|point| point.value));
        }
    }
    for values in values.values_mut() {
        values.sort_by(f64::total_cmp);
    }
    values
}

fn values_of_scrape(text: &str) -> BTreeMap<String, Vec<f64>> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a series has a value");
        let value: f64 = value.parse().expect("a value is a number");
        let name = series.split('{').next().expect("there is a first part");
        if !name.ends_with("_bucket") {
            values.entry(name.to_owned()).or_default().push(value);
        }
    }
    for values in values.values_mut() {
        values.sort_by(f64::total_cmp);
    }
    values
}

/// Differs from moment to moment.
const CPU: &str = "tcptrace_cpu_seconds_total";

fn pushes_the_values_of_metrics(scheme: &str, path: &str) {
    let collector = Collector::start(Manner::Takes);
    let serving = push_to(&format!("{scheme}://{}", collector.address), &[]);
    connect(20);
    // Both take metrics that are not older than a second: after a push they are the same, on a machine that is not held up.
    let same = poll_until(TIMEOUT, || {
        let received = collector.next();
        let pushed = values_of_request(&received.metrics);
        let scraped = values_of_scrape(&serving.text());
        (pushed.get(CPU) == scraped.get(CPU)).then_some((received, pushed, scraped))
    });
    let (received, pushed, scraped) = same.expect("a push and a scrape are of one moment");
    assert_eq!(received.path, path);
    assert!(pushed.len() > 30, "{:?}", pushed.keys());
    for (name, values) in &scraped {
        assert_eq!(pushed.get(name), Some(values), "{name}");
    }
    assert_eq!(
        pushed.keys().collect::<Vec<_>>(),
        scraped.keys().collect::<Vec<_>>()
    );
    serving.stop();
}

fn http_pushes_the_values_of_metrics(_: Netns) {
    pushes_the_values_of_metrics("http", "/v1/metrics");
}

fn grpc_pushes_the_values_of_metrics(_: Netns) {
    let method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    pushes_the_values_of_metrics("grpc", method);
}

fn counters_and_buckets_grow_from_push_to_push(_: Netns) {
    let collector = Collector::start(Manner::Takes);
    let serving = push_to(&format!("http://{}", collector.address), &[]);
    let key = |point: &collector::Point| point.attributes.clone();
    let transitions = |received: &collector::Received| -> BTreeMap<_, _> {
        // It is there once there was any.
        let metrics = received
            .metrics
            .iter()
            .filter(|metric| metric.name == "tcptrace.transitions");
        metrics
            .flat_map(collector::points)
            .map(|point| (key(&point), point))
            .collect()
    };
    let mut before = transitions(&collector.next());
    for _ in 0..4 {
        connect(10);
        let received = collector.next();
        let now = transitions(&received);
        for (attributes, earlier) in &before {
            let later = &now[attributes];
            assert!(
                later.value >= earlier.value && later.start == earlier.start,
                "{earlier:?} {later:?}"
            );
        }
        before = now;
        let Some(Data::ExponentialHistogram(histogram)) = &received.metric("tcptrace.state_duration").data
        else {
            panic!("it is an exponential histogram");
        };
        assert_eq!(
            histogram.aggregation_temporality(),
            AggregationTemporality::Cumulative
        );
        for point in &histogram.data_points {
            let buckets = point.positive.as_ref().expect("it has buckets");
            assert_eq!(
                buckets.bucket_counts.iter().sum::<u64>() + point.zero_count,
                point.count
            );
        }
    }
    let established = [("tcptrace.from", "syn_sent"), ("tcptrace.to", "established")];
    let established = established
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    assert!(before[&established].value >= 30.0, "{before:?}");
    serving.stop();
}

fn what_is_asked_for_is_in_every_request(_: Netns) {
    let collector = Collector::start(Manner::TakesPart);
    let url = format!("http://{}/api/v1/otlp/", collector.address);
    let serving = push_to(&url, &["--otlp-header", "x-scope-orgid=shop"]);
    let received = collector.next();
    assert_eq!(received.path, "/api/v1/otlp/v1/metrics");
    let header = |name: &str| {
        let found = received.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(header("x-scope-orgid").as_deref(), Some("shop"));
    assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host has a name");
    assert_eq!(received.resource["host.name"], host.trim());
    assert_eq!(received.resource["service.name"], "tcptrace");
    let rejected = poll_until(TIMEOUT, || {
        let series = serving.series();
        (series.count("tcptrace_otlp_rejected_items_total{signal=\"metrics\"}") >= 14).then_some(series)
    });
    let series = rejected.expect("rejected points are counted");
    assert_eq!(
        series.count("tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"failure\"}"),
        0
    );
    let messages = serving.stop();
    assert_eq!(
        messages.matches("rejects 7 of the metrics: too many").count(),
        1,
        "{messages}"
    );
}

fn a_collector_that_is_down_is_reported_once_and_found_again(_: Netns) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let serving = push_to(&format!("grpc://{address}"), &[]);
    let failed = poll_until(TIMEOUT, || {
        (serving
            .series()
            .count("tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"failure\"}")
            >= 3)
            .then_some(())
    });
    failed.expect("failures are counted");
    let collector = Collector::on(
        TcpListener::bind(address).expect("it is free again"),
        Manner::Takes,
    );
    assert!(!collector.next().metrics.is_empty());
    // The next one comes after what became of this one was noted.
    let _ = collector.next();
    let messages = serving.stop();
    assert_eq!(messages.matches("cannot be pushed").count(), 1, "{messages}");
    assert_eq!(messages.matches("are taken by").count(), 1, "{messages}");
}

fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(_: Netns) {
    for scheme in ["http", "grpc"] {
        let collector = Collector::start(Manner::IsBusy);
        let url = format!("{scheme}://{}", collector.address);
        // What is tried again is tried before the interval is over.
        let serving = Serving::start(&["--otlp", &url, "--otlp-interval", "1h"]);
        for _ in 0..2 {
            let _ = collector.next();
        }
        collector.set(Manner::Refuses);
        let _ = collector.next();
        let exports = "tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"failure\"}";
        let noted = poll_until(TIMEOUT, || (serving.series().count(exports) >= 3).then_some(()));
        noted.expect("the refusal is noted");
        // Longer than the pause before another try.
        let quiet = poll_until(Duration::from_secs(9), || (collector.drain() > 0).then_some(()));
        assert_eq!(quiet, None, "{scheme}");
        serving.stop();
    }
}

fn a_collector_that_never_answers_delays_no_scrape(_: Netns) {
    let collector = Collector::start(Manner::IsSilent);
    let serving = push_to(&format!("http://{}", collector.address), &[]);
    let _ = collector.next();
    let exports = "tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"failure\"}";
    let began = std::time::Instant::now();
    assert_eq!(serving.series().count(exports), 0);
    assert!(began.elapsed() < Duration::from_secs(5));
    let timed_out = poll_until(TIMEOUT, || (serving.series().count(exports) >= 1).then_some(()));
    timed_out.expect("it is given up");
    let messages = serving.stop();
    assert!(messages.contains("no response within 10 s"), "{messages}");
}

fn a_host_name_is_resolved_without_privileges(_: Netns) {
    let collector = Collector::start(Manner::Takes);
    let serving = push_to(&format!("http://localhost:{}", collector.address.port()), &[]);
    let _ = collector.next();
    serving.stop();
}

/// An authority, `ca.pem`, and a certificate that it has signed, `collector.pem`.
fn certify_collector(folder: &Path) {
    certify(folder, "ca", &[]);
    let signed = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    certify(folder, "collector", &signed);
}

fn a_collector_is_trusted_by_its_authority_alone(_: Netns) {
    let folder = tempfile::tempdir().expect("a folder of its own");
    certify_collector(folder.path());
    let other = tempfile::tempdir().expect("a folder of its own");
    certify_collector(other.path());
    let ca = |folder: &Path| folder.join("ca.pem").display().to_string();
    let collector = Collector::with_tls(folder.path());
    for scheme in ["https", "grpcs"] {
        let url = format!("{scheme}://{}", collector.address);
        let serving = push_to(&url, &["--otlp-ca", &ca(folder.path())]);
        assert!(!collector.next().metrics.is_empty());
        serving.stop();
        let _ = collector.drain();
        let serving = push_to(&url, &["--otlp-ca", &ca(other.path())]);
        let failed = poll_until(TIMEOUT, || {
            let exports = "tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"failure\"}";
            (serving.series().count(exports) >= 1).then_some(())
        });
        failed.expect("it is not trusted");
        let messages = serving.stop();
        assert!(messages.contains("invalid peer certificate"), "{messages}");
        assert_eq!(collector.drain(), 0);
    }
}

/// Bodies and ports of log records until there are as many.
fn logged(collector: &Collector, count: usize) -> Vec<(Value, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        for record in collector.next_logs() {
            let Some(any_value::Value::StringValue(body)) = record.body.clone().and_then(|body| body.value)
            else {
                panic!("a body is text");
            };
            assert_eq!(record.event_name, "tcptrace.connection.end");
            assert!(record.time_unix_nano > 0 && record.observed_time_unix_nano >= record.time_unix_nano);
            let attributes = collector::attributes(&record.attributes);
            let body = serde_json::from_str(&body).expect("a body is JSON");
            found.push((body, attributes["network.local.port"].clone()));
        }
    }
    found
}

fn connections_that_end_are_log_records(netns: Netns) {
    for scheme in ["http", "grpc"] {
        let collector = Collector::start(Manner::Takes);
        let inode = netns.inode.to_string();
        let url = format!("{scheme}://{}", collector.address);
        let arguments = [
            "--otlp",
            &url,
            "--otlp-interval",
            "1h",
            "--otlp-logs",
            "lifetimes",
        ];
        let serving = Serving::start(&[&arguments[..], &["--netns", &inode]].concat());
        connect(3);
        // The servers' ends, since those of the clients stay in TIME_WAIT.
        let records = logged(&collector, 3);
        for (body, port) in &records {
            assert_eq!(body["local"]["port"].to_string(), *port);
            assert!(
                body["lifetime_ns"].as_u64().is_some_and(|span| span > 0),
                "{body}"
            );
            assert_eq!(body["netns"].to_string(), inode, "{body}");
        }
        serving.stop();
    }
}

fn log_records_wait_for_a_collector_that_is_busy(netns: Netns) {
    let collector = Collector::start(Manner::IsBusy);
    let inode = netns.inode.to_string();
    let url = format!("http://{}", collector.address);
    let arguments = [
        "--otlp",
        &url,
        "--otlp-interval",
        "1h",
        "--otlp-logs",
        "lifetimes",
        "--netns",
        &inode,
    ];
    let serving = Serving::start(&arguments);
    connect(3);
    let first = collector.next_logs();
    collector.set(Manner::Takes);
    assert_eq!(collector.next_logs(), first);
    let failed = "tcptrace_otlp_exports_total{signal=\"logs\",outcome=\"failure\"}";
    let series = serving.series();
    assert!(series.count(failed) >= 1 && series.count("tcptrace_otlp_dropped_log_records_total") == 0);
    serving.stop();
}

fn a_real_collector_takes_both_protocols(_: Netns) {
    for scheme in ["http", "grpc"] {
        let collector = rotel::Rotel::start();
        let port = if scheme == "http" {
            rotel::HTTP
        } else {
            rotel::GRPC
        };
        let serving = push_to(&format!("{scheme}://127.0.0.1:{port}"), &[]);
        connect(10);
        let exports = "tcptrace_otlp_exports_total{signal=\"metrics\",outcome=\"success\"}";
        let taken = poll_until(TIMEOUT, || (serving.series().count(exports) >= 2).then_some(()));
        taken.unwrap_or_else(|| panic!("{scheme}: nothing is taken: {}", collector.log()));
        let messages = serving.stop();
        assert!(!messages.contains("cannot be pushed"), "{messages}");
        let log = poll_until(TIMEOUT, || {
            Some(collector.log()).filter(|log| log.contains("Name: tcptrace.state_duration"))
        });
        let log = log.unwrap_or_else(|| panic!("{scheme}: {}", collector.log()));
        for text in [
            "Name: system.network.connection.count",
            "network.connection.state: Str(fin_wait_2)",
            "DataType: ExponentialHistogram",
            "AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE",
        ] {
            assert!(log.contains(text), "{scheme}: {text}");
        }
    }
}
