//! Reads the logs of histograms that `output::hist::hlog` writes, and puts those of several hosts together. Says where
//! one is damaged and gives what can be read; keeps no more of it in memory than a host has.

use crate::{
    output::hist::hlog::{BY, EVICTED, HOST, LOST, REST, START_TIME},
    owner::container::Place,
    printable::printable,
    stats::{
        cells::Cells,
        key::{By, Named, path_of_word, unescaped},
        measure::{Kind, Measure},
        report::{Group, Report, Who},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum as _;
use flate2::read::ZlibDecoder;
use hashbrown::HashMap;
use hdrhistogram::{Histogram, serialization::Deserializer};
use std::{
    borrow::Cow,
    io::{self, BufRead, Cursor, Read as _},
    sync::Arc,
};

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
    /// The first lines that could not be read.
    pub damage: Vec<Damage>,
    /// How many could not be read.
    pub damaged_lines: usize,
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
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It tells something else apart.
    #[error("tells {} apart, not {}", .has.name(), .wanted.name())]
    OtherKeys {
        /// What it does.
        has: By,
        /// What was asked for.
        wanted: By,
    },
}

/// The longest line that is read: histograms of ours have a few kilobytes.
const LONGEST_LINE: u64 = 1 << 20;

/// So many lines that could not be read are kept one by one.
const MOST_DAMAGE: usize = 1_000;

/// So many buckets of all groups are kept, half a gigabyte; a host with as many keys as are told apart has two million.
const MOST_BUCKETS: usize = 64 << 20;

/// What a group costs beside its buckets, in buckets.
const GROUP_BUCKETS: usize = 64;

/// Reads a log called `name`, to tell apart what `by` says.
///
/// # Errors
/// Where it has nothing of that, or cannot be read.
pub fn read(name: &str, source: impl BufRead, by: By) -> Result<Dump, Unusable> {
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
        damaged_lines: 0,
    };
    let mut groups: HashMap<(Option<String>, Who), Group> = HashMap::new();
    let mut buckets = 0;
    let mut lines = Lines::new(source);
    while let Some(line) = lines
        .next()
        .map_err(|error| Unusable::Unreadable(error.to_string()))?
    {
        let Line::Text(line) = line else {
            dump.note(lines.number, format!("longer than {LONGEST_LINE} bytes"));
            continue;
        };
        if line.starts_with('#') {
            read_comment(&mut dump, &line);
        } else if !line.starts_with('"') && !line.is_empty() {
            match read_interval(&line) {
                Ok(_) if buckets >= MOST_BUCKETS => {
                    dump.note(lines.number, "more histograms than are kept in memory".to_owned());
                }
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
                        let before = group.cells.len();
                        group.cells.record_all(measure, kind, &interval.histogram);
                        buckets += group.cells.len() - before;
                        buckets += if before == 0 { GROUP_BUCKETS } else { 0 };
                    }
                }
                Err(problem) => dump.note(lines.number, problem),
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

impl Dump {
    fn note(&mut self, line: usize, problem: String) {
        self.damaged_lines += 1;
        if self.damage.len() < MOST_DAMAGE {
            self.damage.push(Damage { line, problem });
        }
    }
}

/// A line of a file, without its end.
enum Line<'a> {
    /// Safe to print.
    Text(Cow<'a, str>),
    /// Longer than any that is written.
    TooLong,
}

/// The lines of a file.
struct Lines<R> {
    source: R,
    /// Of the line that came last, from 1.
    number: usize,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    const fn new(source: R) -> Self {
        Self {
            source,
            number: 0,
            bytes: Vec::new(),
        }
    }

    /// The next line; `None` at the end of the file.
    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let Self {
            source,
            number,
            bytes,
        } = self;
        bytes.clear();
        if source.by_ref().take(LONGEST_LINE).read_until(b'\n', bytes)? == 0 {
            return Ok(None);
        }
        *number += 1;
        if bytes.len() as u64 == LONGEST_LINE && bytes.last() != Some(&b'\n') {
            source.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(Line::Text(printable(line))))
    }
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
    let histogram = read_histogram(&bytes)?;
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

/// HdrHistogram's cookies, of its second version (`AbstractHistogram`), with words of any length.
const PLAIN: u32 = 0x1c84_9313;
const DEFLATED: u32 = 0x1c84_9314;

/// Cookie, length of the counts, offset, digits, lowest and highest value, ratio.
const HEADER_BYTES: usize = 40;

/// The counts of a histogram of three digits are half as long.
const LONGEST_HISTOGRAM: usize = 1 << 20;

/// Digits that are read; ours have two. Each more takes ten times the memory.
const MOST_DIGITS: u32 = 3;

/// More than this many durations in one bucket are nobody's: as many as a [`Cells`] counts.
const MOST_COUNT: u64 = 1 << 45;

/// Reads a histogram, of which nothing is believed that says how much memory it takes.
fn read_histogram(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let damaged = |what: &str| format!("no histogram of HdrHistogram: {what}");
    let mut plain = Vec::new();
    let bytes = match number(bytes, 0) {
        Some(DEFLATED) => {
            let deflated = bytes.get(8..).unwrap_or_default();
            let most = LONGEST_HISTOGRAM as u64 + 1;
            ZlibDecoder::new(deflated)
                .take(most)
                .read_to_end(&mut plain)
                .map_err(|error| damaged(&error.to_string()))?;
            &plain
        }
        Some(_) | None => bytes,
    };
    let (Some(PLAIN), Some(length), Some(digits)) = (number(bytes, 0), number(bytes, 4), number(bytes, 12))
    else {
        return Err(damaged("another format"));
    };
    let counts = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if bytes.len() > LONGEST_HISTOGRAM || usize::try_from(length) != Ok(counts.len()) || digits > MOST_DIGITS
    {
        return Err(damaged("another length or precision than ours have"));
    }
    if !are_counts(counts) {
        return Err(damaged("counts that nothing has counted"));
    }
    Deserializer::new()
        .deserialize(&mut Cursor::new(bytes))
        .map_err(|error| damaged(&error.to_string()))
}

/// Whether these are counts in ZigZag LEB128, runs of zeros as negative numbers, that do not overflow what adds them up.
fn are_counts(mut bytes: &[u8]) -> bool {
    let mut buckets: u64 = 0;
    while !bytes.is_empty() {
        let mut word: u64 = 0;
        for place in 0..9 {
            let Some((byte, rest)) = bytes.split_first() else {
                return false;
            };
            bytes = rest;
            // The ninth byte is a whole one.
            let (bits, goes_on) = if place == 8 {
                (*byte, false)
            } else {
                (byte & 0x7f, *byte >= 0x80)
            };
            word |= u64::from(bits) << (7 * place);
            if !goes_on {
                break;
            }
        }
        let (count, is_run) = (word.div_ceil(2), word % 2 == 1);
        if count > MOST_COUNT {
            return false;
        }
        buckets += if is_run { count } else { 1 };
        if buckets > LONGEST_HISTOGRAM as u64 {
            return false;
        }
    }
    true
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
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
        Some((what, word)) => (what, Some(printable(&unescaped(word)?).into_owned())),
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
    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn read(name: &str, text: &str, by: By) -> Result<Dump, Unusable> {
        super::read(name, text.as_bytes(), by)
    }

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

    /// A line with this histogram.
    fn line(histogram: &[u8]) -> String {
        format!(
            "Tag=CLOSE_WAIT,0.000,1.000,1.000,{}\n",
            STANDARD.encode(histogram)
        )
    }

    /// A histogram that says what it likes.
    fn told(length: u32, digits: u32, counts: &[u8]) -> Vec<u8> {
        let words = [PLAIN, length, 0, digits].map(u32::to_be_bytes).concat();
        let range = [1_u64, u64::MAX >> 1].map(u64::to_be_bytes).concat();
        [&words[..], &range, &1_f64.to_be_bytes(), counts].concat()
    }

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        let deflated = encoder.finish().unwrap();
        let length = u32::try_from(deflated.len()).unwrap();
        [&DEFLATED.to_be_bytes()[..], &length.to_be_bytes(), &deflated].concat()
    }

    #[test]
    fn a_histogram_that_says_more_than_it_has_is_damage_and_reserves_nothing() {
        let whole = line(&told(2, 2, &[2, 2]));
        let most = u32::try_from(64 << 20).unwrap();
        for hostile in [
            told(u32::MAX, 2, &[2, 2]),
            told(2, 5, &[2, 2]),
            told(2, u32::MAX, &[2, 2]),
            deflated(&told(most, 2, &vec![2; 64 << 20])),
            deflated(&told(u32::MAX, 2, &[2, 2])),
            // A run of 2^63 zeros, and a count of 2^62.
            told(9, 2, &[0xff; 9]),
            told(9, 2, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            told(1, 2, &[0x80]),
            told(0, 2, &[])[..39].to_vec(),
        ] {
            let text = format!("{}{whole}", line(&hostile));
            let dump = read("x", &text, By::State).unwrap();
            assert_eq!((dump.damaged_lines, dump.damage[0].line), (1, 1), "{dump:?}");
            let measure = Measure::Dwell(TcpState::CloseWait);
            assert_eq!(dump.report.groups[0].cells.count(measure, Kind::Finished), 2);
        }
    }

    #[test]
    fn a_line_without_an_end_costs_itself_alone() {
        let long = "x".repeat(3 << 20);
        let whole = line(&told(2, 2, &[2, 2]));
        let dump = read("x", &format!("#a\n{long}\n{whole}{long}"), By::State).unwrap();
        let lines: Vec<usize> = dump.damage.iter().map(|damage| damage.line).collect();
        assert_eq!(lines, [2, 4]);
        assert_eq!(dump.report.groups.len(), 1);
    }

    #[test]
    fn texts_of_a_log_are_printable() {
        let whole = line(&told(2, 2, &[2, 2]));
        let hostile = "a\u{1b}]0;b\u{2028}";
        let tagged = whole.replace("CLOSE_WAIT", "CLOSE_WAIT@%1b%e2%80%ae");
        let unknown = whole.replace("CLOSE_WAIT", &format!("NO_{hostile}"));
        let text = format!("{HOST}{hostile}]\n{whole}{tagged}{unknown}");
        let said = format!("{:?}", read("x", &text, By::State).unwrap());
        assert!(!said.contains("\\u{"), "{said}");
        assert_eq!(said.matches("\u{fffd}]0;b\u{fffd}").count(), 2, "{said}");
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
