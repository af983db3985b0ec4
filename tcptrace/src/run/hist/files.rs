//! `tcptrace hist FILE…`: recordings and logs of histograms, of one host or several, in one report.

use super::forms;
use crate::{
    cli::{HistArgs, HistFormat as Form},
    connection::table::Change,
    event::Nanos,
    filter::Filter,
    options::{self, HistOptions, UsageError, recording::Span},
    outfile::Inputs,
    output::{
        duration::human,
        hist::{self, Picture, csv, hlog},
        json::{self, rfc3339},
        sink::Sink,
    },
    record::{
        ledger::Ledger,
        runs::{self, Run},
    },
    run::{
        Failure, confine, messages,
        playback::{self, Played},
        unless_closed,
    },
    source::{
        hlog::{self as reader, Dump},
        replay::Replay,
    },
    stats::{collector::Collector, key::By, measure::Measure, report::Report},
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

/// So much of a file is looked at to tell what it is.
const LOOK_BYTES: u64 = 4_096;

/// So many empty intervals in a row are written; where there are more, none is. A log says of each interval when it was.
const MOST_EMPTY: u64 = 3_600;

/// Reads all files and prints one report.
///
/// # Errors
/// Wrong flags, files that cannot be read or give nothing, an output that cannot be written.
pub(super) fn run(args: &HistArgs, wanted: &HistOptions) -> Result<(), Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &[])?;
    confine::replay(&args.files, wanted.output.file.as_deref());
    let (logs, recordings) = by_kind(&args.files)?;
    if !logs.is_empty() && (span != Span::default() || filter != Filter::default()) {
        return Err(Failure::Usage(options::wrong(
            "filters and --at, --from, --to",
            format!(
                "{} has durations, and no longer the connections that they are of",
                runs::named(&logs[0])
            ),
            "give recordings, or leave them out",
        )));
    }
    let dumps = read_logs(&logs, wanted.by)?;
    let runs = if recordings.is_empty() {
        Vec::new()
    } else {
        playback::open(&recordings)?
    };
    if wanted.interval.is_some() && runs.len() + dumps.len() != 1 {
        return Err(Failure::Usage(several_have_no_intervals()));
    }
    let inputs = Inputs::of(&args.files);
    let mut sink = Sink::open(wanted.output.file.as_deref(), &inputs)?;
    let mut gathered = Vec::new();
    for mut run in runs {
        let one = gather(&mut run, span, &filter, wanted, &mut sink)?;
        one.say();
        gathered.push(one);
    }
    let print = Print {
        files: &args.files,
        dumps: &dumps,
        gathered: &gathered,
        wanted,
    };
    print.to(sink, &inputs)
}

fn several_have_no_intervals() -> UsageError {
    options::wrong(
        "--interval",
        "only one run has intervals, and it must be a recording",
        "give one recording, or leave --interval out",
    )
}

/// Logs, and recordings: those that are not text, and empty files, of which the latter's reader says that they are.
fn by_kind(files: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Failure> {
    let mut kinds = (Vec::new(), Vec::new());
    for path in files {
        let is_log = is_text(path).with_context(|| format!("cannot read {}", runs::named(path)))?;
        if is_log {
            kinds.0.push(path.clone());
        } else {
            kinds.1.push(path.clone());
        }
    }
    Ok(kinds)
}

fn is_text(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LOOK_BYTES).read_to_end(&mut bytes)?;
    Ok(!bytes.is_empty() && !bytes.contains(&0))
}

fn read_logs(files: &[PathBuf], by: By) -> Result<Vec<Dump>, Failure> {
    let mut dumps = Vec::new();
    for file in files {
        let name = runs::named(file);
        let source = File::open(file).with_context(|| format!("cannot read {name}"))?;
        let dump = reader::read(&name, BufReader::new(source), by)
            .with_context(|| format!("{name} is of no use"))?;
        for damage in &dump.damage {
            messages::tell(format_args!("{name}: {damage}"));
        }
        let more = dump.damaged_lines - dump.damage.len();
        if more > 0 {
            messages::tell(format_args!("{name}: {more} more lines could not be read"));
        }
        dumps.push(dump);
    }
    Ok(dumps)
}

/// What was gathered of one run, and what of it is missing.
#[derive(Serialize)]
struct Gathered {
    host: String,
    from: String,
    to: String,
    watched_ns: Nanos,
    changes: u64,
    lost: u64,
    evicted: u64,
    gaps: u32,
    missing: u64,
    remarks: Vec<String>,
    #[serde(skip)]
    report: Report,
    #[serde(skip)]
    start_wall_ns: u64,
}

impl Gathered {
    fn say(&self) {
        let Self {
            host,
            watched_ns,
            changes,
            lost,
            evicted,
            gaps,
            ..
        } = self;
        let watched = human(*watched_ns);
        messages::print(format_args!(
            "{host}: {changes} changes in {watched}, {lost} lost, {evicted} evicted, {gaps} gaps\n"
        ));
        playback::say(&self.remarks);
    }
}

