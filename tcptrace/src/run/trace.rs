//! `tcptrace trace`: a line for each change of state.

use super::{
    Failure, messages, runtime,
    session::{Session, Wake},
    unless_closed, zone,
};
use crate::{
    cli::TraceArgs,
    connection::{
        lifetime::{Lifetime, Lives},
        table::Change,
    },
    engine::Engine,
    event::{Nanos, TcpState},
    filter::{Filter, Subject},
    kernel::clock,
    options::{self, Format, Output},
    outfile::Inputs,
    output::{csv, duration::human, header::Summary, json, lifetimes, sink::Sink, text},
    owner::policy::Owner,
    source::{cgroups::Cgroups, namespaces::Names},
    view,
};
use jiff::tz::TimeZone;
use std::fmt::Write as _;
use tokio::time::Instant;

/// Traces until a signal, the duration or the count ends it.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub fn run(args: &TraceArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &args.state)?;
    let output = options::output(&args.output);
    let duration = args
        .duration
        .map(|value| options::seconds("--duration", value))
        .transpose()?;
    runtime()?.block_on(async {
        let mut sink = Sink::open(output.file.as_deref(), &Inputs::default())?;
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        session.confine(output.file.as_deref(), false);
        sink.begin()?;
        let deadline = duration.map(|span| Instant::now() + span);
        let mut tracing = Tracing {
            session,
            sink,
            filter,
            output,
            zone: zone(),
            cgroups: Cgroups::of_this_host(),
            names: Names::default(),
            limit: args.count,
            printed: 0,
            changes: Vec::new(),
            lives: args.lifetimes.then(Vec::new),
        };
        if args.lifetimes {
            tracing.session.engine.table.lives = Some(Lives::default());
        }
        tracing.run(deadline, args.audit).await
    })
}

struct Tracing {
    session: Session,
    sink: Sink,
    filter: Filter,
    output: Output,
    zone: TimeZone,
    cgroups: Cgroups,
    names: Names,
    limit: Option<u64>,
    printed: u64,
    changes: Vec<Change>,
    /// Connections that have ended, where those are printed instead of changes.
    lives: Option<Vec<Lifetime>>,
}

/// What a line is about, as far as filters look at it.
struct Told<'a> {
    subject: Subject<'a>,
    owner: Option<Owner>,
    cookie: u64,
}

