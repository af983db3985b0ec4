//! `tcptrace hist`: how long states last, traced live or read from files.

mod files;
mod forms;
mod recorded;

use super::{
    Answer, Failure, ended, ignore_broken_pipe, messages, name_absent, runtime, services,
    session::{Session, Wake},
    signals, stream,
};
use crate::{
    cli::{HistArgs, HistFormat as Form},
    duration::human,
    engine::collector::Collector,
    event::Nanos,
    filter::Filter,
    kernel::clock,
    options::{self, HistOptions},
    outfile::Inputs,
    output::{
        hist::{self, Picture, csv, hlog},
        json,
        sink::Sink,
        stream::{Ending, Stream},
    },
    plural::counted,
    source::cgroups::Cgroups,
    stats::{measure::Measure, report::Report},
    unseen::Unseen,
};
use tokio::time::Instant;

/// Measures until a signal or the duration ends it, or reads files.
pub(crate) fn run(args: &HistArgs, verbose: u8) -> Result<Answer, Failure> {
    let wanted = options::hist(args)?;
    let ports = services(&args.output.ports, wanted.form == Form::Text)?;
    if args.files.is_empty() {
        let settings = options::settings(&args.tracing, verbose)?;
        let filter = options::filter(&args.filter, &args.state)?;
        name_absent(&filter);
        return runtime()?.block_on(async {
            let mut sink = Sink::open(wanted.output.file.as_deref(), &Inputs::default())?
                .shown(wanted.form == Form::Text)
                .naming(ports);
            let mut session = Session::start(&settings, args.tracing.max_connections)?;
            session.select(&filter)?;
            session.confine(wanted.output.file.as_deref(), false);
            if wanted.interval.is_some() {
                sink.begin()?;
                // Each interval is printed as it ends, so that no line announces the wait.
                if let Some(duration) = args.duration {
                    session.end_after(duration);
                }
            } else {
                session.announce("measuring", args.duration);
            }
            Measuring::new(session, sink, wanted, &filter)?.run().await
        });
    }
    files::run(args, &wanted, ports)
}

/// Maximum number of bytes that wait for the reader. An interval that does not fit becomes part of the next one.
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
    /// Whether an interval that was written had anything.
    has_written: bool,
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
            has_written: false,
            session,
            wanted,
        })
    }

    async fn run(mut self) -> Result<Answer, Failure> {
        if !self.begin()? {
            return Ok(Answer::Nothing);
        }
        let interval = self.wanted.interval;
        let mut next = interval.map(|span| Instant::now() + span);
        loop {
            let wake = self.session.wait(next).await;
            let now = clock::monotonic();
            self.session.pump()?;
            self.count(now);
            if !ignore_broken_pipe(self.stream.hand_over())? || self.stream.is_closed() {
                return Ok(Answer::Nothing);
            }
            if let Some(notice) = self.stream.take_notice() {
                messages::tell(notice);
            }
            if wake == Wake::Stop || self.session.is_over() {
                break;
            }
            if let (Some(at), Some(span)) = (next, interval)
                && Instant::now() >= at
            {
                next = Some(at + span);
                if self.stream.has_room() && !self.write_interval(now)? {
                    return Ok(Answer::Nothing);
                }
            }
        }
        self.end()
    }

    /// Counts the batch, after it was found out where processes run, if that is asked.
    fn count(&mut self, now: Nanos) {
        if self.collector.asks_for_locations() {
            self.cgroups
                .find_locations(&mut self.session.engine.table.processes, now);
        }
        self.collector.count(&self.session.engine);
    }

    /// `false` where the reader has gone.
    fn begin(&mut self) -> Result<bool, Failure> {
        let unseen = self.session.unseen();
        for Unseen { text, .. } in &unseen {
            messages::tell(format_args!("not seen: {text}"));
        }
        let line = match self.wanted.form {
            Form::Json => json::header(&self.session.header(), &unseen),
            Form::Csv if self.wanted.output.header => csv::titles(),
            Form::Hlog => hlog::heading(&hlog::Heading {
                host: &self.session.header().host,
                by: self.wanted.by,
                start_wall_ns: self.session.anchor().wall(self.session.started),
            }),
            Form::Csv | Form::Text | Form::Hgrm => String::new(),
        };
        ignore_broken_pipe(self.stream.note(&line).and_then(|()| self.stream.hand_over()))
    }

    fn write_interval(&mut self, now: Nanos) -> Result<bool, Failure> {
        let report = self.collector.ended(&self.session.engine);
        let lines = self.interval(report, now);
        self.since = now;
        self.collector.begin_interval();
        ignore_broken_pipe(self.stream.note(&lines).and_then(|()| self.stream.hand_over()))
    }

    /// What was gathered since the interval before, as a log has it.
    fn interval(&mut self, mut report: Report, now: Nanos) -> String {
        report.sort();
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: None,
            top: 0,
        };
        self.has_written |= !picture.is_empty();
        let from = self.since.since(self.session.started);
        hlog::interval(&picture, from, now.since(self.since))
    }

    fn end(mut self) -> Result<Answer, Failure> {
        self.session.stop();
        let now = clock::monotonic();
        self.count(now);
        let mut report = self.collector.report(&self.session.engine, now);
        report.sort();
        let mut summary = self.session.summary(0)?;
        // The report says it, filtered and in full.
        summary.dwells.clear();
        let watched = Nanos(summary.watched_ns);
        messages::print(format_args!(
            "{} in {} on this host, {} lost, {} evicted; {}\n",
            counted(summary.changes, "change"),
            human(watched),
            summary.lost,
            summary.evicted,
            summary.usage.words()
        ));
        self.session.release_signals();
        let unseen = self.session.unseen();
        if self.wanted.form == Form::Hlog {
            let last = self.interval(report, now) + &hlog::closing(summary.lost, summary.evicted);
            ended(self.stream.finish(&last, signals::patience()))?;
            return Ok(Answer::of(false, self.has_written || unseen.is_empty()));
        }
        let picture = Picture {
            report: &report,
            measures: &self.measures,
            watched: Some(watched),
            top: self.wanted.top,
        };
        let answer = Answer::of(false, unseen.is_empty() || !picture.is_empty());
        let mut lines = forms::drawn(&picture, self.wanted.form, &unseen);
        if self.wanted.form == Form::Json {
            lines.push_str(&json::summary(&summary));
        }
        let ending = self.stream.finish(&lines, signals::patience());
        if matches!(ending, Ok(Ending::Closed)) {
            return Ok(answer);
        }
        ended(ending)?;
        forms::write_beside(&picture, &self.wanted, &Inputs::default())?;
        Ok(answer)
    }
}
