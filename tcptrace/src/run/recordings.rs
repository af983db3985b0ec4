//! Plays recordings up to a moment, for every command that reads them. Reports what cannot be read.

use super::{Failure, messages};
use crate::{
    event::Nanos,
    filter::Filter,
    options::{
        self,
        recording::{Moment, Span},
    },
    output::json::rfc3339,
    plural::counted,
    record::{
        entry::{Entry, Item},
        replay::Replay,
        run_stats::{Ending, RunStats},
        runs::{self, Run},
    },
    unseen::Unseen,
};
use std::{ops::ControlFlow, path::PathBuf};

/// Opens the files; those that give nothing are remarks of the first run.
pub(crate) fn open(paths: &[PathBuf]) -> Result<Vec<Run>, Failure> {
    let (runs, failures) = runs::open(paths);
    if runs.is_empty() {
        let reasons: Vec<String> = failures
            .iter()
            .map(|(path, error)| format!("{}: {error}", runs::named(path)))
            .collect();
        return Err(Failure::Other(anyhow::anyhow!("{}", reasons.join("\n"))));
    }
    Ok(runs)
}

/// A run that was played to the end of a span.
pub(crate) struct Played {
    /// The engine and the statistics of the run.
    pub(crate) replay: Replay,
    /// The moment that was reached.
    pub(crate) end: Nanos,
    /// Whether that is where the recording ends.
    is_to_end: bool,
    /// Why nothing can be reported of it, if so.
    nothing: Option<Nothing>,
}

/// Why a recording has nothing that was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Nothing {
    /// It does not have this time.
    Outside(String),
    /// No row of it can be read.
    Unreadable(String),
}

/// Which of several runs had something of what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    has_answer: bool,
    outside: Vec<String>,
    unreadable: Vec<String>,
    has_named: bool,
    unnamed: Vec<Unnamed>,
}

/// Why a run has nothing that a filter names.
#[derive(Debug)]
struct Unnamed {
    flags: Vec<&'static str>,
    problem: String,
    remedy: &'static str,
}

/// The flags that name processes and network namespaces in this filter.
fn flags_of(filter: &Filter) -> Vec<&'static str> {
    [
        ("-p", !filter.pids.is_empty()),
        ("-c", !filter.comms.is_empty()),
        ("-u", !filter.users.is_empty()),
        ("--container", !filter.containers.is_empty()),
        ("--cgroup", !filter.cgroups.is_empty()),
        ("-N", !filter.netns.is_empty()),
    ]
    .into_iter()
    .filter_map(|(flag, is_given)| is_given.then_some(flag))
    .collect()
}

impl Coverage {
    /// Records whether the run has what `filter` names: processes, containers, namespaces. `is_there`: this is
    /// known already, or cannot be: where a socket passes, or the run was not played to its end. Returns the answer.
    pub(crate) fn look_for(&mut self, filter: &Filter, replay: &Replay, is_there: bool, run: &Run) -> bool {
        if is_there || has_named(filter, replay) {
            self.has_named = true;
            return true;
        }
        let mut processes = replay.engine.table.processes.iter();
        self.unnamed.push(
            if !filter.users.is_empty() && processes.all(|process| process.uid.is_none()) {
                Unnamed {
                    flags: vec!["-u"],
                    problem: format!("{} has no user IDs: an earlier version wrote it", run.name()),
                    remedy: "select processes by -p or -c",
                }
            } else {
                Unnamed {
                    flags: flags_of(filter),
                    problem: format!("{} contains no such process or network namespace", run.name()),
                    remedy: "`tcptrace report FILE` lists the processes in a recording, `tcptrace export FILE` also their containers and network namespaces",
                }
            },
        );
        false
    }

    /// `None` where the run does not have the time that was asked for.
    pub(crate) fn of(&mut self, played: Played) -> Option<Played> {
        match &played.nothing {
            Some(Nothing::Outside(text)) => {
                self.outside.push(text.clone());
                return None;
            }
            Some(Nothing::Unreadable(text)) => self.unreadable.push(text.clone()),
            None => self.has_answer = true,
        }
        Some(played)
    }

    /// The same of a run that was played in another way.
    pub(crate) fn of_rows(&mut self, has_rows: bool, run: &Run) {
        if has_rows {
            self.has_answer = true;
        } else {
            self.unreadable.push(no_rows(run));
        }
    }

