//! `tcptrace trace`: one line per state transition.

mod recorded;
mod subject;

use super::{
    Failure, ended, ignore_broken_pipe,
    losses::Alarm,
    messages, name_absent, runtime, services,
    session::{Session, Wake},
    signals, stream, zone,
};
use crate::{
    cli::{TimeForm, TraceArgs},
    connection::lifetime::{Lifetime, LifetimeTracker},
    duration::human,
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    kernel::clock,
    options::{self, Format, Output, UsageError},
    outfile::Inputs,
    output::{
        loss::Loss,
        printer::{ColumnChoice, Printer, Rows, Source, printer},
        row::Line,
        sink::Sink,
        stream::{Ending, Stream},
        times::Times,
    },
    plural::{counted, was},
    source::{cgroups::Cgroups, namespaces::Names},
    stats::Stats,
    summary::{Dwells, Summary},
    unseen::Unseen,
};
use jiff::tz::TimeZone;
use std::{collections::BTreeMap, fmt::Write as _};
use subject::Subject;

/// Traces until a signal, the duration or the count ends it, or prints what recordings have.
pub(crate) fn run(args: &TraceArgs, verbose: u8) -> Result<(), Failure> {
    let output = options::output(&args.output);
    let rows = if args.lifetimes {
        Rows::Lifetimes
    } else {
        Rows::Changes
    };
    let source = if args.files.is_empty() {
        Source::Machine
    } else {
        Source::Recordings
    };
    let chosen = columns(rows, source, &args.columns)?;
    let printer = printer(
        output.format,
        output.columns,
        times(args.time),
        (rows, source),
        chosen,
    );
    let ports = services(&args.output.ports, output.is_text())?;
    if !args.files.is_empty() {
        return recorded::run(args, &output, rows, ports, printer);
    }
    options::recording::refuse_span(&args.span)?;
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &args.state)?;
    name_absent(&filter);
    runtime()?.block_on(async {
        let mut sink = Sink::open(output.file.as_deref(), &Inputs::default())?
            .shown(output.is_text())
            .naming(ports);
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        session.select(&filter)?;
        if args.lifetimes {
            session.engine.table.lifetimes = Some(LifetimeTracker::default());
        }
        session.confine(output.file.as_deref(), false);
        sink.begin()?;
        let started = session.started;
        session.engine.select(&filter, started);
        let stream = stream(sink, most_waiting(settings.buffer_bytes))?;
        if let Some(duration) = args.duration {
            session.end_after(duration);
        }
        let tracing = Tracing {
            session,
            stream,
            losses: Losses::default(),
            filter,
            printer,
            output,
            cgroups: Cgroups::of_this_host(),
            names: Names::default(),
            limit: args.count,
            first: args.count.map(|_| Box::new(Stats::of_span(started))),
            lifetimes: args.lifetimes.then(Vec::new),
        };
        tracing.run(args.audit).await
    })
}

/// The columns with these names, if there are any.
fn columns(rows: Rows, source: Source, names: &[String]) -> Result<Option<ColumnChoice>, UsageError> {
    if names.is_empty() {
        return Ok(None);
    }
    let chosen = ColumnChoice::of(rows, source, names)
        .map_err(|name| options::unknown_column("--columns", name, ColumnChoice::all(rows, source).names()));
    chosen.map(Some)
}

/// How the times of text are written.
fn times(form: TimeForm) -> Times {
    match form {
        TimeForm::Local => Times::Zone(zone()),
        TimeForm::Utc => Times::Zone(TimeZone::UTC),
        TimeForm::Epoch => Times::Epoch,
    }
}

/// Limit of the output queue, as a multiple of the kernel's buffer: a record of 168 bytes is a line of some
/// 550 in JSON, so that all of a full buffer's have room, and as many again.
const TIMES_BUFFER: usize = 8;

/// No fewer bytes than the default buffer's may wait, since a small one fills again and again, and no more than these.
const WAITING: (usize, usize) = (64 << 20, 512 << 20);

fn most_waiting(buffer_bytes: u32) -> usize {
    let (least, most) = WAITING;
    (buffer_bytes as usize)
        .saturating_mul(TIMES_BUFFER)
        .clamp(least, most)
}

/// The losses that the stream has reported.
#[derive(Debug, Default)]
struct Losses {
    lost: u64,
    dropped: u64,
    alarm: Alarm,
}

struct Tracing {
    session: Session,
    stream: Stream,
    losses: Losses,
    filter: Filter,
    printer: Box<dyn Printer>,
    output: Output,
    cgroups: Cgroups,
    names: Names,
    limit: Option<u64>,
    /// Counts of the printed changes, if `-n` limits them.
    first: Option<Box<Stats>>,
    /// Connections that have ended, where those are printed instead of changes.
    lifetimes: Option<Vec<Lifetime>>,
}

