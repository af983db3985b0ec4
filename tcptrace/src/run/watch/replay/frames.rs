//! The plain form of a replay: the frames that a live `watch` would have printed.

use super::{
    context, nanos,
    schedule::{Due, Schedule, skip_note},
};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    filter::Filter,
    outfile::Inputs,
    output::{
        frame::{self, ProcessColumn},
        report,
        sink::Sink,
    },
    record::{entry::Item, replay::Replay},
    run::{Failure, ignore_broken_pipe, recordings},
    view,
};
use std::{ops::ControlFlow, thread, time::Duration};

/// Prints the frames of the recordings, one run after the other.
pub(super) fn print(
    args: &WatchArgs,
    filter: &Filter,
    delay: Duration,
    pause: Duration,
    columns: &[ProcessColumn],
) -> Result<(), Failure> {
    let mut sink = Sink::open(None, &Inputs::of(&args.files))?.shown(!args.json);
    let mut frames = 0;
    let mut coverage = recordings::Coverage::default();
    for mut run in recordings::open(&args.files)? {
        let limitations = run.origin.limitations.clone();
        let mut replay = Replay::new(&run.origin);
        replay.engine.select(filter, replay.run_stats.began);
        let step = nanos(delay);
        let mut schedule = Schedule::new(replay.run_stats.began.plus(step));
        let mut result = Ok(true);
        let mut has_selected = false;
        let mut show = |replay: &mut Replay, now: Nanos, skipped: Option<Nanos>| {
            thread::sleep(pause);
            let context = context(replay, &limitations, now);
            replay.finish_batch();
            let picture =
                view::build(&replay.engine, now, context, filter, args.sort).with_left_over_merged(args.sort);
            has_selected |= !picture.processes.is_empty();
            replay.engine.begin_frame(now);
            let note = skipped.map_or_else(String::new, |span| skip_note(span) + "\n");
            let text = if args.json {
                report::frame_json(&picture, replay.run_stats.wall(now), 0)
            } else {
                format!("{note}{}\n", frame::draw(&picture, frame::NOTHING_NOW, columns))
            };
            result = ignore_broken_pipe(sink.lines(&text).and_then(|()| sink.flush()));
            frames += 1;
            if matches!(result, Ok(true)) && args.count.is_none_or(|count| frames < count) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let mut is_over = false;
        let mut has_rows = false;
        let played = run.play(&mut |item: Item<'_>| {
            let Item::Entry(entry) = item else {
                return ControlFlow::Continue(());
            };
            has_rows |= recordings::is_row(entry);
            while let Some(Due { now, skipped }) = schedule.due(entry, replay.run_stats.latest, step) {
                if show(&mut replay, now, skipped).is_break() {
                    is_over = true;
                    return ControlFlow::Break(());
                }
                schedule.next = now.plus(step);
            }
            if replay.ends_batch(entry) {
                replay.finish_batch();
            }
            replay.apply(entry);
            ControlFlow::Continue(())
        });
        let is_to_end = !is_over;
        coverage.of_rows(has_rows || !is_to_end, &run);
        if is_to_end {
            replay.end();
            let end = replay.run_stats.latest;
            is_over = show(&mut replay, end, None).is_break();
        }
        played.map_err(recordings::unreadable)?;
        recordings::print_remarks(&recordings::remarks_and_gaps(&run, &replay, is_to_end));
        result?;
        // Where the frames were broken off, more might have come.
        coverage.look_for(filter, &replay, has_selected || !is_to_end, &run);
        if is_over {
            break;
        }
    }
    coverage.begin()?;
    coverage.end()
}
