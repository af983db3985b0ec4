//! Tests of the forms of exposition.

use super::{
    Exposition,
    protobuf::{BucketSpan, MetricFamily},
};
use crate::{
    event::{Nanos, TcpState},
    metrics::{
        Family, Value,
        catalogue::{CONNECTION_DURATION, CONNECTS, CPU, PROCESS_SOCKETS, RESIDENT},
        distribution::Distribution,
    },
    stats::{
        bins::Bins,
        measure::{Kind, Measure},
    },
};
use prost::Message as _;

fn families() -> Vec<Family> {
    let mut sockets = Family::new(&PROCESS_SOCKETS);
    sockets.add(["a\"b\\c\nd".into(), "LISTEN".into()], 3);
    let mut connects = Family::new(&CONNECTS);
    connects.add(["443".into(), "connected".into()], 7);
    let measure = Measure::Dwell(TcpState::Established);
    let mut bins = Bins::default();
    for millis in [1, 1, 20, 1_000, 61_000, 90_000_000] {
        bins.record(measure, Kind::Finished, Nanos::from_millis(millis));
    }
    let durations = Distribution::of(bins.buckets(measure, Kind::Finished));
    vec![
        sockets,
        connects,
        Family::single(&CONNECTION_DURATION, Value::Distribution(durations)),
        Family::single(&CPU, 1.25),
        Family::single(&RESIDENT, 1 << 20),
    ]
}

fn text(form: Exposition) -> String {
    String::from_utf8(form.write(&families())).expect("it is text")
}

#[test]
fn the_text_format() {
    insta::assert_snapshot!(text(Exposition::Text));
}

#[test]
fn open_metrics() {
    insta::assert_snapshot!(text(Exposition::OpenMetrics));
}

#[test]
fn nothing_is_an_empty_exposition() {
    assert_eq!(Exposition::Text.write(&[]), b"");
    assert_eq!(Exposition::OpenMetrics.write(&[]), b"# EOF\n");
    assert_eq!(Exposition::Protobuf.write(&[]), b"");
}

#[test]
fn native_histograms_have_all_durations() {
    let bytes = Exposition::Protobuf.write(&families());
    let mut rest = bytes.as_slice();
    let mut read = Vec::new();
    while !rest.is_empty() {
        read.push(MetricFamily::decode_length_delimited(&mut rest).expect("it was written so"));
    }
    assert_eq!(read[1].name, "tcptrace_connects_total");
    assert_eq!(read[1].kind, Some(0));
    let histogram = read[2].metrics[0].histogram.clone().expect("it is a histogram");
    assert_eq!(histogram.count, Some(6));
    assert_eq!(histogram.schema, Some(3));
    // Two of 1 ms, and one in each of four others.
    assert_eq!(histogram.deltas, [2, -1, 0, 0, 0]);
    assert_eq!(histogram.spans.len(), 5);
    // 2^-10 s < 1 ms <= 2^(-79/8) s
    assert_eq!(
        histogram.spans[0],
        BucketSpan {
            offset: Some(-79),
            length: Some(1)
        }
    );
    let lasts = histogram.buckets.last().expect("there are bounds");
    assert_eq!(
        (lasts.cumulative_count, lasts.upper_bound),
        (Some(5), Some(86_400.0))
    );
}

#[test]
fn the_form_is_the_one_that_the_client_prefers() {
    // What Prometheus 2.42 sends with native histograms, and without.
    let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                  application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let classic = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (header, form) in [
        (native, Exposition::Protobuf),
        (classic, Exposition::OpenMetrics),
        ("", Exposition::Text),
        ("*/*", Exposition::Text),
        ("text/html, application/json;q=0.9", Exposition::Text),
        (
            "text/plain;version=0.0.4;q=0.3, application/openmetrics-text;q=0.2",
            Exposition::Text,
        ),
        (
            "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
            Exposition::Text,
        ),
        ("application/vnd.google.protobuf;proto=other", Exposition::Text),
        ("APPLICATION/OPENMETRICS-TEXT", Exposition::OpenMetrics),
        (";;,=,q=q;q=x", Exposition::Text),
    ] {
        assert_eq!(Exposition::accepted(header), form, "{header}");
    }
}