impl Tracing {
    async fn run(mut self, audit: bool) -> Result<(), Failure> {
        if !self.begin()? {
            return Ok(());
        }
        while self.limit.is_none_or(|limit| self.stream.printed() < limit) {
            let wake = self.session.wait(None).await;
            self.session.pump()?;
            if !self.print()? || self.stream.is_closed() {
                return Ok(());
            }
            if let Some(notice) = self.stream.take_notice() {
                messages::tell(notice);
            }
            match wake {
                Wake::Tick => {}
                Wake::Stop | Wake::Deadline => break,
            }
        }
        self.end(audit)
    }

    /// `false` where the reader has gone.
    fn begin(&mut self) -> Result<bool, Failure> {
        let unseen = self.session.unseen();
        for Unseen { text, .. } in &unseen {
            messages::tell(format_args!("not seen: {text}"));
        }
        let mut line = self.printer.header(&self.session.header(), &unseen);
        if self.output.header {
            line.push_str(&self.printer.titles(self.rows()));
        }
        ignore_broken_pipe(self.stream.note(&line).and_then(|()| self.stream.hand_over()))
    }

    /// Prints what is new, after what was lost before it. `false` where the reader has gone.
    fn print(&mut self) -> Result<bool, Failure> {
        let now = clock::monotonic();
        let resumes = self.stream.resumes();
        if (resumes || self.session.lost() != self.losses.lost) && !self.stream.is_dropping() {
            let line = self.loss_line(now);
            if !ignore_broken_pipe(self.stream.note(&line))? {
                return Ok(false);
            }
        }
        let goes_on = match self.lifetimes.take() {
            None => self.print_changes(now)?,
            Some(mut lifetimes) => {
                if let Some(ended) = &mut self.session.engine.table.lifetimes {
                    ended.take(|lifetime| lifetimes.push(lifetime));
                }
                let goes_on = self.print_lifetimes(&lifetimes, now)?;
                lifetimes.clear();
                self.lifetimes = Some(lifetimes);
                goes_on
            }
        };
        // Those that printed places have found them out by now.
        self.session.engine.count_selected();
        let goes_on = goes_on && ignore_broken_pipe(self.stream.hand_over())?;
        if let Some(new) = self.losses.alarm.due(self.stream.dropped(), now) {
            messages::tell(format_args!(
                "{} {} dropped because the reader is too slow; filters reduce the output, and `tcptrace record` keeps everything",
                counted(new, "line"),
                was(new)
            ));
        }
        Ok(goes_on)
    }

    /// What was lost since this was last asked.
    fn loss_line(&mut self, now: Nanos) -> String {
        let total = Loss {
            time: now,
            lost: self.session.lost(),
            dropped: self.stream.dropped(),
        };
        let loss = Loss {
            lost: total.lost - self.losses.lost,
            dropped: total.dropped - self.losses.dropped,
            ..total
        };
        self.losses.lost = total.lost;
        self.losses.dropped = total.dropped;
        let anchor = self.session.anchor();
        self.printer.loss(&loss, self.rows(), &anchor)
    }

    /// What there is a line of.
    const fn rows(&self) -> Rows {
        if self.lifetimes.is_some() {
            Rows::Lifetimes
        } else {
            Rows::Changes
        }
    }

