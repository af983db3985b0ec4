//! The forms of `hist`: a report to text, JSON lines, CSV, HdrHistogram's log and percentile distribution. Files and
//! terminals belong to the caller.

pub(crate) mod bars;
pub mod csv;
pub(crate) mod hgrm;
pub(crate) mod hlog;
pub mod json;
pub mod text;

use crate::{
    event::{Nanos, TcpState},
    stats::{
        measure::Measure,
        report::{Group, Report, Spans, Who},
    },
};

/// What to show of a report.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// The report, sorted.
    pub report: &'a Report,
    /// What to show, in this order.
    pub measures: &'a [Measure],
    /// Time watched; `None` where it is that of several runs.
    pub watched: Option<Nanos>,
    /// Maximum number of groups in text output.
    pub top: usize,
}

/// The measures that a list of states selects: all and the lifetime where it is empty. How handshakes ended follows the
/// state that they were in.
#[must_use]
pub fn measures(states: &[TcpState]) -> Vec<Measure> {
    let mut selected: Vec<Measure> = Measure::all()
        .filter(|measure| match measure {
            Measure::Dwell(state) => states.is_empty() || states.contains(state),
            Measure::Lifetime => states.is_empty(),
            Measure::Handshake(end) => states.is_empty() || states.contains(&end.state()),
        })
        .collect();
    selected.sort_by_key(|measure| match measure {
        Measure::Handshake(end) => (Measure::Dwell(end.state()).index(), true),
        Measure::Dwell(_) | Measure::Lifetime => (measure.index(), false),
    });
    selected
}

impl Picture<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        let is_seen = |group: &Group| {
            self.measures
                .iter()
                .any(|measure| group.spans(*measure).is_some())
        };
        !self.report.groups.iter().any(is_seen)
    }
}

/// The ages at which the survival curve is read off.
pub(crate) const ROUND_AGES: [Nanos; 14] = [
    Nanos(10_000),
    Nanos(100_000),
    Nanos::from_millis(1),
    Nanos::from_millis(10),
    Nanos::from_millis(100),
    Nanos::from_secs(1),
    Nanos::from_secs(5),
    Nanos::from_secs(10),
    Nanos::from_secs(30),
    Nanos::from_secs(60),
    Nanos::from_secs(300),
    Nanos::from_secs(600),
    Nanos::from_secs(3_600),
    Nanos::from_secs(86_400),
];

/// One point of a survival curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Point {
    pub(crate) after_ns: Nanos,
    /// The share that is still there.
    pub(crate) share: f64,
    /// How many were watched for that long.
    pub(crate) at_risk: u64,
}

/// The curve at the round ages for which anything was watched.
pub(crate) fn points(spans: &Spans) -> Vec<Point> {
    ROUND_AGES
        .into_iter()
        .map_while(|after_ns| {
            Some(Point {
                after_ns,
                share: spans.curve.share_after(after_ns)?,
                at_risk: spans.watched.at_risk(after_ns),
            })
        })
        .collect()
}

pub(crate) const fn group_word(who: Who) -> &'static str {
    match who {
        Who::All => "all",
        Who::One(_) => "key",
        Who::Rest => "rest",
    }
}

#[cfg(test)]
pub(crate) mod examples {
    //! Reports for the snapshot tests of every form.

    use super::*;
    use crate::{
        event::{
            ProcessKey,
            fixture::{comm, endpoints},
        },
        owner::container::Location,
        stats::{
            bins::Bins,
            key::{By, Key, NamedKey},
            measure::Kind,
            report::Group,
        },
    };
    use std::sync::Arc;

    pub(crate) const CLOSE_WAIT: Measure = Measure::Dwell(TcpState::CloseWait);

    pub(crate) fn empty() -> Report {
        let mut report = Report::default();
        report.take_total(&Bins::default());
        report
    }

