//! Reads the logs of histograms that `output::hist::hlog` writes, and puts those of several hosts together. Is
//! handed text; says where it is damaged and gives what can be read.

use crate::{
    output::hist::hlog::{BY, EVICTED, HOST, LOST, REST, START_TIME},
    owner::container::Place,
    stats::{
        cells::Cells,
        key::{By, Named, path_of_word, unescaped},
        measure::{Kind, Measure},
        report::{Group, Report, Who},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum as _;
use hashbrown::HashMap;
use hdrhistogram::{Histogram, serialization::Deserializer};
use std::{io::Cursor, sync::Arc};

/// What one log holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// Its host; the name of the log where it does not say.
    pub host: String,
    /// When its run began, milliseconds since 1970, where it says.
    pub started_ms: Option<u64>,
    /// How long after that its last interval ended, milliseconds.
    pub length_ms: u64,
    /// Records that its run could not take.
    pub lost: u64,
    /// Connections that its run gave up.
    pub evicted: u64,
    /// What it tells apart.
    pub by: By,
    /// What it holds, everybody's and each's.
    pub report: Report,
    /// What could not be read: line and problem.
    pub damage: Vec<Damage>,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Damage {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// A log of which nothing is of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It has no histogram that is tagged with a state.
    #[error("holds no histogram with a state's tag, as `tcptrace hist --format hlog` and `watch` write them")]
    NoState,
    /// It tells something else apart.
    #[error("tells {} apart, not {}", .has.name(), .wanted.name())]
    OtherKeys {
        /// What it does.
        has: By,
        /// What was asked for.
        wanted: By,
    },
}

/// Reads a log called `name`, to tell apart what `by` says.
///
/// # Errors
/// Where it has nothing of that.
pub fn read(name: &str, text: &str, by: By) -> Result<Dump, Unusable> {
    let mut dump = Dump {
        host: name.to_owned(),
        started_ms: None,
        length_ms: 0,
        lost: 0,
        evicted: 0,
        by: By::State,
        report: Report {
            by,
            ..Report::default()
        },
        damage: Vec::new(),
    };
    let mut groups: HashMap<(Option<String>, Who), Group> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            read_comment(&mut dump, line);
        } else if !line.starts_with('"') && !line.is_empty() {
            match read_interval(line) {
                Ok(interval) => {
                    dump.length_ms = dump.length_ms.max(interval.end_ms);
                    if let Some(tag) = interval.of {
                        let group = groups
                            .entry((tag.host.clone(), tag.who))
                            .or_insert_with(|| Group {
                                host: tag.host,
                                who: tag.who,
                                cells: Cells::default(),
                                missed_at_most: 0,
                                place: None,
                            });
                        // An interval's tags may be from before the path was known.
                        group.place = group.place.take().or(tag.place);
                        let (measure, kind) = (tag.measure, tag.kind);
                        group.cells.record_all(measure, kind, &interval.histogram);
                    }
                }
                Err(problem) => dump.damage.push(Damage {
                    line: number + 1,
                    problem,
                }),
            }
        }
    }
    if groups.is_empty() {
        return Err(Unusable::NoState);
    }
    if by != By::State && dump.by != by {
        return Err(Unusable::OtherKeys {
            has: dump.by,
            wanted: by,
        });
    }
    // Where hosts are named, what has no name is their sum, which is added up again.
    let names_hosts = groups.keys().any(|(host, _)| host.is_some());
    for mut group in groups.into_values() {
        if (group.who == Who::All || by != By::State) && group.host.is_some() == names_hosts {
            group.host.get_or_insert_with(|| dump.host.clone());
            dump.report.groups.push(group);
        }
    }
    dump.report.sort();
    Ok(dump)
}