/// Plays one run and counts its changes. The log of a single run is written on the way, interval by interval.
fn gather(
    run: &mut Run,
    span: Span,
    filter: &Filter,
    wanted: &HistOptions,
    sink: &mut Sink,
) -> Result<Gathered, Failure> {
    let mut gathering = Gathering {
        measures: hist::measures(&wanted.states),
        host: run.origin.host.clone(),
        span,
        filter,
        wanted,
        open: None,
        skipped: 0,
    };
    let mut result = Ok(());
    let played = playback::play(run, span, &mut |change, replay| {
        if result.is_ok() {
            result = gathering.take(change, replay, sink);
        }
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    result?;
    let mut remarks = played.remarks(run);
    let Played {
        replay,
        beginning,
        end,
        ..
    } = played;
    let mut report = Report::default();
    if gathering.is_log() {
        gathering.write_until(end, &replay, sink)?;
        let open = gathering.open(&replay);
        let last = open.collector.report(&replay.engine, end);
        let (from, began) = (open.since, open.began);
        if from == began {
            gathering.write_heading(replay.ledger.wall(began), sink)?;
        }
        gathering.write(last, from, end.since(from), sink)?;
    } else {
        let open = gathering.open(&replay);
        report = open.collector.report(&replay.engine, end);
        report.name_host(&gathering.host);
    }
    let Ledger {
        lost, gaps, missing, ..
    } = replay.ledger;
    if gathering.skipped > 0 {
        remarks.push(format!(
            "{} intervals without a change are left out of the log: nothing was recorded for so long, or the times are wild",
            gathering.skipped
        ));
    }
    Ok(Gathered {
        host: gathering.host,
        from: rfc3339(replay.ledger.wall(beginning.time)),
        to: rfc3339(replay.ledger.wall(end)),
        watched_ns: end.since(beginning.time),
        changes: replay.engine.table.tally.changes - beginning.tally.changes,
        lost,
        evicted: replay.engine.table.tally.evicted - beginning.tally.evicted,
        gaps,
        missing,
        remarks,
        report,
        start_wall_ns: replay.ledger.wall(beginning.time),
    })
}

/// One run, while it is played.
struct Gathering<'a> {
    measures: Vec<Measure>,
    host: String,
    span: Span,
    filter: &'a Filter,
    wanted: &'a HistOptions,
    open: Option<Interval>,
    /// Intervals that were left out.
    skipped: u64,
}

/// What is gathered since the last lines of a log, or since the span began.
struct Interval {
    collector: Collector,
    began: Nanos,
    since: Nanos,
}

impl Gathering<'_> {
    /// Whether its log is written while it is played.
    const fn is_log(&self) -> bool {
        self.wanted.interval.is_some()
    }

    fn take(&mut self, change: &Change, replay: &Replay, sink: &mut Sink) -> Result<(), Failure> {
        self.write_until(replay.ledger.latest, replay, sink)?;
        let collector = &mut self.open(replay).collector;
        collector.take(change);
        collector.sort(&replay.engine);
        Ok(())
    }

    /// Writes the intervals that are over at `now`.
    fn write_until(&mut self, now: Nanos, replay: &Replay, sink: &mut Sink) -> Result<(), Failure> {
        let Some(step) = self.wanted.interval.map(nanos) else {
            return Ok(());
        };
        while now >= self.open(replay).since.plus(step) {
            let open = self.open(replay);
            let (report, since, began) = (open.collector.ended(&replay.engine), open.since, open.began);
            open.collector.begin_interval();
            open.since = since.plus(step);
            if since == began {
                self.write_heading(replay.ledger.wall(began), sink)?;
            }
            self.write(report, since, step, sink)?;
            // All that was gathered is written: what follows until now is empty.
            let empty = now.since(since.plus(step)).0 / step.0;
            if empty > MOST_EMPTY {
                self.skipped += empty;
                let open = self.open(replay);
                open.since = open.since.plus(Nanos(empty * step.0));
            }
        }
        Ok(())
    }

    /// Lines of an interval; before those of the first, the log's heading.
    fn write(
        &mut self,
        mut report: Report,
        since: Nanos,
        length: Nanos,
        sink: &mut Sink,
    ) -> Result<(), Failure> {
        report.sort();
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: None,
            top: 0,
        };
        let began = self.open.as_ref().map_or(since, |open| open.began);
        let lines = hlog::interval(&picture, since.since(began), length);
        unless_closed(sink.lines(&lines))?;
        Ok(())
    }

    fn write_heading(&self, start_wall_ns: u64, sink: &mut Sink) -> Result<(), Failure> {
        let heading = hlog::heading(&hlog::Heading {
            host: &self.host,
            by: self.wanted.by,
            start_wall_ns,
        });
        unless_closed(sink.lines(&heading))?;
        Ok(())
    }

    fn open(&mut self, replay: &Replay) -> &mut Interval {
        self.open.get_or_insert_with(|| {
            let watched_from = replay.engine.stats.watched_from.unwrap_or(replay.ledger.began);
            // A span is watched from where it begins, a run from its first snapshot or event.
            let began = if self.span.from.is_some() {
                watched_from
            } else {
                replay.ledger.began
            };
            Interval {
                collector: Collector::new(self.filter, self.wanted.by, watched_from),
                began,
                since: began,
            }
        })
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// The first line of JSON.
#[derive(Serialize)]
struct Header<'a> {
    program: &'static str,
    version: &'static str,
    files: Vec<String>,
    hosts: Vec<&'a str>,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Summary<'a> {
    files: usize,
    damaged_lines: usize,
    runs: &'a [Gathered],
}

/// Everything that was read.
struct Print<'a> {
    files: &'a [PathBuf],
    dumps: &'a [Dump],
    gathered: &'a [Gathered],
    wanted: &'a HistOptions,
}

