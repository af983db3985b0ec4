//! Histograms as JSON lines: one per measure of a group. docs/json.md describes the fields.

use super::{Picture, Point, group_word, points};
use crate::{
    connection::handshake::HandshakeEnd,
    event::{Nanos, TcpState},
    output::json::{self, EndJson, LocationJson, line},
    owner::{container::Location, processes::comm_text},
    stats::{
        key::{By, Key, NamedKey},
        measure::Measure,
        report::{Group, Spans, Who, greatest_bound},
    },
};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::net::IpAddr;

/// The fields of a key, by its kind.
#[derive(Serialize)]
#[serde(untagged)]
enum KeyJson<'a> {
    Process {
        pid: Option<u32>,
        start_ns: Option<u64>,
        comm: String,
    },
    Client {
        #[serde(serialize_with = "crate::event::serialize_netns")]
        netns: u32,
        local: AddrJson,
        remote: EndJson,
    },
    Server {
        #[serde(serialize_with = "crate::event::serialize_netns")]
        netns: u32,
        local: PortJson,
    },
    Tuple {
        #[serde(serialize_with = "crate::event::serialize_netns")]
        netns: u32,
        local: EndJson,
        remote: EndJson,
    },
    Cgroup {
        cgroup: Option<u64>,
        #[serde(flatten)]
        location: LocationJson<'a>,
    },
}

#[derive(Serialize)]
struct AddrJson {
    addr: IpAddr,
}

#[derive(Serialize)]
struct PortJson {
    port: u16,
}

#[derive(Serialize)]
struct Brief {
    count: u64,
    p50_ns: Option<u64>,
    max_ns: Option<u64>,
}

#[derive(Serialize)]
struct RowJson<'a> {
    host: Option<&'a str>,
    by: By,
    group: &'static str,
    key: Option<KeyJson<'a>>,
    measure: &'static str,
    state: Option<TcpState>,
    end: Option<HandshakeEnd>,
    count: u64,
    min_ns: Option<u64>,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
    lower_bounds: Brief,
    open: Brief,
    open_lower_bounds: Brief,
    median_survival_ns: Option<Nanos>,
    survival: Vec<Point>,
    buckets: Vec<(u64, u64)>,
    max_missed: u64,
}

/// Every row of the report.
#[must_use]
pub fn rows(picture: &Picture<'_>) -> String {
    let mut text = String::new();
    for group in &picture.report.groups {
        for measure in picture.measures {
            if let Some(spans) = group.spans(*measure) {
                text.push_str(&line(&row(picture.report.by, group, &spans)));
            }
        }
    }
    text
}

fn row<'a>(by: By, group: &'a Group, spans: &Spans) -> RowJson<'a> {
    let finished = &spans.finished;
    let value = |ns: u64| (!finished.is_empty()).then_some(ns);
    let (measure, state, end) = match spans.measure {
        Measure::Dwell(state) => ("dwell", Some(state), None),
        Measure::Lifetime => ("lifetime", None, None),
        Measure::Handshake(end) => ("handshake", Some(end.state()), Some(end)),
    };
    RowJson {
        host: group.host.as_deref(),
        by,
        group: group_word(group.who),
        key: match group.who {
            Who::One(named) => Some(key(&named, group.location.as_deref())),
            Who::All | Who::Rest => None,
        },
        measure,
        state,
        end,
        count: finished.len(),
        min_ns: value(finished.min()),
        p50_ns: value(finished.value_at_quantile(0.5)),
        p90_ns: value(finished.value_at_quantile(0.9)),
        p99_ns: value(finished.value_at_quantile(0.99)),
        p999_ns: value(finished.value_at_quantile(0.999)),
        max_ns: value(finished.max()),
        lower_bounds: bounds(&spans.lower_bounds),
        open: brief(&spans.open, spans.open.max()),
        open_lower_bounds: bounds(&spans.open_lower_bounds),
        median_survival_ns: spans.curve.median(),
        survival: points(spans),
        buckets: finished
            .iter_recorded()
            .map(|step| {
                let lowest = finished.lowest_equivalent(step.value_iterated_to());
                (lowest, step.count_since_last_iteration())
            })
            .collect(),
        max_missed: group.missed_at_most,
    }
}

/// Lower bounds, not more than what was seen.
fn bounds(histogram: &Histogram<u64>) -> Brief {
    let half = histogram.lowest_equivalent(histogram.value_at_quantile(0.5));
    Brief {
        p50_ns: (!histogram.is_empty()).then_some(half),
        ..brief(histogram, greatest_bound(histogram).0)
    }
}

fn brief(histogram: &Histogram<u64>, max_ns: u64) -> Brief {
    let value = |ns: u64| (!histogram.is_empty()).then_some(ns);
    Brief {
        count: histogram.len(),
        p50_ns: value(histogram.value_at_quantile(0.5)),
        max_ns: value(max_ns),
    }
}

fn key<'a>(named: &NamedKey, location: Option<&'a Location>) -> KeyJson<'a> {
    match named.key {
        Key::Process(process) => KeyJson::Process {
            pid: process.map(|key| key.pid),
            start_ns: process.map(|key| key.start_ns),
            comm: comm_text(&named.comm).into_owned(),
        },
        Key::Client { netns, endpoints } => KeyJson::Client {
            netns,
            local: AddrJson {
                addr: endpoints.local(),
            },
            remote: json::endpoints(&endpoints).1,
        },
        Key::Server { netns, port } => KeyJson::Server {
            netns,
            local: PortJson { port },
        },
        Key::Tuple { netns, endpoints } => {
            let (local, remote) = json::endpoints(&endpoints);
            KeyJson::Tuple { netns, local, remote }
        }
        Key::Cgroup(cgroup) => KeyJson::Cgroup {
            cgroup,
            location: json::location(location),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{super::examples, *};
    use crate::stats::report::Report;

    fn written(report: &Report, states: &[TcpState]) -> String {
        rows(&Picture {
            report,
            measures: &super::super::measures(states),
            watched: None,
            top: 0,
        })
    }

    #[test]
    fn every_form_of_row_is_one_line_each() {
        insta::assert_snapshot!(
            [
                written(&examples::empty(), &[]),
                written(&examples::ordinary(), &[]),
                written(&examples::by_endpoint(), &[TcpState::CloseWait]),
                written(&examples::by_cgroup(), &[TcpState::CloseWait]),
                written(&examples::overfull(), &[TcpState::Closing]),
            ]
            .concat()
        );
    }
}