/// One report of all dumps, the host with each group, and no sum of all hosts; in whatever order they come, the same. Of several dumps of one
/// run, each of which begins with the run, the longest counts.
#[must_use]
pub fn merge(dumps: &[Dump], by: By) -> Report {
    let mut report = Report {
        by,
        ..Report::default()
    };
    for (number, dump) in dumps.iter().enumerate() {
        let is_superseded = dumps.iter().enumerate().any(|(other_number, other)| {
            dump.started_ms.is_some()
                && (&dump.host, dump.started_ms) == (&other.host, other.started_ms)
                && (other.length_ms, other_number) > (dump.length_ms, number)
        });
        if !is_superseded {
            report.merge(&dump.report);
        }
    }
    report.sort();
    report
}

fn read_comment(dump: &mut Dump, line: &str) {
    let value = |prefix: &str| Some(line.strip_prefix(prefix)?.trim_end_matches(']'));
    if let Some(host) = value(HOST).filter(|host| !host.is_empty()) {
        host.clone_into(&mut dump.host);
    }
    if let Some(by) = value(BY).and_then(|word| By::from_str(word, false).ok()) {
        dump.by = by;
    }
    if let Some(seconds) = value(START_TIME).and_then(|rest| rest.split(' ').next()) {
        dump.started_ms = millis(seconds);
    }
    if let Some((lost, evicted)) = read_closing(line) {
        (dump.lost, dump.evicted) = (lost, evicted);
    }
}

fn read_closing(line: &str) -> Option<(u64, u64)> {
    let (lost, evicted) = line
        .strip_prefix(LOST)?
        .trim_end_matches(']')
        .split_once(EVICTED)?;
    Some((lost.parse().ok()?, evicted.parse().ok()?))
}

struct Interval {
    end_ms: u64,
    /// Whose it is; `None` for a sum of others.
    of: Option<Tag>,
    histogram: Histogram<u64>,
}

fn read_interval(line: &str) -> Result<Interval, String> {
    let (tag, rest) = match line.strip_prefix("Tag=") {
        Some(rest) => {
            let (tag, rest) = rest.split_once(',').ok_or("a tag, and nothing after it")?;
            (Some(tag), rest)
        }
        None => (None, line),
    };
    let fields: Vec<&str> = rest.split(',').collect();
    let [start, length, _max, payload] = fields[..] else {
        return Err(format!("{} fields where an interval has 4", fields.len()));
    };
    let time = |field: &str| millis(field).ok_or_else(|| format!("\"{field}\" is no time in seconds"));
    let end_ms = time(start)?.saturating_add(time(length)?);
    let bytes = STANDARD
        .decode(payload.trim_end())
        .map_err(|error| format!("the histogram is cut off or no base64: {error}"))?;
    let histogram = Deserializer::new()
        .deserialize(&mut Cursor::new(bytes))
        .map_err(|error| format!("no histogram of HdrHistogram: {error}"))?;
    let of = match tag {
        Some(tag) => Some(read_tag(tag).ok_or_else(|| format!("unknown tag \"{tag}\""))?),
        None => None,
    };
    Ok(Interval {
        end_ms,
        of,
        histogram,
    })
}

/// What a histogram is of.
struct Tag {
    /// Where a log of several hosts names it.
    host: Option<String>,
    who: Who,
    measure: Measure,
    kind: Kind,
    /// Where a cgroup's path is named.
    place: Option<Arc<Place>>,
}

