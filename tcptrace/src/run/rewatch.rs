//! `tcptrace watch FILE`: on a terminal the live view; else the frames that a live `watch` would have printed, at any
//! speed.

use super::{Failure, confine, playback, quiet, replay_view, unless_closed, watch};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    options::{self, UsageError},
    outfile::Inputs,
    output::{frame, sink::Sink},
    record::{
        entry::{Entry, Told},
        ledger::Ledger,
        runs,
    },
    source::replay::Replay,
    view::{self, Context, Share},
};
use std::{ops::ControlFlow, path::Path, thread, time::Duration};

/// Shows the frames of the recordings, one run after the other.
///
/// # Errors
/// Wrong flags, recordings that give nothing, an output that cannot be written.
pub fn run(args: &WatchArgs) -> Result<(), Failure> {
    let filter = options::recording::filter(&args.filter, &args.state)?;
    let delay = options::seconds("--delay", args.delay)?;
    let pause = pause(delay, args.speed)?;
    let has_live_view = watch::has_live_view(args);
    confine::replay(&args.files, has_live_view.then_some(Path::new(".")));
    if has_live_view {
        return replay_view::run(args, filter, delay);
    }
    let mut sink = Sink::open(None, &Inputs::of(&args.files))?;
    let mut frames = 0;
    for mut run in playback::open(&args.files)? {
        let shortfalls = run.origin.shortfalls.clone();
        let mut replay = Replay::new(&run.origin);
        let mut film = Film::new(replay.ledger.began, delay);
        let mut result = Ok(true);
        let mut show = |replay: &mut Replay, now: Nanos, frame: Nanos, skipped: Option<Nanos>| {
            thread::sleep(pause);
            let context = Context {
                watched: now.since(replay.ledger.began),
                frame,
                lost: replay.ledger.lost,
                audit: None,
                scans: replay.ledger.scans,
                share: Share::default(),
                shortfalls: shortfalls.clone(),
            };
            let picture = view::build(&replay.engine, now, context, &filter, args.sort);
            replay.engine.stats.begin_frame();
            let note = skipped.map_or_else(String::new, |span| quiet::said(span) + "\n");
            let text = format!("{note}{}\n", frame::draw(&picture));
            result = unless_closed(sink.lines(&text).and_then(|()| sink.flush()));
            frames += 1;
            if matches!(result, Ok(true)) && args.count.is_none_or(|count| frames < count) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let mut is_over = false;
        let played = run.play(&mut |told: Told<'_>| {
            let Told::Entry(entry) = told else {
                return ControlFlow::Continue(());
            };
            while let Some(Due { now, skipped }) = film.is_due(entry, replay.ledger.latest) {
                let frame = film.step.plus(skipped.unwrap_or_default());
                if show(&mut replay, now, frame, skipped).is_break() {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            replay.apply(entry, &mut |_| {});
            ControlFlow::Continue(())
        });
        let is_to_end = !is_over;
        if is_to_end {
            replay.end(&mut |_| {});
            let end = replay.ledger.latest;
            let since = film.since_last(&replay.ledger, end);
            is_over = show(&mut replay, end, since, None).is_break();
        }
        played
            .map_err(|(path, error)| Failure::Other(anyhow::Error::new(error).context(runs::named(&path))))?;
        playback::say(&playback::remarks(&run, &replay, is_to_end));
        result?;
        if is_over {
            break;
        }
    }
    Ok(())
}

/// How long a frame stands. A speed of 0 waits for nothing.
fn pause(delay: Duration, speed: f64) -> Result<Duration, UsageError> {
    if speed == 0.0 {
        return Ok(Duration::ZERO);
    }
    Duration::try_from_secs_f64(delay.as_secs_f64() / speed).map_err(|_| {
        options::wrong(
            "--speed",
            format!("{speed:?} is no speed"),
            "give 1 for that of the recording, 10 for ten times as fast, 0 for no waiting at all",
        )
    })
}

/// When frames are due, in the recording's time.
struct Film {
    step: Nanos,
    next: Nanos,
    /// Whether a frame has shown what the latest entry left.
    is_shown: bool,
}

/// A frame that is due.
struct Due {
    /// The time that it shows.
    now: Nanos,
    /// How much before it is not shown.
    skipped: Option<Nanos>,
}

impl Film {
    fn new(began: Nanos, delay: Duration) -> Self {
        let step = Nanos(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        Self {
            step,
            next: began.plus(step),
            is_shown: false,
        }
    }

    /// The frame to show before the entry is taken in, if there is one; `latest` is when the entry before it was.
    fn is_due(&mut self, entry: &Entry, latest: Nanos) -> Option<Due> {
        let time = entry.time()?;
        if time <= self.next {
            self.is_shown = false;
            return None;
        }
        let skipped = if self.is_shown {
            quiet::skipped(latest, self.next, time, self.step)
        } else {
            None
        };
        let now = self.next.plus(skipped.unwrap_or_default());
        self.next = now.plus(self.step);
        self.is_shown = true;
        Some(Due { now, skipped })
    }

    fn since_last(&self, ledger: &Ledger, end: Nanos) -> Nanos {
        let last = Nanos(self.next.0.saturating_sub(self.step.0)).max(ledger.began);
        end.since(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_century_without_entries_takes_two_frames() {
        let began = Nanos::from_secs(100);
        let mut film = Film::new(began, Duration::from_secs(1));
        let mut latest = began;
        let mut shown = Vec::new();
        let century = 136 * 365 * 86_400;
        for seconds in [102, 102 + century, 103 + century, u64::MAX / 1_000_000_000] {
            let time = Nanos::from_secs(seconds);
            while let Some(due) = film.is_due(&Entry::Settled(time), latest) {
                shown.push((due.now.0 / 1_000_000_000, due.skipped.is_some()));
            }
            latest = time;
        }
        let last = u64::MAX / 1_000_000_000;
        assert_eq!(
            shown,
            [
                (101, false),
                (102, false),
                (101 + century, true),
                (102 + century, false),
                (103 + century, false),
                (last - 1, true),
            ]
        );
    }
}
