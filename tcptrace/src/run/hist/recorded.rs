//! One recording of `tcptrace hist FILE…`: played, counted, and written interval by interval where that is wanted.

use crate::{
    duration::human,
    engine::collector::Collector,
    event::Nanos,
    filter::Filter,
    options::{HistOptions, recording::Span},
    output::{
        hist::{self, Picture, hlog},
        json::rfc3339,
        sink::Sink,
    },
    plural::{counted, is},
    record::{replay::Replay, run_stats::RunStats, runs::Run},
    run::{
        Failure, ignore_broken_pipe, messages,
        recordings::{self, Coverage, Played},
    },
    stats::{measure::Measure, report::Report},
    unseen::Unseen,
};
use serde::Serialize;
use std::{ops::ControlFlow, time::Duration};

/// Maximum number of consecutive empty intervals that are written; of more, none is. A log has the time of each interval.
const MOST_EMPTY: u64 = 3_600;

/// What was gathered of one run, and what of it is missing.
#[derive(Serialize)]
pub(super) struct ReplayedRun {
    pub(super) host: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) watched_ns: Nanos,
    pub(super) changes: u64,
    pub(super) lost: u64,
    pub(super) evicted: u64,
    pub(super) gaps: u32,
    pub(super) missing_entries: u64,
    pub(super) remarks: Vec<String>,
    pub(super) unseen: Vec<Unseen>,
    /// Whether intervals that are written already had anything.
    #[serde(skip)]
    pub(super) has_written: bool,
    #[serde(skip)]
    pub(super) report: Report,
    #[serde(skip)]
    pub(super) start_wall_ns: u64,
}

impl ReplayedRun {
    pub(super) fn print_notes(&self) {
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
            "{host}: {} in {watched}, {lost} lost, {evicted} evicted, {}\n",
            counted(*changes, "change"),
            counted(*gaps, "gap"),
        ));
        recordings::print_remarks(&self.remarks);
        recordings::print_unseen(&self.unseen);
    }
}

/// Plays one run and counts its changes. The log of a single run is written on the way, interval by interval.
pub(super) fn gather(
    run: &mut Run,
    span: Span,
    filter: &Filter,
    wanted: &HistOptions,
    coverage: &mut Coverage,
    sink: &mut Sink,
) -> Result<Option<ReplayedRun>, Failure> {
    let mut gathering = RunReplay {
        measures: hist::measures(&wanted.states),
        host: run.origin.host.clone(),
        span,
        filter,
        wanted,
        open: None,
        skipped: 0,
        has_written: false,
    };
    let mut result = Ok(());
    let played = recordings::play(run, span, &Filter::default(), &mut |replay| {
        if result.is_ok() {
            result = gathering.count(replay, sink);
        }
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    result?;
    let Some(played) = coverage.of(played) else {
        return Ok(None);
    };
    let mut remarks = played.remarks(run);
    let is_to_end = played.is_to_end();
    let Played { replay, end, .. } = played;
    let beginning = replay.beginning;
    let mut report = Report::default();
    if gathering.is_log() {
        gathering.write_until(end, &replay, sink)?;
        let open = gathering.open(&replay);
        let last = open.collector.report(&replay.engine, end);
        let (from, began) = (open.since, open.began);
        if from == began {
            gathering.write_heading(replay.run_stats.wall(began), sink)?;
        }
        gathering.write(last, from, end.since(from), sink)?;
    } else {
        let open = gathering.open(&replay);
        report = open.collector.report(&replay.engine, end);
        report.name_host(&gathering.host);
    }
    let has_selected = gathering.has_written || !gathering.picture(&report).is_empty();
    coverage.look_for(filter, &replay, has_selected || !is_to_end, run);
    let RunStats { gaps, missing, .. } = replay.run_stats;
    if gathering.skipped > 0 {
        remarks.push(format!(
            "{} without a change {} omitted from the log: nothing was recorded for that long, or its times are invalid",
            counted(gathering.skipped, "interval"),
            is(gathering.skipped)
        ));
    }
    Ok(Some(ReplayedRun {
        host: gathering.host,
        from: rfc3339(replay.run_stats.wall(beginning.time)),
        to: rfc3339(replay.run_stats.wall(end)),
        watched_ns: end.since(beginning.time),
        changes: replay.engine.table.tally.changes - beginning.tally.changes,
        lost: replay.lost_in_span(),
        evicted: replay.engine.table.tally.evicted - beginning.tally.evicted,
        gaps: gaps - beginning.gaps,
        missing_entries: missing - beginning.missing,
        remarks,
        unseen: run.origin.unseen(),
        has_written: gathering.has_written,
        report,
        start_wall_ns: replay.run_stats.wall(beginning.time),
    }))
}

/// One run, while it is played.
struct RunReplay<'a> {
    measures: Vec<Measure>,
    host: String,
    span: Span,
    filter: &'a Filter,
    wanted: &'a HistOptions,
    open: Option<Interval>,
    /// Intervals that were left out.
    skipped: u64,
    /// Whether an interval that was written had anything.
    has_written: bool,
}

/// What is gathered since the last lines of a log, or since the span began.
struct Interval {
    collector: Collector,
    began: Nanos,
    since: Nanos,
}

impl RunReplay<'_> {
    /// Whether its log is written while it is played.
    const fn is_log(&self) -> bool {
        self.wanted.interval.is_some()
    }

    fn count(&mut self, replay: &Replay, sink: &mut Sink) -> Result<(), Failure> {
        self.write_until(replay.run_stats.latest, replay, sink)?;
        self.open(replay).collector.count(&replay.engine);
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
                self.write_heading(replay.run_stats.wall(began), sink)?;
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
        let picture = self.picture(&report);
        let is_empty = picture.is_empty();
        let began = self.open.as_ref().map_or(since, |open| open.began);
        let lines = hlog::interval(&picture, since.since(began), length);
        self.has_written |= !is_empty;
        ignore_broken_pipe(sink.lines(&lines))?;
        Ok(())
    }

    fn picture<'a>(&'a self, report: &'a Report) -> Picture<'a> {
        Picture {
            report,
            measures: &self.measures,
            watched: None,
            top: 0,
        }
    }

    fn write_heading(&self, start_wall_ns: u64, sink: &mut Sink) -> Result<(), Failure> {
        let heading = hlog::heading(&hlog::Heading {
            host: &self.host,
            by: self.wanted.by,
            start_wall_ns,
        });
        ignore_broken_pipe(sink.lines(&heading))?;
        Ok(())
    }

    fn open(&mut self, replay: &Replay) -> &mut Interval {
        self.open.get_or_insert_with(|| {
            let watched_from = replay.engine.stats.watched_from.unwrap_or(replay.run_stats.began);
            // A span is watched from where it begins, a run from its first snapshot or event.
            let began = if self.span.from.is_some() {
                watched_from
            } else {
                replay.run_stats.began
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