/// `STATE`, `STATE+kind`, either followed by `@host`, all of that followed by `/key`.
fn read_tag(tag: &str) -> Option<Tag> {
    let (what, key) = match tag.split_once('/') {
        Some((what, key)) => (what, Some(key)),
        None => (tag, None),
    };
    let (what, host) = match what.split_once('@') {
        Some((what, word)) => (what, Some(String::from_utf8(unescaped(word)?).ok()?)),
        None => (what, None),
    };
    let (name, word) = match what.split_once('+') {
        Some((name, word)) => (name, Some(word)),
        None => (what, None),
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    let who = match key {
        None => Who::All,
        Some(REST) => Who::Rest,
        Some(word) => Who::One(Named::from_word(word)?),
    };
    Some(Tag {
        host,
        who,
        measure: Measure::from_name(name)?,
        kind,
        place: key
            .and_then(path_of_word)
            .map(|path| Arc::new(Place::of_path(&path))),
    })
}

/// Seconds with decimals, in milliseconds.
fn millis(seconds: &str) -> Option<u64> {
    let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let whole: u64 = whole.parse().ok()?;
    if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u64 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Nanos, ProcessKey, TcpState},
        output::hist::{
            Picture, examples,
            hlog::{Heading, closing, heading, interval},
            measures,
        },
        stats::key::Key,
    };
    use proptest::prelude::*;

    fn named(pid: u32) -> Named {
        let mut comm = [0; 16];
        comm[..6].copy_from_slice(b"a b,/%");
        Named {
            key: Key::Process(Some(ProcessKey { pid, start_ns: 7 })),
            comm,
        }
    }

    /// A log of one interval, as a run writes it.
    fn log(host: &str, start_s: u64, length_s: u64, report: &Report) -> String {
        let picture = Picture {
            report,
            measures: &measures(&[]),
            watched: None,
            top: 0,
        };
        [
            heading(&Heading {
                host,
                by: report.by,
                start_wall_ns: start_s * 1_000_000_000,
            }),
            interval(&picture, Nanos(0), Nanos::from_secs(length_s)),
            closing(0, 0),
        ]
        .concat()
    }

    fn report_of(spans: &[(u8, u8, u64)]) -> Report {
        let mut report = Report {
            by: By::Process,
            ..Report::default()
        };
        let mut all = Cells::default();
        let mut groups: HashMap<u32, Cells> = HashMap::new();
        for (measure, kind, span) in spans {
            let what = Measure::all().nth(usize::from(*measure) % Measure::COUNT);
            let what = what.expect("below their number");
            let kind = Kind::ALL[usize::from(*kind) % Kind::COUNT];
            all.record(what, kind, Nanos(*span));
            let its = groups.entry(u32::from(*measure) % 3).or_default();
            its.record(what, kind, Nanos(*span));
        }
        report.take_total(&all);
        for (pid, cells) in groups {
            report.groups.push(Group {
                host: None,
                who: Who::One(named(pid)),
                cells,
                missed_at_most: 0,
                place: None,
            });
        }
        report.sort();
        report
    }

    fn spans() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
        let span = (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        prop::collection::vec((any::<u8>(), any::<u8>(), span), 1..40)
    }

    #[test]
    fn the_path_of_a_cgroup_is_read_with_its_id_from_whichever_interval_has_it() {
        let report = examples::by_cgroup();
        let mut before = report.clone();
        for group in &mut before.groups {
            group.place = None;
        }
        let text = log("web1", 5, 60, &before) + &log("web1", 5, 60, &report);
        let dump = read("x.hlog", &text, By::Cgroup).unwrap();
        let titles: Vec<String> = dump.report.groups.iter().map(Group::title).collect();
        assert!(
            titles.contains(&"cgroup 77 /system.slice/nginx.service".to_owned()),
            "{titles:?}"
        );
        assert!(titles.contains(&"cgroup 78".to_owned()), "{titles:?}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(spans in spans()) {
            let report = report_of(&spans);
            let dump = read("x.hlog", &log("web1", 5, 60, &report), By::Process).unwrap();
            prop_assert_eq!((dump.host.as_str(), dump.started_ms, dump.length_ms), ("web1", Some(5_000), 60_000));
            prop_assert_eq!(dump.damage, []);
            let mut expected = report;
            for group in &mut expected.groups {
                group.host = Some("web1".to_owned());
            }
            prop_assert_eq!(dump.report, expected);
        }

        #[test]
        fn merging_in_any_order_gives_the_same_report(
            parts in prop::collection::vec((0..3_u8, 0..3_u64, 1..4_u64, spans()), 1..7),
            order in any::<prop::sample::Index>(),
        ) {
            let dumps: Vec<Dump> = parts
                .iter()
                .enumerate()
                .map(|(number, (host, start, length, spans))| {
                    // Two dumps of one run that are of the same length are the same dump.
                    let length = length * 10 + number as u64;
                    let text = log(&format!("web{host}"), *start, length, &report_of(spans));
                    read("x.hlog", &text, By::Process).unwrap()
                })
                .collect();
            let merged = merge(&dumps, By::Process);
            let mut turned = dumps.clone();
            turned.rotate_left(order.index(dumps.len()));
            prop_assert_eq!(&merge(&turned, By::Process), &merged);
            turned.reverse();
            prop_assert_eq!(&merge(&turned, By::Process), &merged);
        }

        #[test]
        fn a_log_of_several_hosts_reads_back(a in spans(), b in spans()) {
            let dumps: Vec<Dump> = [("web 1,é@/", &a), ("web2", &b)]
                .iter()
                .map(|(host, spans)| read("x", &log(host, 5, 60, &report_of(spans)), By::Process).unwrap())
                .collect();
            let apart = merge(&dumps, By::Process);
            let mut together = apart.clone();
            together.add_up_hosts();
            together.sort();
            let back = read("x", &log("both", 5, 60, &together), By::Process).unwrap();
            prop_assert_eq!(back.damage, []);
            prop_assert_eq!(back.report, apart);
        }

        #[test]
        fn a_damaged_log_never_panics(
            spans in spans(),
            at in any::<prop::sample::Index>(),
            byte in 32..127_u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = log("web1", 5, 60, &report_of(&spans)).into_bytes();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let text = String::from_utf8_lossy(&bytes);
            let _ = read("x.hlog", &text, By::State);
        }
    }

    #[test]
    fn damage_is_told_by_line_and_the_rest_is_read() {
        let whole = log("web1", 5, 60, &report_of(&[(7, 0, 1_000), (8, 0, 2_000)]));
        let cut = &whole[..whole.find("#[Lost").expect("the last line") - 20];
        let dump = read("x.hlog", cut, By::State).unwrap();
        assert_eq!(dump.damage.len(), 1);
        assert_eq!(dump.damage[0].line, cut.lines().count());
        let measure = Measure::Dwell(TcpState::CloseWait);
        assert_eq!(dump.report.groups[0].cells.count(measure, Kind::Finished), 1);
    }

    #[test]
    fn logs_that_are_of_no_use_say_why() {
        let untagged = "#[StartTime: 1.5 (seconds since epoch)]\n0.127,1.007,2.769,AAAA\n";
        assert_eq!(read("x", untagged, By::State), Err(Unusable::NoState));
        let by_process = log("web1", 5, 60, &report_of(&[(7, 0, 1_000)]));
        assert_eq!(
            read("x", &by_process, By::Cgroup).unwrap_err().to_string(),
            "tells process apart, not cgroup"
        );
    }

    #[test]
    fn the_longest_dump_of_a_run_counts_and_runs_add_up() {
        let report = report_of(&[(7, 0, 1_000)]);
        let longer = report_of(&[(7, 0, 1_000), (7, 0, 2_000)]);
        let dumps: Vec<Dump> = [
            log("web1", 5, 60, &report),
            log("web1", 5, 90, &longer),
            log("web1", 500, 10, &report),
            log("web2", 5, 60, &report),
        ]
        .iter()
        .map(|text| read("x", text, By::State).unwrap())
        .collect();
        let mut merged = merge(&dumps, By::State);
        merged.add_up_hosts();
        merged.sort();
        let measure = Measure::Dwell(TcpState::CloseWait);
        let counts: Vec<(Option<&str>, u64)> = merged
            .groups
            .iter()
            .map(|group| (group.host.as_deref(), group.cells.count(measure, Kind::Finished)))
            .collect();
        assert_eq!(counts, [(None, 4), (Some("web1"), 3), (Some("web2"), 1)]);
    }
}