impl Print<'_> {
    fn to(&self, mut sink: Sink, inputs: &Inputs) -> Result<(), Failure> {
        let Self {
            dumps,
            gathered,
            wanted,
            ..
        } = self;
        let mut report = reader::merge(dumps, wanted.by);
        for one in *gathered {
            report.merge(&one.report);
        }
        report.add_up_hosts();
        report.sort();
        let picture = Picture {
            report: &report,
            measures: &hist::measures(&wanted.states),
            watched: match (dumps, gathered) {
                ([], [one]) => Some(one.watched_ns),
                _ => None,
            },
            top: wanted.top,
        };
        let text = match wanted.form {
            Form::Json => self.header() + &forms::drawn(&picture, wanted.form) + &self.summary(),
            Form::Csv if wanted.output.header => {
                csv::TITLES.to_owned() + &forms::drawn(&picture, wanted.form)
            }
            Form::Hlog => self.log(&picture),
            Form::Csv | Form::Text | Form::Hgrm => forms::drawn(&picture, wanted.form),
        };
        unless_closed(sink.lines(&text))?;
        // Where one of these is refused, what the output had before is unchanged.
        forms::write_beside(&picture, wanted, inputs)?;
        unless_closed(sink.finish())?;
        Ok(())
    }

    fn hosts(&self) -> Vec<&str> {
        let of_dumps = self.dumps.iter().map(|dump| dump.host.as_str());
        let of_runs = self.gathered.iter().map(|one| one.host.as_str());
        let mut hosts: Vec<&str> = of_dumps.chain(of_runs).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    fn header(&self) -> String {
        let header = Header {
            program: "tcptrace",
            version: env!("CARGO_PKG_VERSION"),
            files: self.files.iter().map(|file| runs::named(file)).collect(),
            hosts: self.hosts(),
        };
        json::line(&serde_json::json!({ "header": header }))
    }

    fn summary(&self) -> String {
        let summary = Summary {
            files: self.files.len(),
            damaged_lines: self.dumps.iter().map(|dump| dump.damaged_lines).sum(),
            runs: self.gathered,
        };
        json::line(&serde_json::json!({ "summary": summary }))
    }

    /// One log of all: one interval, from the first beginning to the last end. Where a run has written its own
    /// interval by interval, only the last line is left.
    fn log(&self, picture: &Picture<'_>) -> String {
        let lost = self.dumps.iter().map(|dump| dump.lost).sum::<u64>()
            + self.gathered.iter().map(|one| one.lost).sum::<u64>();
        let evicted = self.dumps.iter().map(|dump| dump.evicted).sum::<u64>()
            + self.gathered.iter().map(|one| one.evicted).sum::<u64>();
        let closing = hlog::closing(lost, evicted);
        if self.wanted.interval.is_some() {
            return closing;
        }
        let of_dumps = self.dumps.iter().filter_map(|dump| {
            let start = Nanos::from_millis(dump.started_ms?);
            Some((start, start.plus(Nanos::from_millis(dump.length_ms))))
        });
        let of_runs = self.gathered.iter().map(|one| {
            let start = Nanos(one.start_wall_ns);
            (start, start.plus(one.watched_ns))
        });
        let spans: Vec<(Nanos, Nanos)> = of_dumps.chain(of_runs).collect();
        let start = spans.iter().map(|span| span.0).min().unwrap_or_default();
        let end = spans.iter().map(|span| span.1).max().unwrap_or_default();
        let heading = hlog::heading(&hlog::Heading {
            host: &self.hosts().join(","),
            by: self.wanted.by,
            start_wall_ns: start.0,
        });
        [
            heading,
            hlog::interval(picture, Nanos(0), end.since(start)),
            closing,
        ]
        .concat()
    }
}
