//! Reads the logs of histograms that `output::hist::hlog` writes, and puts those of several hosts together. Says where
//! one is damaged and gives what can be read; keeps no more of it in memory than a host has.

mod interval;

use crate::{
    event::Nanos,
    printable::printable,
    stats::{
        bins::Bins,
        key::By,
        report::{Group, Report, Who},
    },
};
use clap::ValueEnum as _;
use hashbrown::HashMap;
use interval::{millis, read_interval};
use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _},
};

/// Begins the comment that names the host.
pub(crate) const HOST: &str = "#[Host: ";
/// Prefix of the comment with what durations are grouped by.
pub(crate) const BY: &str = "#[By: ";
/// Prefix of the comment with the start of the run, seconds since 1970.
pub(crate) const START_TIME: &str = "#[StartTime: ";
/// What follows a key's state in its tag.
pub(crate) const REST: &str = "rest";
/// Prefix of the comment with the number of events that the run lost.
pub(crate) const LOST: &str = "#[Lost events: ";
/// What comes before how many connections it gave up.
pub(crate) const EVICTED: &str = ", connections given up: ";

/// What one log holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// The host; the name of the log if that is missing.
    pub host: String,
    /// Start of the run, milliseconds since 1970, if the log has it.
    pub started_ms: Option<u64>,
    /// How long after that its last interval ended, milliseconds.
    pub length_ms: u64,
    /// Records that its run could not take.
    pub lost: u64,
    /// Connections that its run gave up.
    pub evicted: u64,
    /// What it is grouped by.
    pub by: By,
    /// Its histograms, of all connections and per key.
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
    #[error(
        "it has no histogram tagged with a state, as `tcptrace hist --format hlog` and `watch` write them"
    )]
    NoState,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is grouped by something else.
    #[error("it is grouped by {}, not {}", .has.name(), .wanted.name())]
    OtherKeys {
        /// What it does.
        has: By,
        /// What was requested.
        wanted: By,
    },
}

/// Longest line that is read: tcptrace's histograms have a few kilobytes.
const LONGEST_LINE: u64 = 1 << 20;

/// Number of unreadable lines that are kept individually.
const MOST_DAMAGE: usize = 1_000;

/// Maximum number of buckets of all groups, half a gigabyte; a host with the maximum number of keys has two million.
const MOST_BUCKETS: usize = 64 << 20;

/// Memory of a group in addition to its buckets, in buckets.
const GROUP_BUCKETS: usize = 64;

/// Reads the log `name`, grouped by `by`.
///
/// # Errors
/// If it has nothing of that, or cannot be read.
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
                    dump.note(lines.number, "more histograms than fit in memory".to_owned());
                }
                Ok(interval) => {
                    dump.length_ms = dump.length_ms.max(interval.end_ms);
                    if let Some(tag) = interval.of {
                        let group = groups
                            .entry((tag.host.clone(), tag.who))
                            .or_insert_with(|| Group {
                                host: tag.host,
                                who: tag.who,
                                cells: Bins::default(),
                                missed_at_most: 0,
                                location: None,
                            });
                        // An interval's tags may be from before the path was known.
                        group.location = group.location.take().or(tag.location);
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
pub(crate) fn merge(dumps: &[Dump], by: By) -> Report {
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
    /// Wall-clock times of its start and its end, if it has that of the start.
    pub(crate) fn span(&self) -> Option<(Nanos, Nanos)> {
        let start = Nanos::from_millis(self.started_ms?);
        Some((start, start.plus(Nanos::from_millis(self.length_ms))))
    }

    fn note(&mut self, line: usize, problem: String) {
        self.damaged_lines += 1;
        if self.damage.len() < MOST_DAMAGE {
            self.damage.push(Damage { line, problem });
        }
    }
}

/// A line of a file, without its end.
enum Line<'a> {
    Text(Cow<'a, str>),
    /// Longer than any that is written.
    TooLong,
}

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

#[cfg(test)]
mod tests;
