//! Plays recordings up to a moment, for every command that reads them. Says what cannot be read.

use super::{Failure, messages};
use crate::{
    connection::table::Change,
    event::Nanos,
    options::recording::{Moment, Span},
    output::json::rfc3339,
    record::{
        entry::{Entry, Told},
        ledger::{Ending, Ledger},
        runs::{self, Run},
    },
    report::Beginning,
    source::replay::Replay,
    stats::Stats,
};
use std::{ops::ControlFlow, path::PathBuf};

/// Opens the files; those that give nothing are named on standard error.
///
/// # Errors
/// Where none gives anything.
pub fn open(paths: &[PathBuf]) -> Result<Vec<Run>, Failure> {
    let (runs, failures) = runs::open(paths);
    if runs.is_empty() {
        let reasons: Vec<String> = failures
            .iter()
            .map(|(path, error)| format!("{}: {error}", runs::named(path)))
            .collect();
        return Err(Failure::Other(anyhow::anyhow!("{}", reasons.join("\n"))));
    }
    for (path, error) in failures {
        messages::tell(format_args!("not read: {}: {error}", runs::named(&path)));
    }
    Ok(runs)
}

/// Changes wait for the end of their drain, but no more than these.
const MOST_WAITING: usize = 65_536;

/// A run that was played to the end of a span.
pub struct Played {
    /// The engine and its books.
    pub replay: Replay,
    /// What had been counted when the span began.
    pub beginning: Beginning,
    /// The moment that was reached.
    pub end: Nanos,
    /// Whether that is where the recording ends.
    is_to_end: bool,
}

impl Played {
    /// What of the run was not read, or is not in it.
    #[must_use]
    pub fn remarks(&self, run: &Run) -> Vec<String> {
        remarks(run, &self.replay, self.is_to_end)
    }
}

/// What of a run was not read, or is not in it: a sentence each, for messages and for the result. Every command that
/// reads recordings asks here. `is_to_end` says whether it was played to where it ends.
#[must_use]
pub fn remarks(run: &Run, replay: &Replay, is_to_end: bool) -> Vec<String> {
    let Ledger { latest, ending, .. } = replay.ledger;
    let mut list = run.remarks();
    list.extend(replay.remark());
    if is_to_end && ending == Ending::Open {
        list.extend(run.open_end(&rfc3339(replay.ledger.wall(latest))));
    }
    list
}

/// Says on standard error what [`remarks`] found.
pub fn say(remarks: &[String]) {
    for remark in remarks {
        messages::tell(format_args!("not read: {remark}"));
    }
}

/// Plays a run through `span`; `emit` gets the changes within it, with the books as they
/// are then, and may break off.
///
/// # Errors
/// Where a file cannot be read further.
pub fn play(
    run: &mut Run,
    span: Span,
    emit: &mut impl FnMut(&Change, &Replay) -> ControlFlow<()>,
) -> Result<Played, Failure> {
    let mut replay = Replay::new(&run.origin);
    let mut beginning = Beginning::of_run(&replay.ledger);
    let mut has_begun = span.from.is_none();
    let mut end = None;
    // Where the processes of a drain run was found out, and recorded, after it: its changes are told with that known,
    // as the live commands do.
    let mut changes: Vec<Change> = Vec::new();
    let mut is_settled = false;
    // Where nobody takes more, nothing is known of where the recording ends.
    let mut is_left = false;
    let mut each = |told: Told<'_>| {
        let entry = match told {
            Told::Entry(entry) => entry,
            Told::Soon(socks) => {
                replay.foresee(socks);
                return ControlFlow::Continue(());
            }
        };
        if let Some(time) = entry.time() {
            if span.to.is_some_and(|to| is_after(time, to, &replay.ledger)) {
                end = Some(moment_time(span.to, &replay.ledger, time));
                return ControlFlow::Break(());
            }
            if !has_begun
                && span
                    .from
                    .is_some_and(|from| !is_before(time, from, &replay.ledger))
            {
                has_begun = true;
                let time = moment_time(span.from, &replay.ledger, time);
                replay.engine.stats = Stats::of_span(time);
                beginning = Beginning {
                    time,
                    events: replay.ledger.events,
                    tally: replay.engine.table.tally,
                };
            }
        }
        let is_next = matches!(entry, Entry::Event(_) | Entry::Settled(_) | Entry::Stopped(_));
        let is_over = is_settled && is_next;
        if is_over || changes.len() >= MOST_WAITING {
            is_settled = false;
            let flow = changes.drain(..).try_for_each(|change| emit(&change, &replay));
            is_left = flow.is_break();
            flow?;
        }
        is_settled |= matches!(entry, Entry::Settled(_));
        replay.apply(entry, &mut |change| {
            if has_begun {
                changes.push(*change);
            }
        });
        ControlFlow::Continue(())
    };
    run.play(&mut each)
        .map_err(|(path, error)| Failure::Other(anyhow::Error::new(error).context(runs::named(&path))))?;
    replay.end(&mut |change| {
        if has_begun {
            changes.push(*change);
        }
    });
    let _went_on = changes.drain(..).try_for_each(|change| emit(&change, &replay));
    let is_to_end = end.is_none() && !is_left;
    let end = end.unwrap_or(replay.ledger.latest);
    if !has_begun {
        beginning = Beginning {
            time: end,
            events: replay.ledger.events,
            tally: replay.engine.table.tally,
        };
        replay.engine.stats = Stats::of_span(end);
    }
    Ok(Played {
        replay,
        beginning,
        end,
        is_to_end,
    })
}

fn is_after(time: Nanos, moment: Moment, ledger: &Ledger) -> bool {
    match moment {
        Moment::Wall(wall) => ledger.wall(time) > wall,
        Moment::After(span) => time > ledger.began.plus(span),
    }
}

fn is_before(time: Nanos, moment: Moment, ledger: &Ledger) -> bool {
    match moment {
        Moment::Wall(wall) => ledger.wall(time) < wall,
        Moment::After(span) => time < ledger.began.plus(span),
    }
}

/// The monotonic time of a moment that `next` is beyond.
fn moment_time(moment: Option<Moment>, ledger: &Ledger, next: Nanos) -> Nanos {
    match moment {
        None => next,
        Some(Moment::After(span)) => ledger.began.plus(span),
        Some(Moment::Wall(wall)) => {
            let beyond = ledger.wall(next).saturating_sub(wall);
            Nanos(next.0.saturating_sub(beyond)).max(ledger.began)
        }
    }
}