    fn print_changes(&mut self, now: Nanos) -> Result<bool, Failure> {
        for index in 0..self.session.engine.batch().len() {
            let change = self.session.engine.batch()[index];
            let states = change.states();
            let subject = Subject::of_change(&change, &states);
            if self.is_wanted(&subject, now) {
                if let Some(first) = &mut self.first {
                    first.count(&change);
                }
                let line = self.line(&change, &subject, now, |printer, line| printer.change(line));
                if !ignore_broken_pipe(self.stream.line(&line))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn print_lifetimes(&mut self, lifetimes: &[Lifetime], now: Nanos) -> Result<bool, Failure> {
        for lifetime in lifetimes {
            let states: Vec<TcpState> = lifetime.states().collect();
            let subject = Subject::of_lifetime(lifetime, &states);
            if self.is_wanted(&subject, now) {
                let line = self.line(lifetime, &subject, now, |printer, line| printer.lifetime(line));
                if !ignore_broken_pipe(self.stream.line(&line))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a line is to be printed. Looks up where its processes run, if that matters.
    fn is_wanted(&mut self, subject: &Subject<'_>, now: Nanos) -> bool {
        let is_full = self.limit.is_some_and(|limit| self.stream.printed() >= limit);
        if is_full || !self.filter.accepts_ends(&subject.ends) {
            return false;
        }
        let shows_places = self.printer.shows_places() || self.filter.asks_for_locations();
        let Self { session, cgroups, .. } = self;
        let Engine { table, holders, .. } = &mut session.engine;
        if shows_places {
            let owner = subject.owner.map(|owner| owner.process);
            let others = holders.of(subject.cookie).iter().map(|(process, _)| *process);
            for process in owner.into_iter().chain(others) {
                table.processes.location(process, now, &mut |process| {
                    cgroups.location(process.key, process.cgroup, now)
                });
            }
        }
        subject.is_accepted(&self.session.engine, &self.filter)
    }

    /// One line, with its namespace's name where that is shown; empty while lines are dropped.
    fn line<T>(
        &mut self,
        of: &T,
        subject: &Subject<'_>,
        now: Nanos,
        print: impl FnOnce(&dyn Printer, &Line<'_, T>) -> String,
    ) -> String {
        if self.stream.is_dropping() {
            return String::new();
        }
        let netns_name = if self.printer.shows_places() {
            self.names.of(subject.ends.netns, now)
        } else {
            None
        };
        let line = Line {
            of,
            owner: subject.owner,
            engine: &self.session.engine,
            host: None,
            netns_name,
            anchor: &self.session.anchor(),
        };
        print(&*self.printer, &line)
    }

    fn end(mut self, audit: bool) -> Result<(), Failure> {
        let session = &mut self.session;
        let audit = if audit { session.audit()? } else { None };
        session.stop();
        if !self.print()? {
            return Ok(());
        }
        let mut summary = self.session.summary(self.stream.printed())?;
        summary.dropped = self.stream.dropped();
        summary.audit = audit;
        if let Some(first) = &self.first {
            summary.dwells = Dwells::by_state(first);
        }
        // Changes into and out of these states pass; a state beside them was left by some of its connections only.
        let states = &self.filter.states;
        summary
            .dwells
            .retain(|state, _| states.is_empty() || states.contains(state));
        let mut last = String::new();
        if summary.lost != self.losses.lost || summary.dropped != self.losses.dropped {
            last = self.loss_line(clock::monotonic());
        }
        last.push_str(&self.printer.summary(&summary));
        let rows = self.rows();
        self.session.release_signals();
        let ending = self.stream.finish(&last, signals::patience());
        if self.output.format != Format::Json && !matches!(ending, Ok(Ending::Closed)) {
            messages::print(closing_lines(&summary, &self.filter, rows));
        }
        ended(ending)
    }
}

/// A table of dwell times; nothing if there are none.
fn dwell_lines(text: &mut String, dwells: &BTreeMap<TcpState, Dwells>) {
    if !dwells.is_empty() {
        let _ = writeln!(
            text,
            "{:<11} {:>9} {:>8} {:>8} {:>8}",
            "DWELL IN", "COUNT", "P50", "P99", "MAX"
        );
    }
    for (state, dwells) in dwells {
        let [p50, p99, max] = [dwells.p50_ns, dwells.p99_ns, dwells.max_ns].map(|ns| human(Nanos(ns)));
        let _ = writeln!(text, "{state:<11} {:>9} {p50:>8} {p99:>8} {max:>8}", dwells.count);
    }
}

/// How much was printed of how long, and what is missing in it.
fn totals(rows: Rows, printed: u64, watched_ns: u64, lost: u64) -> String {
    format!(
        "{} in {}, {lost} lost",
        counted(printed, rows.name()),
        human(Nanos(watched_ns))
    )
}

/// The summary for people.
fn closing_lines(summary: &Summary, filter: &Filter, rows: Rows) -> String {
    let mut text = totals(rows, summary.printed, summary.watched_ns, summary.lost);
    let _ = write!(text, ", {} evicted", summary.evicted);
    if summary.dropped > 0 {
        let _ = write!(text, ", {} dropped", summary.dropped);
    }
    let _ = writeln!(text, "; {}", summary.usage.words());
    dwell_lines(&mut text, &summary.dwells);
    if let Some(audit) = &summary.audit {
        let of = audit
            .beyond(filter)
            .map_or_else(String::new, |of| format!(" {of}"));
        let _ = write!(
            text,
            "audit{of}: {} compared, {} differ",
            counted(audit.compared, "socket"),
            audit.differences
        );
        if audit.unread_namespaces > 0 {
            let unread = counted(audit.unread_namespaces, "network namespace");
            let _ = write!(text, ", {unread} not read");
        }
        for (state, count) in &audit.by_state {
            let _ = write!(text, ", {count} in {state}");
        }
        text.push('\n');
    }
    text
}