    /// Before the answer: names the runs that do not have the time on standard error. Fails if none has, or none has
    /// what the filter names: nothing more will come of it, as it may on a machine.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        if let (false, Some(text)) = (
            self.has_answer || !self.unreadable.is_empty(),
            self.outside.first(),
        ) {
            return Err(Failure::Usage(options::wrong(
                "--at, --from, --to",
                text.clone(),
                "give a time within the recording; `tcptrace report FILE` shows its start and end",
            )));
        }
        // Of what could not be read it is not known.
        if let (false, Some(unnamed)) = (
            self.has_named || !self.unreadable.is_empty(),
            self.unnamed.first(),
        ) {
            return Err(Failure::Usage(options::wrong(
                unnamed.flags.join(", "),
                unnamed.problem.clone(),
                unnamed.remedy,
            )));
        }
        for text in &self.outside {
            messages::tell(format_args!("not read: {text}"));
        }
        Ok(())
    }

    /// After the answer, which says itself what of a run was not read. Fails if no run has a row that can be read.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.unreadable.into_iter().next() {
            Some(text) if !self.has_answer => Err(Failure::Other(anyhow::anyhow!("{text}"))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a recording, or a connection of it that has ended, has the processes and network namespaces that are named.
fn has_named(filter: &Filter, replay: &Replay) -> bool {
    let Replay {
        engine, run_stats, ..
    } = replay;
    if engine.is_selecting() && engine.shown().changes() > 0 {
        return true;
    }
    let mut processes = engine.table.processes.iter();
    let is_process =
        !filter.asks_for_processes() || processes.any(|process| filter.accepts_process(&process.into()));
    let is_there =
        |netns: &u32| run_stats.covered.contains(netns) || engine.table.iter().any(|row| row.netns == *netns);
    is_process && (filter.netns.is_empty() || filter.netns.iter().any(is_there))
}

impl Played {
    /// Whether the run was played to where it ends, and not to where the span does.
    pub(crate) const fn is_to_end(&self) -> bool {
        self.is_to_end
    }

    /// What of the run was not read, or is not in it.
    pub(crate) fn remarks(&self, run: &Run) -> Vec<String> {
        remarks(run, &self.replay, self.is_to_end)
    }

    /// The same, and the gaps of the span: for results that have no field for them.
    pub(crate) fn remarks_and_gaps(&self, run: &Run) -> Vec<String> {
        remarks_and_gaps(run, &self.replay, self.is_to_end)
    }
}

/// What of a run was not read, or is not in it: a sentence each, for messages and for the result. Every command that
/// reads recordings asks here. `is_to_end` says whether it was played to where it ends.
pub(crate) fn remarks(run: &Run, replay: &Replay, is_to_end: bool) -> Vec<String> {
    let RunStats { latest, ending, .. } = replay.run_stats;
    let mut list = run.remarks();
    list.extend(replay.remark());
    if is_to_end && ending == Ending::Open {
        list.extend(run.open_end(&rfc3339(replay.run_stats.wall(latest))));
    }
    list
}

/// The same, and the gaps of the span.
pub(crate) fn remarks_and_gaps(run: &Run, replay: &Replay, is_to_end: bool) -> Vec<String> {
    let mut list = remarks(run, replay, is_to_end);
    let gaps = replay.run_stats.gaps - replay.beginning.gaps;
    if gaps > 0 {
        list.push(format!(
            "the recording has {}; entries known to be missing: {}",
            counted(gaps, "gap"),
            replay.run_stats.missing - replay.beginning.missing
        ));
    }
    list
}

/// The failure of a file that cannot be read further.
pub(crate) fn unreadable((path, error): (PathBuf, std::io::Error)) -> Failure {
    Failure::Other(anyhow::Error::new(error).context(runs::named(&path)))
}

/// Reports on standard error what [`remarks`] found.
pub(crate) fn print_remarks(remarks: &[String]) {
    for remark in remarks {
        messages::tell(format_args!("not read: {remark}"));
    }
}

/// Reports on standard error what the recorder could not see.
pub(crate) fn print_unseen(unseen: &[Unseen]) {
    for Unseen { text, .. } in unseen {
        messages::tell(format_args!("not seen: {text}"));
    }
}

/// Plays a run through `span`, with statistics of what `filter` lets pass; `each_batch` gets the engine and the books
/// after every batch of changes within it, and may break off.
pub(crate) fn play(
    run: &mut Run,
    span: Span,
    filter: &Filter,
    each_batch: &mut impl FnMut(&mut Replay) -> ControlFlow<()>,
) -> Result<Played, Failure> {
    play_from(Replay::new(&run.origin), run, span, filter, each_batch)
}

/// The same with an engine to which nothing was applied yet.
pub(crate) fn play_from(
    mut replay: Replay,
    run: &mut Run,
    span: Span,
    filter: &Filter,
    each_batch: &mut impl FnMut(&mut Replay) -> ControlFlow<()>,
) -> Result<Played, Failure> {
    replay.engine.select(filter, replay.run_stats.began);
    let mut has_begun = span.from.is_none();
    let mut end = None;
    // Where nobody takes more, nothing is known of where the recording ends.
    let mut is_left = false;
    let mut has_rows = false;
    let mut each = |item: Item<'_>| {
        let entry = match item {
            Item::Entry(entry) => entry,
            Item::Prefetch(socks) => {
                replay.engine.prefetch(socks);
                return ControlFlow::Continue(());
            }
        };
        has_rows |= is_row(entry);
        if let Some(time) = entry.time() {
            if span.to.is_some_and(|to| is_after(time, to, &replay.run_stats)) {
                end = Some(moment_time(span.to, &replay.run_stats, time));
                return ControlFlow::Break(());
            }
            if !has_begun
                && span
                    .from
                    .is_some_and(|from| !is_before(time, from, &replay.run_stats))
            {
                has_begun = true;
                replay.begin_span(moment_time(span.from, &replay.run_stats, time));
            }
        }
        if replay.ends_batch(entry) {
            replay.finish_batch();
            if has_begun {
                let flow = each_batch(&mut replay);
                is_left = flow.is_break();
                flow?;
            } else if let Some(lifetimes) = &mut replay.engine.table.lifetimes {
                lifetimes.take(drop);
            }
        }
        replay.apply(entry);
        ControlFlow::Continue(())
    };
    run.play(&mut each).map_err(unreadable)?;
    replay.end();
    if has_begun && !is_left {
        let _went_on = each_batch(&mut replay);
    }
    replay.engine.clear_batch();
    let is_to_end = end.is_none() && !is_left;
    let nothing = if !has_rows && end.is_none() {
        Some(Nothing::Unreadable(no_rows(run)))
    } else {
        if let (Some(from), Some(to)) = (span.from, span.to)
            && wall_of(from, &replay.run_stats) > wall_of(to, &replay.run_stats)
        {
            return Err(Failure::Usage(options::recording::nothing_between()));
        }
        outside(span, &replay.run_stats, has_begun, is_to_end).map(|words| {
            let why = run
                .remarks()
                .into_iter()
                .map(|remark| format!("; not read: {remark}"));
            Nothing::Outside(format!("{}: {words}{}", run.name(), why.collect::<String>()))
        })
    };
    let end = end.unwrap_or(replay.run_stats.latest);
    if !has_begun {
        replay.begin_span(end);
    }
    Ok(Played {
        replay,
        end,
        is_to_end,
        nothing,
    })
}

