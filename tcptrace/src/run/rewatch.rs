//! `tcptrace watch FILE`: on a terminal the live view; else the frames that a live `watch` would have printed, at any
//! speed.

use super::{Failure, confine, messages, playback, replay_view, unless_closed, watch};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    options::{self, UsageError},
    outfile::Inputs,
    output::{frame, sink::Sink},
    record::{
        entry::{Entry, Told},
        ledger::Ledger,
    },
    source::replay::Replay,
    view::{self, Context},
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
        let mut film = Film {
            step: Nanos(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
            next: replay.ledger.began,
        };
        film.next = film.next.plus(film.step);
        let mut result = Ok(true);
        let mut show = |replay: &mut Replay, now: Nanos, frame: Nanos| {
            thread::sleep(pause);
            let context = Context {
                watched: now.since(replay.ledger.began),
                frame,
                lost: replay.ledger.lost,
                audit: None,
                scans: replay.ledger.scans,
                shortfalls: shortfalls.clone(),
            };
            let picture = view::build(&replay.engine, now, context, &filter, args.sort);
            replay.engine.stats.begin_frame();
            let text = format!("{}\n", frame::draw(&picture));
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
            while let Some(now) = film.is_due(entry) {
                if show(&mut replay, now, film.step).is_break() {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            replay.apply(entry, &mut |_| {});
            ControlFlow::Continue(())
        });
        if !is_over {
            replay.end(&mut |_| {});
            let end = replay.ledger.latest;
            let since = film.since_last(&replay.ledger, end);
            is_over = show(&mut replay, end, since).is_break();
        }
        played.map_err(|(path, error)| {
            Failure::Other(anyhow::Error::new(error).context(path.display().to_string()))
        })?;
        for remark in run.remarks() {
            messages::tell(format_args!("not read: {remark}"));
        }
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
}

impl Film {
    /// The time of the frame to show before the entry is taken in, if there is one.
    fn is_due(&mut self, entry: &Entry) -> Option<Nanos> {
        let now = self.next;
        if entry.time()? <= now {
            return None;
        }
        self.next = now.plus(self.step);
        Some(now)
    }

    fn since_last(&self, ledger: &Ledger, end: Nanos) -> Nanos {
        let last = Nanos(self.next.0.saturating_sub(self.step.0)).max(ledger.began);
        end.since(last)
    }
}
