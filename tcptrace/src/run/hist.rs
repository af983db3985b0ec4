//! `tcptrace hist`: how long states last, traced live or read from dumps.

use super::{
    Failure, runtime,
    session::{Session, Wake},
    unless_closed,
};
use crate::{
    cli::{HistArgs, HistFormat as Form},
    event::Nanos,
    filter::Filter,
    kernel::clock,
    options::{self, HistOptions},
    output::{
        duration::human,
        hist::{self, Picture, csv, hgrm, hlog, text},
        json,
        sink::Sink,
    },
    source::{cgroups::Cgroups, hlog as reader},
    stats::{
        collector::Collector,
        measure::{Kind, Measure},
        report::Report,
    },
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::time::Instant;

/// Measures until a signal or the duration ends it, or reads dumps.
///
/// # Errors
/// Wrong flags, a kernel that refuses, files that cannot be read, an output that cannot be written.
pub fn run(args: &HistArgs, verbose: u8) -> Result<(), Failure> {
    let wanted = options::hist(args)?;
    if args.files.is_empty() {
        let settings = options::settings(&args.tracing, verbose)?;
        let filter = options::filter(&args.filter, &args.state)?;
        let duration = args
            .duration
            .map(|value| options::seconds("--duration", value))
            .transpose()?;
        return runtime()?.block_on(async {
            let session = Session::start(&settings, args.tracing.max_connections)?;
            let deadline = duration.map(|span| Instant::now() + span);
            Measuring::new(session, wanted, &filter)?.run(deadline).await
        });
    }
    read(&args.files, &wanted)
}

struct Measuring {
    session: Session,
    sink: Sink,
    wanted: HistOptions,
    measures: Vec<Measure>,
    collector: Collector,
    filter_asks_for_places: bool,
    cgroups: Cgroups,
    /// When the interval began that is gathered.
    since: Nanos,
}

impl Measuring {
    fn new(session: Session, wanted: HistOptions, filter: &Filter) -> Result<Self, Failure> {
        let watched_from = session.engine.stats.watched_from.unwrap_or(session.started);
        Ok(Self {
            sink: Sink::open(wanted.output.file.as_deref()).map_err(Failure::Output)?,
            measures: hist::measures(&filter.states),
            collector: Collector::new(filter, wanted.by, watched_from),
            filter_asks_for_places: filter.asks_for_places(),
            cgroups: Cgroups::of_this_host(),
            since: session.started,
            session,
            wanted,
        })
    }

    async fn run(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        if !self.begin()? {
            return Ok(());
        }
        let interval = self.wanted.interval;
        let mut next = interval.map(|span| Instant::now() + span);
        loop {
            let wake = self.session.wait(earlier(deadline, next)).await;
            let now = clock::monotonic();
            let Self {
                session, collector, ..
            } = self;
            session.pump(&mut |change| collector.take(change))?;
            self.sort(now);
            if self.sink.is_closed() {
                return Ok(());
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if wake == Wake::Stop || is_over {
                break;
            }
            if let (Some(at), Some(span)) = (next, interval)
                && Instant::now() >= at
            {
                next = Some(at + span);
                let ended = self.collector.ended();
                if !self.write_interval(ended, now)? {
                    return Ok(());
                }
            }
        }
        self.end()
    }

    /// Counts what was taken, after it was found out where processes run, if that is asked.
    fn sort(&mut self, now: Nanos) {
        if self.filter_asks_for_places && self.collector.has_taken() {
            let Self { session, cgroups, .. } = self;
            let processes = &mut session.engine.table.processes;
            processes.place_all(now, &mut |process| {
                cgroups.place(process.key, process.cgroup, now)
            });
        }
        self.collector.sort(&self.session.engine);
    }

    /// `false` where the reader has gone.
    fn begin(&mut self) -> Result<bool, Failure> {
        for shortfall in self.session.shortfalls() {
            eprintln!("tcptrace: not traced: {shortfall}");
        }
        let line = match self.wanted.form {
            Form::Json => json::header(&self.session.header()),
            Form::Csv if self.wanted.output.header => csv::TITLES.to_owned(),
            Form::Hlog => hlog::heading(&hlog::Heading {
                host: &self.session.header().host,
                by: self.wanted.by,
                start_wall_ns: self.session.anchor().wall(self.session.started),
            }),
            Form::Csv | Form::Text | Form::Hgrm => String::new(),
        };
        unless_closed(self.sink.lines(&line).and_then(|()| self.sink.flush()))
    }

    fn write_interval(&mut self, mut report: Report, now: Nanos) -> Result<bool, Failure> {
        report.sort();
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: None,
            top: 0,
        };
        let from = self.since.since(self.session.started);
        let lines = hlog::interval(&picture, from, now.since(self.since));
        self.since = now;
        self.collector.begin_interval();
        unless_closed(self.sink.lines(&lines).and_then(|()| self.sink.flush()))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Self {
            session, collector, ..
        } = self;
        session.stop(&mut |change| collector.take(change));
        let now = clock::monotonic();
        self.sort(now);
        let mut report = self.collector.report(&self.session.engine, now);
        report.sort();
        let mut summary = self.session.summary(0)?;
        // The report says it, filtered and in full.
        summary.dwells.clear();
        let watched = Nanos(summary.watched_ns);
        eprintln!(
            "{} changes in {}, {} lost, {} evicted",
            summary.changes,
            human(watched),
            summary.lost,
            summary.evicted
        );
        if self.wanted.form == Form::Hlog {
            if !self.write_interval(report, now)? {
                return Ok(());
            }
            let line = hlog::closing(summary.lost, summary.evicted);
            unless_closed(self.sink.lines(&line).and_then(|()| self.sink.flush()))?;
            return Ok(());
        }
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: Some(watched),
            top: self.wanted.top,
        };
        let mut lines = drawn(&picture, self.wanted.form);
        if self.wanted.form == Form::Json {
            lines.push_str(&json::summary(&summary));
        }
        unless_closed(self.sink.lines(&lines).and_then(|()| self.sink.flush()))?;
        write_beside(&picture, &self.wanted)
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// A report in every form but a log.
fn drawn(picture: &Picture<'_>, form: Form) -> String {
    match form {
        Form::Text => text::draw(picture),
        Form::Json => hist::json::rows(picture),
        Form::Csv => csv::rows(picture),
        Form::Hgrm => hgrm::distribution(&hlog::total(picture.report, picture.measures)),
        Form::Hlog => String::new(),
    }
}

/// Percentile distributions go to a file each, as the plotter takes them: `dwell.hgrm` has all states together,
/// `dwell.CLOSE_WAIT.hgrm` that one.
fn write_beside(picture: &Picture<'_>, wanted: &HistOptions) -> Result<(), Failure> {
    let (Form::Hgrm, Some(file)) = (wanted.form, &wanted.output.file) else {
        return Ok(());
    };
    let all = picture.report.everybody();
    for measure in picture.measures {
        if all.count(*measure, Kind::Finished) == 0 {
            continue;
        }
        let text = hgrm::distribution(&all.histogram(*measure, Kind::Finished));
        let path = named_after(file, measure.name());
        fs::write(&path, text).map_err(Failure::Output)?;
    }
    Ok(())
}

/// `dwell.hgrm` and `CLOSE_WAIT` to `dwell.CLOSE_WAIT.hgrm`.
fn named_after(file: &Path, word: &str) -> PathBuf {
    match file.extension() {
        Some(extension) => file.with_extension(format!("{word}.{}", extension.to_string_lossy())),
        None => file.with_extension(word),
    }
}

/// What was read, for the first line of JSON.
#[derive(Serialize)]
struct ReadHeader<'a> {
    program: &'static str,
    version: &'static str,
    files: Vec<String>,
    hosts: Vec<&'a str>,
}

/// Puts dumps together.
fn read(files: &[PathBuf], wanted: &HistOptions) -> Result<(), Failure> {
    let mut dumps = Vec::new();
    for file in files {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
        let dump = reader::read(&name.to_string(), &String::from_utf8_lossy(&bytes), wanted.by)
            .with_context(|| format!("{name} is of no use"))?;
        for damage in &dump.damage {
            eprintln!("tcptrace: {name}: {damage}");
        }
        dumps.push(dump);
    }
    let report = reader::merge(&dumps, wanted.by);
    let picture = Picture {
        report: &report,
        measures: &hist::measures(&wanted.states),
        watched: None,
        top: wanted.top,
    };
    let mut hosts: Vec<&str> = dumps.iter().map(|dump| dump.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let header = ReadHeader {
        program: "tcptrace",
        version: env!("CARGO_PKG_VERSION"),
        files: files.iter().map(|file| file.display().to_string()).collect(),
        hosts,
    };
    let before = match wanted.form {
        Form::Json => json::line(&serde_json::json!({ "header": header })),
        Form::Csv if wanted.output.header => csv::TITLES.to_owned(),
        Form::Csv | Form::Text | Form::Hlog | Form::Hgrm => String::new(),
    };
    let damaged: usize = dumps.iter().map(|dump| dump.damage.len()).sum();
    let after = match wanted.form {
        Form::Json => json::line(&serde_json::json!({
            "summary": { "files": files.len(), "damaged_lines": damaged }
        })),
        Form::Csv | Form::Text | Form::Hlog | Form::Hgrm => String::new(),
    };
    let mut sink = Sink::open(wanted.output.file.as_deref()).map_err(Failure::Output)?;
    let text = before + &drawn(&picture, wanted.form) + &after;
    unless_closed(sink.lines(&text).and_then(|()| sink.flush()))?;
    write_beside(&picture, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_single_states_are_named_after_the_one_of_all() {
        let table = [
            ("/tmp/dwell.hgrm", "/tmp/dwell.CLOSE_WAIT.hgrm"),
            ("dwell", "dwell.CLOSE_WAIT"),
            ("a.b.hgrm", "a.b.CLOSE_WAIT.hgrm"),
        ];
        for (all, one) in table {
            assert_eq!(named_after(Path::new(all), "CLOSE_WAIT"), Path::new(one));
        }
    }
}
