//! `tcptrace trace FILE…`: the changes of recordings, in the lines of a live run.

use super::{dwell_lines, subject::Subject, totals};
use crate::{
    cli::TraceArgs,
    connection::{
        change::Change,
        lifetime::{Lifetime, LifetimeTracker},
    },
    engine::Engine,
    event::TcpState,
    filter::Filter,
    kernel::clock::ClockPair,
    options::{self, Format, Output},
    outfile::Inputs,
    output::{
        json,
        loss::Loss,
        printer::{Printer, Rows},
        recorded::{self, Summary},
        row::Line,
        services::Services,
        sink::{Sink, SinkError},
    },
    record::replay::Replay,
    run::{
        Failure, confine, ignore_broken_pipe, messages,
        recordings::{self, Coverage},
    },
    stats::Stats,
    summary::Dwells,
};
use std::{fmt::Write as _, ops::ControlFlow};

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
        head: String::new(),
        stats: Box::default(),
        written: Ok(()),
    };
    if output.header {
        listing.head = listing.printer.titles(rows);
    }
    let mut coverage = Coverage::default();
    // Of runs that have nothing of what the filter names, printed unless that is all of them.
    let mut others = Vec::new();
    for mut run in runs {
        let head = listing.head.len();
        if output.format == Format::Json {
            listing.head += &json::recorded_header(&run.origin);
        } else if has_several && output.is_text() {
            let _ = writeln!(listing.head, "# {}: {}", run.origin.host, run.name());
        }
        listing.lost = 0;
        let before = listing.printed;
        let mut replay = Replay::new(&run.origin);
        replay.engine.table.lifetimes = args.lifetimes.then(LifetimeTracker::default);
        let host = run.origin.host.clone();
        let played = recordings::play_from(replay, &mut run, span, &filter, &mut |replay| {
            listing.batch(replay, &host);
            listing.flow()
        })?;
        let Some(played) = coverage.of(played) else {
            listing.head.truncate(head);
            continue;
        };
        let count = listing.printed - before;
        let is_there = count > 0 || !played.is_to_end();
        let has_named = coverage.look_for(&filter, &played.replay, is_there, &run);
        let mut summary = Summary {
            watched_ns: played.end.since(played.replay.beginning.time).0,
            printed: count,
            lost: played.replay.lost_in_span(),
            remarks: played.remarks_and_gaps(&run),
            dwells: Dwells::by_state(&std::mem::take(&mut listing.stats)),
        };
        let states = &filter.states;
        summary
            .dwells
            .retain(|state, _| states.is_empty() || states.contains(state));
        if has_named {
            listing.end(&summary, output.format);
        } else {
            let head = listing.head.split_off(head.min(listing.head.len()));
            others.push((head, summary));
        }
        if listing.flow().is_break() {
            break;
        }
    }
    coverage.begin()?;
    for (head, summary) in others {
        listing.head += &head;
        listing.end(&summary, output.format);
    }
    let Listing {
        mut sink, written, ..
    } = listing;
    ignore_broken_pipe(written.and_then(|()| sink.finish()))?;
    coverage.end()
}

/// The summary for people.
fn closing_lines(summary: &Summary, rows: Rows) -> String {
    let mut text = totals(rows, summary.printed, summary.watched_ns, summary.lost) + "\n";
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
    /// How many losses of the recording are reported.
    lost: u64,
    /// Counts of the printed changes of the recording.
    stats: Box<Stats>,
    /// Titles and headers that come before the next line.
    head: String,
    written: Result<(), SinkError>,
}

impl Listing<'_> {
    fn write(&mut self, text: &str) {
        if self.written.is_ok() {
            let head = std::mem::take(&mut self.head);
            self.written = self.sink.lines(&(head + text));
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

    fn batch(&mut self, replay: &mut Replay, host: &str) {
        let now = replay.run_stats.latest;
        let anchor = replay.run_stats.anchor(now);
        let total = replay.lost_in_span();
        if total > self.lost {
            let loss = Loss {
                time: now,
                lost: total - self.lost,
                dropped: 0,
            };
            self.lost = total;
            self.write(&self.printer.loss(&loss, self.rows, &anchor));
        }
        let mut ended = Vec::new();
        let is_of_lifetimes = if let Some(tracker) = &mut replay.engine.table.lifetimes {
            tracker.take(|lifetime| ended.push(lifetime));
            true
        } else {
            false
        };
        let from = Batch {
            engine: &replay.engine,
            host,
            anchor: &anchor,
        };
        if is_of_lifetimes {
            for lifetime in &ended {
                self.lifetime(lifetime, &from);
            }
        } else {
            for change in replay.engine.batch() {
                self.change(change, &from);
            }
        }
    }

    fn change(&mut self, change: &Change, from: &Batch<'_>) {
        let states = change.states();
        let subject = Subject::of_change(change, &states);
        if self.is_wanted(&subject, from) {
            self.stats.count(change);
            self.write(&self.printer.change(&from.line(change, &subject)));
            self.printed += 1;
        }
    }

    fn lifetime(&mut self, lifetime: &Lifetime, from: &Batch<'_>) {
        let states: Vec<TcpState> = lifetime.states().collect();
        let subject = Subject::of_lifetime(lifetime, &states);
        if self.is_wanted(&subject, from) {
            self.write(&self.printer.lifetime(&from.line(lifetime, &subject)));
            self.printed += 1;
        }
    }

    fn is_wanted(&self, subject: &Subject<'_>, from: &Batch<'_>) -> bool {
        !self.is_full() && subject.is_accepted(from.engine, self.filter)
    }

    /// Ends what is printed of a recording.
    fn end(&mut self, summary: &Summary, format: Format) {
        recordings::print_remarks(&summary.remarks);
        if format == Format::Json {
            self.write(&recorded::summary(summary));
        } else {
            self.write("");
            messages::print(closing_lines(summary, self.rows));
        }
    }
}

/// What the lines of a batch have in common.
struct Batch<'a> {
    engine: &'a Engine,
    host: &'a str,
    anchor: &'a ClockPair,
}

impl Batch<'_> {
    /// A line; recordings do not have the names of network namespaces.
    fn line<'l, T>(&'l self, of: &'l T, subject: &Subject<'_>) -> Line<'l, T> {
        Line {
            of,
            owner: subject.owner,
            engine: self.engine,
            host: Some(self.host),
            netns_name: None,
            anchor: self.anchor,
        }
    }
}
