//! `tcptrace watch`, the plain form: a frame every so often.

use super::{
    Failure,
    dump::{Dumper, Signalled},
    runtime,
    session::{Session, Wake},
    unless_closed,
};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    kernel::clock,
    options,
    output::{duration::human, frame, sink::Sink},
    source::cgroups::Cgroups,
    view::{self, Context},
};
use std::time::Duration;
use tokio::time::Instant;

/// Moves to the top left and clears what is below: ECMA-48 CUP and ED.
pub(super) const REDRAW: &str = "\x1b[H\x1b[J";

/// Shows frames until a signal or the count ends it.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub fn run(args: &WatchArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &args.state)?;
    let delay = options::seconds("--delay", args.delay)?;
    runtime()?.block_on(async {
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        let mut sink = Sink::open(None).map_err(Failure::Output)?;
        let redraw = sink.is_terminal() && !args.batch;
        let mut dumper = Dumper::new(&session, &filter, args.dump.as_deref())?;
        let mut cgroups = Cgroups::of_this_host();
        let mut frames = 0;
        let mut frame_began = session.started;
        // The first frame comes at once: what was there before is known already.
        let mut next = Instant::now() + Duration::from_millis(50).min(delay);
        loop {
            let woken = dumper.signalled_or(session.wait(Some(next))).await;
            session.pump(&mut |change| dumper.take(change))?;
            dumper.sort(&mut session);
            let wake = match woken {
                Signalled::Dump => {
                    dumper.write(&session);
                    continue;
                }
                Signalled::Not(wake) => wake,
            };
            if wake == Wake::Stop || sink.is_closed() {
                break;
            }
            if wake == Wake::Tick {
                continue;
            }
            next = Instant::now() + delay;
            let now = clock::monotonic();
            // A hook that does not fire is found out on the way.
            let shortfalls = session.shortfalls();
            let context = Context {
                watched: now.since(session.started),
                frame: now.since(frame_began),
                lost: session.lost(),
                audit: session.self_audit(&filter.netns, &mut |change| dumper.take(change))?,
                scans: session.scan_cost(),
                shortfalls: shortfalls.clone(),
            };
            if filter.asks_for_places() {
                let processes = &mut session.engine.table.processes;
                processes.place_all(now, &mut |process| {
                    cgroups.place(process.key, process.cgroup, now)
                });
            }
            let picture = view::build(&session.engine, now, context, &filter, args.sort);
            session.engine.stats.begin_frame();
            frame_began = now;
            let rows = if redraw { terminal_rows(&shortfalls) } else { None };
            let mut text = if redraw { REDRAW.to_owned() } else { String::new() };
            text.push_str(&frame::draw(&picture, rows, true));
            if !redraw {
                text.push('\n');
            }
            if !unless_closed(sink.lines(&text).and_then(|()| sink.flush()))? {
                return Ok(());
            }
            frames += 1;
            if args.count.is_some_and(|count| frames >= count) {
                break;
            }
        }
        session.stop(&mut |_| {});
        let summary = session.summary(frames)?;
        eprintln!(
            "{} changes in {}, {} lost, {} evicted",
            summary.changes,
            human(Nanos(summary.watched_ns)),
            summary.lost,
            summary.evicted
        );
        Ok(())
    })
}

/// Lines of the terminal that are left for processes.
pub(super) fn terminal_rows(shortfalls: &[String]) -> Option<usize> {
    const OTHER_LINES: usize = 5;
    let (_, lines) = options::terminal_size()?;
    (lines > 0).then(|| {
        usize::from(lines)
            .saturating_sub(OTHER_LINES + shortfalls.len())
            .max(1)
    })
}