    /// A leak: 62 connections left CLOSE_WAIT soon, 38 stay; some were there before.
    pub(crate) fn leak() -> Bins {
        let mut cells = Bins::default();
        for number in 0..62 {
            cells.record(CLOSE_WAIT, Kind::Finished, Nanos(12_000 + number * 40_000));
        }
        for number in 0..38 {
            cells.record(CLOSE_WAIT, Kind::Open, Nanos::from_millis(60_000 + number * 500));
        }
        for _ in 0..3 {
            cells.record(CLOSE_WAIT, Kind::OpenLowerBound, Nanos::from_secs(80));
        }
        cells.record(CLOSE_WAIT, Kind::LowerBound, Nanos::from_secs(5));
        for number in 0..9 {
            cells.record(
                Measure::Dwell(TcpState::TimeWait),
                Kind::Finished,
                Nanos::from_millis(60_000 + number * 30),
            );
            cells.record(Measure::Lifetime, Kind::Finished, Nanos::from_millis(61_000));
        }
        cells
    }

    pub(crate) fn ordinary() -> Report {
        let mut report = Report::default();
        report.take_total(&leak());
        report
    }

    fn process(pid: u32, name: &str) -> NamedKey {
        NamedKey {
            key: Key::Process(Some(ProcessKey::new(pid, 981_000_000_000))),
            comm: comm(name),
        }
    }

    /// More keys than are shown, two hosts, long names and the longest of everything.
    pub(crate) fn overfull() -> Report {
        let mut report = Report {
            by: By::Process,
            dropped: 7,
            ..Report::default()
        };
        for host in ["web1.example.com", "web2.example.com"] {
            let mut all = Bins::default();
            for number in 0..8_u32 {
                let mut cells = Bins::default();
                for _ in 0..=number {
                    cells.merge(&leak());
                }
                for measure in Measure::all() {
                    cells.record(measure, Kind::Finished, Nanos(u64::MAX));
                    cells.record(measure, Kind::Finished, Nanos(62_945));
                    cells.record(measure, Kind::OpenLowerBound, Nanos(u64::MAX));
                }
                all.merge(&cells);
                report.groups.push(Group {
                    host: Some(host.to_owned()),
                    who: Who::One(process(4_194_300 + number, "leaky-server,\"é")),
                    cells,
                    missed_at_most: 3,
                    location: None,
                });
            }
            for who in [Who::All, Who::Rest] {
                report.groups.push(Group {
                    host: Some(host.to_owned()),
                    who,
                    cells: all.clone(),
                    missed_at_most: 0,
                    location: None,
                });
            }
        }
        report.add_up_hosts();
        report.sort();
        report
    }

    pub(crate) fn by_cgroup() -> Report {
        let mut report = Report {
            by: By::Cgroup,
            ..Report::default()
        };
        report.take_total(&leak());
        for (id, path) in [
            (Some(77), Some("/system.slice/nginx.service")),
            (Some(78), None),
            (None, None),
        ] {
            report.groups.push(Group {
                host: None,
                who: Who::One(NamedKey {
                    key: Key::Cgroup(id),
                    comm: [0; 16],
                }),
                cells: leak(),
                missed_at_most: 0,
                location: path.map(|path| Arc::new(Location::of_path(path.as_bytes()))),
            });
        }
        report.sort();
        report
    }

    pub(crate) fn by_endpoint() -> Report {
        let mut report = Report {
            by: By::Endpoint,
            ..Report::default()
        };
        report.take_total(&leak());
        let endpoints = endpoints("[2001:db8::1]:0", "[2001:db8:1111:2222:3333:4444:5555:6666]:443");
        for key in [
            Key::Client {
                netns: 4_026_531_840,
                endpoints,
            },
            Key::Server {
                netns: 4_026_531_840,
                port: 80,
            },
        ] {
            report.groups.push(Group {
                host: None,
                who: Who::One(NamedKey { key, comm: [0; 16] }),
                cells: leak(),
                missed_at_most: 0,
                location: None,
            });
        }
        report.sort();
        report
    }
}
