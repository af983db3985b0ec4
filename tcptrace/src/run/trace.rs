//! `tcptrace trace`: a line for each change of state.

use super::{
    Failure, ended,
    losses::Alarm,
    messages, runtime,
    session::{Session, Wake},
    signals, stream, unless_closed, zone,
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
    output::{
        csv,
        duration::human,
        header::Summary,
        json, lifetimes,
        loss::{self, Loss},
        sink::Sink,
        stream::{Ending, Stream},
        text,
    },
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
        if args.lifetimes {
            session.engine.table.lives = Some(Lives::default());
        }
        session.confine(output.file.as_deref(), false);
        sink.begin()?;
        let stream = stream(sink, most_waiting(settings.buffer_bytes))?;
        let deadline = duration.map(|span| Instant::now() + span);
        let tracing = Tracing {
            session,
            stream,
            losses: Losses::default(),
            filter,
            output,
            zone: zone(),
            cgroups: Cgroups::of_this_host(),
            names: Names::default(),
            limit: args.count,
            changes: Vec::new(),
            lives: args.lifetimes.then(Vec::new),
        };
        tracing.run(deadline, args.audit).await
    })
}

/// What may wait for the reader is bounded by so many times the kernel's buffer: a record of 152 bytes is a line of some
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

/// What the stream was told of losses.
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
    output: Output,
    zone: TimeZone,
    cgroups: Cgroups,
    names: Names,
    limit: Option<u64>,
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
    async fn run(mut self, deadline: Option<Instant>, audit: bool) -> Result<(), Failure> {
        if !self.begin()? {
            return Ok(());
        }
        while self.limit.is_none_or(|limit| self.stream.printed() < limit) {
            let wake = self.session.wait(deadline).await;
            let Self {
                session,
                changes,
                filter,
                ..
            } = &mut self;
            let mut emit = |change: &Change| changes.push(*change);
            session.pump(&mut emit)?;
            session.self_audit(&filter.netns, &mut emit)?;
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
        unless_closed(self.stream.note(&line).and_then(|()| self.stream.hand_over()))
    }

    /// Prints what is new, after what was lost before it. `false` where the reader has gone.
    fn print(&mut self) -> Result<bool, Failure> {
        let now = clock::monotonic();
        let resumes = self.stream.resumes();
        if (resumes || self.session.lost() != self.losses.lost) && !self.stream.is_dropping() {
            let line = self.loss_line(now);
            if !unless_closed(self.stream.note(&line))? {
                return Ok(false);
            }
        }
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
        let goes_on = goes_on && unless_closed(self.stream.hand_over())?;
        if let Some(new) = self.losses.alarm.due(self.stream.dropped(), now) {
            messages::tell(format_args!(
                "{new} lines were dropped: whoever reads them does not keep up; filters print less, and record keeps everything"
            ));
        }
        Ok(goes_on)
    }

    /// What was lost since this was last asked.
    fn loss_line(&mut self, now: Nanos) -> String {
        let told = Loss {
            time: now,
            lost: self.session.lost(),
            dropped: self.stream.dropped(),
        };
        let loss = Loss {
            lost: told.lost - self.losses.lost,
            dropped: told.dropped - self.losses.dropped,
            ..told
        };
        self.losses.lost = told.lost;
        self.losses.dropped = told.dropped;
        let anchor = self.session.anchor();
        match self.output.format {
            Format::Json => loss::json(&loss, &anchor),
            Format::Csv if self.lives.is_some() => loss::csv(&loss, lifetimes::CSV_TITLES, &anchor),
            Format::Csv => loss::csv(&loss, csv::TITLES, &anchor),
            Format::Text { .. } => loss::line(&loss, &anchor, &self.zone),
        }
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
                let line = if self.stream.is_dropping() {
                    String::new()
                } else {
                    self.change_line(change, now)
                };
                if !unless_closed(self.stream.line(&line))? {
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
                let line = if self.stream.is_dropping() {
                    String::new()
                } else {
                    self.life_line(life, now)
                };
                if !unless_closed(self.stream.line(&line))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a line is to be printed.
    fn is_wanted(&mut self, told: &Told<'_>, now: Nanos) -> bool {
        let is_full = self.limit.is_some_and(|limit| self.stream.printed() >= limit);
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
        view::wanted_process(engine, told.owner, told.cookie, &self.filter).is_some()
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

    fn end(mut self, audit: bool) -> Result<(), Failure> {
        let Self {
            session,
            changes,
            filter,
            ..
        } = &mut self;
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
        let mut summary = self.session.summary(self.stream.printed())?;
        summary.dropped = self.stream.dropped();
        summary.audit = audit;
        let mut last = String::new();
        if summary.lost != self.losses.lost || summary.dropped != self.losses.dropped {
            last = self.loss_line(clock::monotonic());
        }
        if self.output.format == Format::Json {
            last.push_str(&json::summary(&summary));
        }
        self.session.release_signals();
        let ending = self.stream.finish(&last, signals::patience());
        if self.output.format != Format::Json && !matches!(ending, Ok(Ending::Closed)) {
            let what = if self.lives.is_some() {
                "connections"
            } else {
                "changes"
            };
            messages::print(closing_lines(&summary, what));
        }
        ended(ending)
    }
}

/// The summary for people.
fn closing_lines(summary: &Summary, what: &str) -> String {
    let mut text = format!(
        "{} {what} in {}, {} lost, {} evicted",
        summary.printed,
        human(Nanos(summary.watched_ns)),
        summary.lost,
        summary.evicted
    );
    if summary.dropped > 0 {
        let _ = write!(text, ", {} dropped", summary.dropped);
    }
    let _ = writeln!(text, "; {}", summary.usage.words());
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
