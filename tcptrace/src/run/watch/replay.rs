//! `tcptrace watch FILE`: on a terminal the live view; else the frames that a live `watch` would have printed, at any
//! speed.

mod frames;
mod schedule;
mod view;

use super::{columns, has_live_view};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    options::{self, UsageError},
    record::replay::Replay,
    run::{Failure, confine},
    view::{Context, Share},
};
use std::{path::Path, time::Duration};

/// Shows the recordings, one run after the other.
pub(super) fn run(args: &WatchArgs) -> Result<(), Failure> {
    let filter = options::recording::filter(&args.filter, &args.state)?;
    let delay = args.delay;
    let pause = pause(delay, args.speed).ok_or_else(|| invalid_speed(args.speed))?;
    let has_live_view = has_live_view(args);
    let columns = columns(args)?;
    confine::replay(&args.files, has_live_view.then_some(Path::new(".")));
    if has_live_view {
        view::run(args, filter, delay)
    } else {
        frames::print(args, &filter, delay, pause, &columns)
    }
}

/// How long a frame is shown. A speed of 0 waits for nothing. `None` where that is longer than can be counted.
fn pause(delay: Duration, speed: f64) -> Option<Duration> {
    if speed == 0.0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(delay.as_secs_f64() / speed).ok()
}

fn invalid_speed(speed: f64) -> UsageError {
    options::wrong(
        "--speed",
        format!("invalid speed {speed:?}"),
        "give 1 for real time, 10 for ten times as fast, 0 for no waiting",
    )
}

/// What a frame shows of the run itself.
fn context(replay: &Replay, limitations: &[String], now: Nanos) -> Context {
    let run_stats = &replay.run_stats;
    Context {
        watched: now.since(run_stats.began),
        lost: replay.lost_in_span(),
        audit: None,
        scans: run_stats.scans,
        share: Share::default(),
        limitations: limitations.to_vec(),
    }
}

fn nanos(delay: Duration) -> Nanos {
    Nanos(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}
