//! HdrHistogram's log, format 1.3 (tags), as its `HistogramLogWriter` writes it: comments, start time, legend, then
//! a line an interval and tag. Values are nanoseconds, the maximum in the clear milliseconds, as there by default.
//! `source::hlog` reads it back.

use super::Picture;
use crate::{
    event::Nanos,
    source::hlog::{BY, EVICTED, HOST, LOST, REST, START_TIME},
    stats::{
        key::{By, push_escaped},
        measure::{Kind, Measure},
        report::{Report, Who},
        totals,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Serializer as _, V2DeflateSerializer},
};
use jiff::{Timestamp, tz::TimeZone};
use std::fmt::Write as _;

#[derive(Clone, Debug)]
pub(crate) struct Heading<'a> {
    /// `uname -n` of where it was recorded.
    pub(crate) host: &'a str,
    /// What durations are grouped by.
    pub(crate) by: By,
    /// When the run began, nanoseconds since 1970.
    pub(crate) start_wall_ns: u64,
}

/// The lines before the first interval.
pub(crate) fn heading(heading: &Heading<'_>) -> String {
    let Heading {
        host,
        by,
        start_wall_ns,
    } = heading;
    let start_ms = start_wall_ns / 1_000_000;
    let date = Timestamp::from_nanosecond(i128::from(*start_wall_ns))
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC)
        .strftime("%a %b %d %H:%M:%S UTC %Y")
        .to_string();
    format!(
        "#[Written by tcptrace {}: nanoseconds in each TCP state, tagged; without a tag, all states together]\n\
         #[Histogram log format version 1.3]\n\
         {HOST}{host}]\n\
         {BY}{}]\n\
         {START_TIME}{}.{:03} (seconds since epoch), {date}]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        env!("CARGO_PKG_VERSION"),
        by.name(),
        start_ms / 1_000,
        start_ms % 1_000,
    )
}

/// The lines of one interval: all finished dwells without a tag, then tag by tag. Tags name the host where there are
/// several.
pub(crate) fn interval(picture: &Picture<'_>, from: Nanos, length: Nanos) -> String {
    let mut writer = Writer::default();
    let when = format!("{},{}", seconds(from), seconds(length));
    writer.push("", &when, &total(picture.report, picture.measures));
    let groups = &picture.report.groups;
    let names_hosts = groups
        .iter()
        .any(|group| group.who == Who::All && group.host.is_none());
    for group in groups {
        let mut suffix = String::new();
        if let Some(host) = group.host.as_ref().filter(|_| names_hosts) {
            suffix.push('@');
            push_escaped(&mut suffix, host.as_bytes());
        }
        match group.who {
            Who::All => {}
            Who::One(named) => {
                suffix.extend(["/", &named.word()]);
                if let Some(location) = &group.location {
                    suffix.push(':');
                    push_escaped(&mut suffix, location.path.as_bytes());
                }
            }
            Who::Rest => suffix.extend(["/", REST]),
        }
        for measure in picture.measures {
            for kind in Kind::ALL {
                if group.cells.count(*measure, kind) == 0 {
                    continue;
                }
                let kind_word = kind.word().map_or_else(String::new, |word| format!("+{word}"));
                let tag = format!("Tag={}{kind_word}{suffix},", measure.name());
                writer.push(&tag, &when, &group.cells.histogram(*measure, kind));
            }
        }
    }
    writer.text
}

/// The last line: what the run could not see.
pub(crate) fn closing(lost: u64, evicted: u64) -> String {
    format!("{LOST}{lost}{EVICTED}{evicted}]\n")
}

/// The ended dwell times of all connections in all of these states.
pub(crate) fn total(report: &Report, measures: &[Measure]) -> Histogram<u64> {
    let cells = report.everybody();
    let mut sum = totals::empty();
    for measure in measures {
        if let Measure::Dwell(_) = measure {
            for bucket in cells.buckets(*measure, Kind::Finished) {
                sum.saturating_record_n(bucket.lowest.0, bucket.count);
            }
        }
    }
    sum
}

struct Writer {
    text: String,
    serializer: V2DeflateSerializer,
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            text: String::new(),
            serializer: V2DeflateSerializer::new(),
            bytes: Vec::new(),
        }
    }
}

impl Writer {
    fn push(&mut self, tag: &str, when: &str, histogram: &Histogram<u64>) {
        self.bytes.clear();
        self.serializer.serialize(histogram, &mut self.bytes).expect(
            "a histogram of our precision and range fits the format, and memory takes what is written",
        );
        let _ = write!(self.text, "{tag}{when},{},", thousandths(histogram.max() / 1_000));
        STANDARD.encode_string(&self.bytes, &mut self.text);
        self.text.push('\n');
    }
}

/// Seconds with three decimals.
fn seconds(span: Nanos) -> String {
    thousandths(span.0 / 1_000_000)
}

fn thousandths(number: u64) -> String {
    format!("{}.{:03}", number / 1_000, number % 1_000)
}
