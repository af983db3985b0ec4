//! `tcptrace hist FILE…`: recordings and logs of histograms, of one host or several, in one report.

use super::{
    forms,
    recorded::{ReplayedRun, gather},
};
use crate::{
    cli::{HistArgs, HistFormat as Form},
    event::Nanos,
    filter::Filter,
    options::{self, HistOptions, UsageError, recording::Span},
    outfile::Inputs,
    output::{
        hist::{self, Picture, csv, hlog},
        json::{self},
        services::Services,
        sink::Sink,
    },
    plural::counted,
    record::runs::{self},
    run::{
        Answer, Failure, confine, ignore_broken_pipe, messages,
        recordings::{self, Coverage},
    },
    source::hlog::{self as reader, Dump},
    stats::key::By,
    summary::SCHEMA_VERSION,
    unseen::Unseen,
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// Number of bytes from which the kind of a file is recognised.
const LOOK_BYTES: u64 = 4_096;

/// Reads all files and prints one report.
pub(super) fn run(args: &HistArgs, wanted: &HistOptions, ports: Services) -> Result<Answer, Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &[])?;
    confine::replay(&args.files, wanted.output.file.as_deref());
    let (logs, recordings) = by_kind(&args.files)?;
    if !logs.is_empty() && (span != Span::default() || filter != Filter::default()) {
        return Err(Failure::Usage(options::wrong(
            "filters and --at, --from, --to",
            format!(
                "{} contains only durations, without their connections",
                runs::named(&logs[0])
            ),
            "give recordings, or omit these flags",
        )));
    }
    let dumps = read_logs(&logs, wanted.by)?;
    let runs = if recordings.is_empty() {
        Vec::new()
    } else {
        recordings::open(&recordings)?
    };
    if wanted.interval.is_some() && runs.len() + dumps.len() != 1 {
        return Err(Failure::Usage(several_have_no_intervals()));
    }
    let inputs = Inputs::of(&args.files);
    let mut sink = Sink::open(wanted.output.file.as_deref(), &inputs)?
        .shown(wanted.form == Form::Text)
        .naming(ports);
    let mut gathered = Vec::new();
    let mut coverage = Coverage::default();
    for mut run in runs {
        if let Some(one) = gather(&mut run, span, &filter, wanted, &mut coverage, &mut sink)? {
            one.print_notes();
            gathered.push(one);
        }
    }
    coverage.begin()?;
    refuse_overlap(&logs, &dumps, &gathered)?;
    let is_all_seen = gathered
        .iter()
        .all(|one| one.unseen.is_empty() && one.remarks.is_empty());
    let print = Print {
        files: &args.files,
        dumps: &dumps,
        gathered: &gathered,
        wanted,
    };
    let is_empty = print.to(sink, &inputs)?;
    if dumps.is_empty() {
        coverage.end()?;
    }
    Ok(Answer::of(false, is_all_seen || !is_empty))
}

fn several_have_no_intervals() -> UsageError {
    options::wrong(
        "--interval",
        "intervals need exactly one input, a recording",
        "give one recording, or omit --interval",
    )
}

/// Refuses a log and a recording of the same host and time, whose connections would be counted twice.
fn refuse_overlap(logs: &[PathBuf], dumps: &[Dump], runs: &[ReplayedRun]) -> Result<(), UsageError> {
    for (path, dump) in logs.iter().zip(dumps) {
        let Some((start, end)) = dump.span() else { continue };
        let is_of = |host: &str| {
            let mut groups = dump.report.groups.iter();
            groups.any(|group| group.host.as_deref() == Some(host))
        };
        let is_same = |run: &&ReplayedRun| {
            let from = Nanos(run.start_wall_ns);
            is_of(&run.host) && from < end && start < from.plus(run.watched_ns)
        };
        if let Some(run) = runs.iter().find(is_same) {
            return Err(options::wrong(
                "FILE",
                format!(
                    "{} and a recording have the same time of {}: its connections would be counted twice",
                    runs::named(path),
                    run.host
                ),
                "give the recording or the log",
            ));
        }
    }
    Ok(())
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
            .with_context(|| format!("{name} cannot be used"))?;
        for damage in &dump.damage {
            messages::tell(format_args!("{name}: {damage}"));
        }
        let more = dump.damaged_lines - dump.damage.len();
        if more > 0 {
            let lines = counted(more, "more line");
            messages::tell(format_args!("{name}: {lines} could not be read"));
        }
        dumps.push(dump);
    }
    Ok(dumps)
}

/// The first line of JSON.
#[derive(Serialize)]
struct Header<'a> {
    schema_version: u32,
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
    runs: &'a [ReplayedRun],
}

/// Everything that was read.
struct Print<'a> {
    files: &'a [PathBuf],
    dumps: &'a [Dump],
    gathered: &'a [ReplayedRun],
    wanted: &'a HistOptions,
}

impl Print<'_> {
    /// Whether there was nothing.
    fn to(&self, mut sink: Sink, inputs: &Inputs) -> Result<bool, Failure> {
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
        let is_empty = picture.is_empty() && !gathered.iter().any(|one| one.has_written);
        let of_each = gathered.iter().flat_map(|one| &one.unseen);
        let unseen: Vec<Unseen> = of_each.cloned().collect();
        let drawn = forms::drawn(&picture, wanted.form, &unseen);
        let text = match wanted.form {
            Form::Json => self.header() + &drawn + &self.summary(),
            Form::Csv if wanted.output.header => csv::titles() + &drawn,
            Form::Hlog => self.log(&picture),
            Form::Csv | Form::Text | Form::Hgrm => drawn,
        };
        ignore_broken_pipe(sink.lines(&text))?;
        // Where one of these is refused, what the output had before is unchanged.
        forms::write_beside(&picture, wanted, inputs)?;
        ignore_broken_pipe(sink.finish())?;
        Ok(is_empty)
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
            schema_version: SCHEMA_VERSION,
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
        let of_dumps = self.dumps.iter().filter_map(Dump::span);
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