/// Where a span has nothing of a recording, from when to when that goes. `has_begun` says whether the span has, and
/// `is_to_end` whether the recording was played to its end.
fn outside(span: Span, run_stats: &RunStats, has_begun: bool, is_to_end: bool) -> Option<String> {
    let RunStats { began, latest, .. } = *run_stats;
    if span.to.is_some_and(|to| is_after(began, to, run_stats)) {
        return Some(format!(
            "the recording begins later, at {}",
            rfc3339(run_stats.wall(began))
        ));
    }
    let is_beyond = |moment| is_to_end && is_before(latest, moment, run_stats);
    let asked = if span.is_moment { span.to } else { None };
    if !has_begun && is_to_end || asked.is_some_and(is_beyond) {
        return Some(format!(
            "the recording ends earlier, at {}",
            rfc3339(run_stats.wall(latest))
        ));
    }
    None
}

/// Whether an entry was read from a row, and does not stand for something between rows.
pub(crate) const fn is_row(entry: &Entry) -> bool {
    !matches!(entry, Entry::Gap { .. } | Entry::Clock(_))
}

fn no_rows(run: &Run) -> String {
    let remarks = run.remarks();
    let why = if remarks.is_empty() {
        "it has none".to_owned()
    } else {
        remarks.join("; ")
    };
    format!("{}: no row could be read: {why}", run.name())
}

fn wall_of(moment: Moment, run_stats: &RunStats) -> u64 {
    match moment {
        Moment::Wall(wall) => wall,
        Moment::After(span) => run_stats.wall(run_stats.began.plus(span)),
    }
}

fn is_after(time: Nanos, moment: Moment, run_stats: &RunStats) -> bool {
    match moment {
        Moment::Wall(wall) => run_stats.wall(time) > wall,
        Moment::After(span) => time > run_stats.began.plus(span),
    }
}

fn is_before(time: Nanos, moment: Moment, run_stats: &RunStats) -> bool {
    match moment {
        Moment::Wall(wall) => run_stats.wall(time) < wall,
        Moment::After(span) => time < run_stats.began.plus(span),
    }
}

/// The monotonic time of a moment that `next` is beyond: of one that the wall clock has stepped over, as in a suspend,
/// that of the step.
fn moment_time(moment: Option<Moment>, run_stats: &RunStats, next: Nanos) -> Nanos {
    match moment {
        None => next,
        Some(Moment::After(span)) => run_stats.began.plus(span),
        Some(Moment::Wall(wall)) => {
            let beyond = run_stats.wall(next).saturating_sub(wall);
            Nanos(next.0.saturating_sub(beyond)).max(Nanos(run_stats.anchor(next).mono_ns))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::ClockPair;

    #[test]
    fn a_moment_within_a_suspend_is_when_the_host_went_to_sleep() {
        let at = |mono_ns, wall_ns| ClockPair { mono_ns, wall_ns };
        let mut run_stats = RunStats::new(at(1_000, 50_000));
        run_stats.note(&Entry::Clock(at(2_000, 90_000)));
        let moment = |wall, next| moment_time(Some(Moment::Wall(wall)), &run_stats, Nanos(next)).0;
        assert_eq!(moment(50_500, 1_900), 1_500);
        assert_eq!(moment(70_000, 2_400), 2_000);
        assert_eq!(moment(90_100, 2_400), 2_100);
    }
}