impl Tracing {
    async fn run(&mut self, deadline: Option<Instant>, audit: bool) -> Result<(), Failure> {
        if !self.begin()? {
            return Ok(());
        }
        while self.limit.is_none_or(|limit| self.printed < limit) {
            let wake = self.session.wait(deadline).await;
            let Self {
                session,
                changes,
                filter,
                ..
            } = self;
            let mut emit = |change: &Change| changes.push(*change);
            session.pump(&mut emit)?;
            session.self_audit(&filter.netns, &mut emit)?;
            if !self.print()? || self.sink.is_closed() {
                return Ok(());
            }
            if let Some(notice) = self.sink.take_notice() {
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
        for shortfall in self.session.shortfalls() {
            messages::tell(format_args!("not traced: {shortfall}"));
        }
        let line = match self.output.format {
            Format::Json => json::header(&self.session.header()),
            Format::Csv if self.output.header && self.lives.is_some() => lifetimes::CSV_TITLES.to_owned(),
            Format::Csv if self.output.header => csv::TITLES.to_owned(),
            Format::Text { wide } if self.output.header && self.lives.is_some() => lifetimes::titles(wide),
            Format::Text { wide } if self.output.header => text::titles(wide),
            Format::Csv | Format::Text { .. } => String::new(),
        };
        unless_closed(self.sink.lines(&line).and_then(|()| self.sink.flush()))
    }

    /// `false` where the reader has gone.
    fn print(&mut self) -> Result<bool, Failure> {
        let now = clock::monotonic();
        let goes_on = match self.lives.take() {
            None => self.print_changes(now)?,
            Some(mut lives) => {
                self.changes.clear();
                if let Some(ended) = &mut self.session.engine.table.lives {
                    ended.take(|life| lives.push(life));
                }
                let goes_on = self.print_lives(&lives, now)?;
                lives.clear();
                self.lives = Some(lives);
                goes_on
            }
        };
        Ok(goes_on && unless_closed(self.sink.flush())?)
    }

    fn print_changes(&mut self, now: Nanos) -> Result<bool, Failure> {
        // Ends that waited for their explanation come late; within a batch the order is that of time.
        self.changes.sort_by_key(|change| change.time);
        let changes = std::mem::take(&mut self.changes);
        for change in &changes {
            let told = Told {
                subject: Subject {
                    ends: &change.ends,
                    netns: change.netns,
                    states: &[change.old, change.new],
                    owner: None,
                },
                owner: change.owner,
                cookie: change.id.cookie,
            };
            if self.is_wanted(&told, now) {
                let line = self.change_line(change, now);
                if !unless_closed(self.sink.lines(&line))? {
                    return Ok(false);
                }
            }
        }
        self.changes = changes;
        self.changes.clear();
        Ok(true)
    }

    fn print_lives(&mut self, lives: &[Lifetime], now: Nanos) -> Result<bool, Failure> {
        for life in lives {
            let states: Vec<TcpState> = TcpState::ALL
                .into_iter()
                .filter(|state| life.spans[state.index()].is_some())
                .collect();
            let told = Told {
                subject: Subject {
                    ends: &life.ends,
                    netns: life.netns,
                    states: &states,
                    owner: None,
                },
                owner: life.owner,
                cookie: life.id.cookie,
            };
            if self.is_wanted(&told, now) {
                let line = self.life_line(life, now);
                if !unless_closed(self.sink.lines(&line))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a line is to be printed; counts it if so.
    fn is_wanted(&mut self, told: &Told<'_>, now: Nanos) -> bool {
        let is_full = self.limit.is_some_and(|limit| self.printed >= limit);
        if is_full || !self.filter.accepts_ends(&told.subject) {
            return false;
        }
        let shows_places = !self.is_narrow() || self.filter.asks_for_places();
        let Self { session, cgroups, .. } = self;
        let Engine { table, holders, .. } = &mut session.engine;
        if shows_places {
            let owner = told.owner.map(|owner| owner.process);
            let others = holders.of(told.cookie).iter().map(|(process, _)| *process);
            for process in owner.into_iter().chain(others) {
                table.processes.place(process, now, &mut |process| {
                    cgroups.place(process.key, process.cgroup, now)
                });
            }
        }
        let engine = &self.session.engine;
        let is_wanted = view::wanted_process(engine, told.owner, told.cookie, &self.filter).is_some();
        self.printed += u64::from(is_wanted);
        is_wanted
    }

    /// Whether places and names of namespaces are not shown.
    fn is_narrow(&self) -> bool {
        self.output.format == Format::Text { wide: false }
    }

    /// One line in the form that is wanted; `write` gets the namespace's name where it is shown.
    fn line(
        &mut self,
        netns: u32,
        now: Nanos,
        write: impl FnOnce(&Session, Option<&str>, Format, &TimeZone) -> String,
    ) -> String {
        let is_narrow = self.is_narrow();
        let name = if is_narrow {
            None
        } else {
            self.names.of(netns, now)
        };
        write(&self.session, name, self.output.format, &self.zone)
    }

    fn change_line(&mut self, change: &Change, now: Nanos) -> String {
        self.line(change.netns, now, |session, netns, format, zone| {
            let processes = &session.engine.table.processes;
            let anchor = session.anchor();
            match format {
                Format::Json => json::change(change, &session.engine, netns, &anchor),
                Format::Csv => csv::change(change, processes, netns, &anchor),
                Format::Text { wide } => text::change(change, processes, netns, &anchor, zone, wide),
            }
        })
    }

    fn life_line(&mut self, life: &Lifetime, now: Nanos) -> String {
        self.line(life.netns, now, |session, netns, format, zone| {
            let processes = &session.engine.table.processes;
            let anchor = session.anchor();
            match format {
                Format::Json => lifetimes::json(life, processes, netns, &anchor),
                Format::Csv => lifetimes::csv_line(life, processes, netns, &anchor),
                Format::Text { wide } => lifetimes::line(life, processes, &anchor, zone, wide),
            }
        })
    }

    fn end(&mut self, audit: bool) -> Result<(), Failure> {
        let Self {
            session,
            changes,
            filter,
            ..
        } = self;
        let mut emit = |change: &Change| changes.push(*change);
        let audit = if audit {
            Some(session.audit(&filter.netns, &mut emit)?)
        } else {
            None
        };
        session.stop(&mut emit);
        if !self.print()? {
            return Ok(());
        }
        let mut summary = self.session.summary(self.printed)?;
        summary.audit = audit;
        if self.output.format == Format::Json {
            unless_closed(
                self.sink
                    .lines(&json::summary(&summary))
                    .and_then(|()| self.sink.flush()),
            )?;
        } else {
            let what = if self.lives.is_some() {
                "connections"
            } else {
                "changes"
            };
            messages::print(closing_lines(&summary, what));
        }
        Ok(())
    }
}

/// The summary for people.
fn closing_lines(summary: &Summary, what: &str) -> String {
    let mut text = format!(
        "{} {what} in {}, {} lost, {} evicted\n",
        summary.printed,
        human(Nanos(summary.watched_ns)),
        summary.lost,
        summary.evicted
    );
    if !summary.dwells.is_empty() {
        let _ = writeln!(
            text,
            "{:<11} {:>9} {:>8} {:>8} {:>8}",
            "DWELL IN", "COUNT", "P50", "P99", "MAX"
        );
    }
    for (state, dwells) in &summary.dwells {
        let [p50, p99, max] = [dwells.p50_ns, dwells.p99_ns, dwells.max_ns].map(|ns| human(Nanos(ns)));
        let _ = writeln!(text, "{state:<11} {:>9} {p50:>8} {p99:>8} {max:>8}", dwells.count);
    }
    if let Some(audit) = &summary.audit {
        let _ = write!(
            text,
            "audit: {} sockets compared, {} differ",
            audit.compared, audit.differences
        );
        for (state, count) in &audit.by_state {
            let _ = write!(text, ", {count} in {state}");
        }
        text.push('\n');
    }
    text
}
