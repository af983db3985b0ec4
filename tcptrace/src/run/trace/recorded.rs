//! `tcptrace trace FILE…`: the changes of recordings, in the lines of a live run.

use super::dwell_lines;
use crate::{
    cli::TraceArgs,
    connection::{
        change::Change,
        lifetime::{Lifetime, LifetimeTracker},
    },
    duration::human,
    event::{Endpoints, Nanos, TcpState},
    filter::{Filter, FilterInput},
    kernel::clock::ClockPair,
    options::{self, Format, Output},
    outfile::Inputs,
    output::{
        loss::Loss,
        printer::{Printer, Rows},
        recorded::{self, Summary},
        row::Line,
        services::Services,
        sink::{Sink, SinkError},
    },
    owner::policy::Owner,
    plural::counted,
    record::replay::Replay,
    run::{
        Failure, confine, ignore_broken_pipe, messages,
        recordings::{self, Coverage},
    },
    stats::Stats,
    summary::Dwells,
};
use std::ops::ControlFlow;

/// Prints the recordings one after another, until the count ends it.
pub(super) fn run(
    args: &TraceArgs,
    output: &Output,
    rows: Rows,
    ports: Services,
    printer: Box<dyn Printer>,
) -> Result<(), Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &args.state)?;
    confine::replay(&args.files, output.file.as_deref());
    let sink = Sink::open(output.file.as_deref(), &Inputs::of(&args.files))?
        .shown(output.is_text())
        .naming(ports);
    let runs = recordings::open(&args.files)?;
    let has_several = runs.len() > 1;
    let mut listing = Listing {
        printer,
        filter: &filter,
        rows,
        sink,
        limit: args.count,
        printed: 0,
        lost: 0,
        stats: Box::default(),
        written: Ok(()),
    };
    if output.header {
        listing.write(&listing.printer.titles(rows));
    }
    let mut coverage = Coverage::default();
    for mut run in runs {
        if output.format == Format::Json {
            listing.write(&recorded::header(&run.origin));
        } else if has_several && output.is_text() {
            listing.write(&format!("# {}: {}\n", run.origin.host, run.name()));
        }
        listing.lost = 0;
        let before = listing.printed;
        let mut replay = Replay::new(&run.origin);
        replay.engine.table.lifetimes = args.lifetimes.then(LifetimeTracker::default);
        let played = recordings::play_from(replay, &mut run, span, &filter, &mut |replay| {
            listing.batch(replay);
            listing.flow()
        })?;
        let Some(played) = coverage.of(played) else {
            continue;
        };
        let count = listing.printed - before;
        coverage.look_for(&filter, &played.replay, count > 0 || !played.is_to_end(), &run);
        let mut summary = Summary {
            watched_ns: played.end.since(played.beginning.time).0,
            printed: count,
            lost: played.replay.run_stats.lost,
            remarks: played.remarks(&run),
            dwells: Dwells::by_state(&std::mem::take(&mut listing.stats)),
        };
        let states = &filter.states;
        summary
            .dwells
            .retain(|state, _| states.is_empty() || states.contains(state));
        recordings::print_remarks(&summary.remarks);
        if output.format == Format::Json {
            listing.write(&recorded::summary(&summary));
        } else {
            messages::print(closing_lines(&summary, rows));
        }
        if listing.flow().is_break() {
            break;
        }
    }
    coverage.begin()?;
    let Listing {
        mut sink, written, ..
    } = listing;
    ignore_broken_pipe(written.and_then(|()| sink.finish()))?;
    coverage.end()
}

/// The summary for people.
fn closing_lines(summary: &Summary, rows: Rows) -> String {
    let mut text = format!(
        "{} in {}, {} lost\n",
        counted(summary.printed, rows.name()),
        human(Nanos(summary.watched_ns)),
        summary.lost
    );
    dwell_lines(&mut text, &summary.dwells);
    text
}

/// The selected lines, on their way to the output.
struct Listing<'a> {
    printer: Box<dyn Printer>,
    filter: &'a Filter,
    rows: Rows,
    sink: Sink,
    limit: Option<u64>,
    printed: u64,
    /// Losses of the recording that are reported.
    lost: u64,
    /// Counts of the printed changes of the recording.
    stats: Box<Stats>,
    written: Result<(), SinkError>,
}

/// What of a line the filters match, besides the states.
struct Subject<'a> {
    endpoints: &'a Endpoints,
    netns: u32,
    owner: Option<Owner>,
    cookie: u64,
}

impl Listing<'_> {
    fn write(&mut self, text: &str) {
        if self.written.is_ok() {
            self.written = self.sink.lines(text);
        }
    }

    /// Whether there is more to write, and somebody to take it.
    fn flow(&self) -> ControlFlow<()> {
        if self.written.is_ok() && !self.is_full() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.printed >= limit)
    }

    fn batch(&mut self, replay: &mut Replay) {
        let now = replay.run_stats.latest;
        let anchor = replay.run_stats.anchor(now);
        let total = replay.run_stats.lost;
        if total > self.lost {
            let loss = Loss {
                time: now,
                lost: total - self.lost,
                dropped: 0,
            };
            self.lost = total;
            self.write(&self.printer.loss(&loss, self.rows, &anchor));
        }
        if let Some(tracker) = &mut replay.engine.table.lifetimes {
            let mut ended = Vec::new();
            tracker.take(|lifetime| ended.push(lifetime));
            for lifetime in &ended {
                self.lifetime(lifetime, replay, &anchor);
            }
        } else {
            for change in replay.engine.batch() {
                self.change(change, replay, &anchor);
            }
        }
    }

    fn change(&mut self, change: &Change, replay: &Replay, anchor: &ClockPair) {
        let mut change = *change;
        if change.endpoints.local_port == 0
            && let Some(endpoints) = replay.engine.table.endpoints_of(change.id)
        {
            change.endpoints = endpoints;
        }
        let subject = Subject {
            endpoints: &change.endpoints,
            netns: change.netns,
            owner: change.owner,
            cookie: change.id.cookie,
        };
        if self.is_wanted(&subject, &[change.old, change.new], replay) {
            self.stats.count(&change);
            self.write(&self.printer.change(&line(&change, &subject, replay, anchor)));
            self.printed += 1;
        }
    }

    fn lifetime(&mut self, lifetime: &Lifetime, replay: &Replay, anchor: &ClockPair) {
        let states: Vec<TcpState> = lifetime.states().collect();
        let subject = Subject {
            endpoints: &lifetime.endpoints,
            netns: lifetime.netns,
            owner: lifetime.owner,
            cookie: lifetime.id.cookie,
        };
        if self.is_wanted(&subject, &states, replay) {
            self.write(&self.printer.lifetime(&line(lifetime, &subject, replay, anchor)));
            self.printed += 1;
        }
    }

    fn is_wanted(&self, subject: &Subject<'_>, states: &[TcpState], replay: &Replay) -> bool {
        let Subject {
            endpoints,
            netns,
            owner,
            cookie,
        } = *subject;
        let ends = FilterInput {
            endpoints,
            netns,
            states,
            owner: None,
        };
        !self.is_full()
            && self.filter.accepts_ends(&ends)
            && replay
                .engine
                .accepted_process(owner, cookie, self.filter)
                .is_some()
    }
}

/// A line; recordings do not have the names of network namespaces.
fn line<'a, T>(of: &'a T, subject: &Subject<'_>, replay: &'a Replay, anchor: &'a ClockPair) -> Line<'a, T> {
    Line {
        of,
        owner: subject.owner,
        engine: &replay.engine,
        netns_name: None,
        anchor,
    }
}
