//! `tcptrace hist`: how long states last, traced live or read from files.

mod files;
mod forms;

use super::{
    Failure, ended, messages, runtime,
    session::{Session, Wake},
    signals, stream, unless_closed,
};
use crate::{
    cli::{HistArgs, HistFormat as Form},
    event::Nanos,
    filter::Filter,
    kernel::clock,
    options::{self, HistOptions},
    outfile::Inputs,
    output::{
        duration::human,
        hist::{self, Picture, csv, hlog},
        json,
        sink::Sink,
        stream::{Ending, Stream},
    },
    source::cgroups::Cgroups,
    stats::{collector::Collector, measure::Measure, report::Report},
};
use tokio::time::Instant;

/// Measures until a signal or the duration ends it, or reads files.
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
            let mut sink = Sink::open(wanted.output.file.as_deref(), &Inputs::default())?;
            let mut session = Session::start(&settings, args.tracing.max_connections)?;
            session.confine(wanted.output.file.as_deref(), false);
            if wanted.interval.is_some() {
                sink.begin()?;
            }
            let deadline = duration.map(|span| Instant::now() + span);
            Measuring::new(session, sink, wanted, &filter)?
                .run(deadline)
                .await
        });
    }
    files::run(args, &wanted)
}

/// So many bytes may wait for the reader. An interval for which there is no room becomes part of the next one.
const MOST_WAITING: usize = 1 << 20;

struct Measuring {
    session: Session,
    stream: Stream,
    wanted: HistOptions,
    measures: Vec<Measure>,
    collector: Collector,
    cgroups: Cgroups,
    /// When the interval began that is gathered.
    since: Nanos,
}

impl Measuring {
    fn new(session: Session, sink: Sink, wanted: HistOptions, filter: &Filter) -> Result<Self, Failure> {
        let watched_from = session.engine.stats.watched_from.unwrap_or(session.started);
        Ok(Self {
            stream: stream(sink, MOST_WAITING)?,
            measures: hist::measures(&filter.states),
            collector: Collector::new(filter, wanted.by, watched_from),
            cgroups: Cgroups::of_this_host(),
            since: session.started,
            session,
            wanted,
        })
    }

    async fn run(mut self, deadline: Option<Instant>) -> Result<(), Failure> {
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
            } = &mut self;
            session.pump(&mut |change| collector.take(change))?;
            self.sort(now);
            if !unless_closed(self.stream.hand_over())? || self.stream.is_closed() {
                return Ok(());
            }
            if let Some(notice) = self.stream.take_notice() {
                messages::tell(notice);
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if wake == Wake::Stop || is_over {
                break;
            }
            if let (Some(at), Some(span)) = (next, interval)
                && Instant::now() >= at
            {
                next = Some(at + span);
                if self.stream.has_room() && !self.write_interval(now)? {
                    return Ok(());
                }
            }
        }
        self.end()
    }

    /// Counts what was taken, after it was found out where processes run, if that is asked.
    fn sort(&mut self, now: Nanos) {
        if self.collector.asks_for_places() {
            self.cgroups
                .find_places(&mut self.session.engine.table.processes, now);
        }
        self.collector.sort(&self.session.engine);
    }

    /// `false` where the reader has gone.
    fn begin(&mut self) -> Result<bool, Failure> {
        for shortfall in self.session.shortfalls() {
            messages::tell(format_args!("not traced: {shortfall}"));
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
        unless_closed(self.stream.note(&line).and_then(|()| self.stream.hand_over()))
    }

    fn write_interval(&mut self, now: Nanos) -> Result<bool, Failure> {
        let report = self.collector.ended(&self.session.engine);
        let lines = self.interval(report, now);
        self.since = now;
        self.collector.begin_interval();
        unless_closed(self.stream.note(&lines).and_then(|()| self.stream.hand_over()))
    }

    /// What was gathered since the interval before, as a log has it.
    fn interval(&self, mut report: Report, now: Nanos) -> String {
        report.sort();
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: None,
            top: 0,
        };
        let from = self.since.since(self.session.started);
        hlog::interval(&picture, from, now.since(self.since))
    }

    fn end(mut self) -> Result<(), Failure> {
        let Self {
            session, collector, ..
        } = &mut self;
        session.stop(&mut |change| collector.take(change));
        let now = clock::monotonic();
        self.sort(now);
        let mut report = self.collector.report(&self.session.engine, now);
        report.sort();
        let mut summary = self.session.summary(0)?;
        // The report says it, filtered and in full.
        summary.dwells.clear();
        let watched = Nanos(summary.watched_ns);
        messages::print(format_args!(
            "{} changes in {}, {} lost, {} evicted; {}\n",
            summary.changes,
            human(watched),
            summary.lost,
            summary.evicted,
            summary.usage.words()
        ));
        self.session.release_signals();
        if self.wanted.form == Form::Hlog {
            let last = self.interval(report, now) + &hlog::closing(summary.lost, summary.evicted);
            return ended(self.stream.finish(&last, signals::patience()));
        }
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: Some(watched),
            top: self.wanted.top,
        };
        let mut lines = forms::drawn(&picture, self.wanted.form);
        if self.wanted.form == Form::Json {
            lines.push_str(&json::summary(&summary));
        }
        let ending = self.stream.finish(&lines, signals::patience());
        if matches!(ending, Ok(Ending::Closed)) {
            return Ok(());
        }
        ended(ending)?;
        forms::write_beside(&picture, &self.wanted, &Inputs::default())
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
