//! `tcptrace watch`: the live view on a terminal, else the plain form, a frame every so often.

use super::{
    Failure,
    cost::Meter,
    dump::{Dumper, Signalled},
    ended, live_view,
    losses::Alarm,
    messages, runtime,
    session::{Session, Wake},
    signals, unless_closed,
};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    filter::Filter,
    kernel::clock,
    options,
    outfile::{self, Inputs},
    output::{duration::human, frame, sink::Sink, stream::Stream},
    source::cgroups::Cgroups,
    view::{self, Context},
};
use std::{
    env,
    io::{self, IsTerminal as _},
    path::Path,
    time::Duration,
};
use tokio::time::Instant;

/// Shows frames until a signal or the count ends it.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub fn run(args: &WatchArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &args.state)?;
    let delay = options::seconds("--delay", args.delay)?;
    if let Some(path) = &args.dump {
        outfile::judge(path, &Inputs::default())?;
    }
    runtime()?.block_on(async {
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        // The live view exports to new files here, and so does SIGUSR1 without --dump.
        session.confine([Path::new(".")].into_iter().chain(args.dump.as_deref()), false);
        let mut dumper = Dumper::new(&session, &filter, args.dump.as_deref())?;
        let mut stream = None;
        let frames = if has_live_view(args) {
            live_view::run(&mut session, args, filter, delay, &mut dumper).await?
        } else {
            let sink = Sink::open(None, &Inputs::default())?;
            let frames = stream.insert(super::stream(sink, MOST_WAITING)?);
            if !print_frames(&mut session, args, &filter, delay, &mut dumper, frames).await? {
                return Ok(());
            }
            frames.printed()
        };
        session.stop(&mut |_| {});
        let summary = session.summary(frames)?;
        session.release_signals();
        let ending = stream.map(|stream| stream.finish("", signals::patience()));
        messages::print(format_args!(
            "{} changes in {}, {} lost, {} evicted; {}\n",
            summary.changes,
            human(Nanos(summary.watched_ns)),
            summary.lost,
            summary.evicted,
            summary.usage.words(),
        ));
        ending.map_or(Ok(()), ended)
    })
}

/// Frames of so many bytes may wait for their reader, who wants to know what is and not what was.
const MOST_WAITING: usize = 1 << 20;

/// Whether there is a terminal that can be drawn on, and nobody wants the plain form.
pub(super) fn has_live_view(args: &WatchArgs) -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdout().is_terminal() && !args.batch && !is_dumb
}

/// Prints frames until a signal or the count ends it. `false` where the reader has gone.
async fn print_frames(
    session: &mut Session,
    args: &WatchArgs,
    filter: &Filter,
    delay: Duration,
    dumper: &mut Dumper,
    stream: &mut Stream,
) -> Result<bool, Failure> {
    let mut alarm = Alarm::default();
    let mut meter = Meter::new(clock::monotonic());
    let mut told = 0;
    let mut cgroups = Cgroups::of_this_host();
    let mut frame_began = session.started;
    // The first frame comes at once: what was there before is known already.
    let mut next = Instant::now() + Duration::from_millis(50).min(delay);
    loop {
        let woken = dumper.signalled_or(session.wait(Some(next))).await;
        session.pump(&mut |change| dumper.take(change))?;
        dumper.sort(session);
        let wake = match woken {
            Signalled::Dump => {
                let (Ok(text) | Err(text)) = dumper.write(session);
                messages::tell(text);
                continue;
            }
            Signalled::Not(wake) => wake,
        };
        if wake == Wake::Stop || stream.is_closed() {
            break;
        }
        if wake == Wake::Tick {
            continue;
        }
        next = Instant::now() + delay;
        let now = clock::monotonic();
        let context = Context {
            watched: now.since(session.started),
            frame: now.since(frame_began),
            lost: session.lost(),
            audit: session.self_audit(&filter.netns, &mut |change| dumper.take(change))?,
            scans: session.scan_cost(),
            share: meter.read(session, now),
            shortfalls: session.shortfalls(),
        };
        if filter.asks_for_places() {
            let processes = &mut session.engine.table.processes;
            processes.place_all(now, &mut |process| {
                cgroups.place(process.key, process.cgroup, now)
            });
        }
        let picture = view::build(&session.engine, now, context, filter, args.sort);
        session.engine.stats.begin_frame();
        frame_began = now;
        if stream.resumes() {
            let dropped = stream.dropped() - told;
            told += dropped;
            unless_closed(stream.note(&format!("{dropped} frames dropped: nobody took them\n\n")))?;
        }
        let text = format!("{}\n", frame::draw(&picture));
        if !unless_closed(stream.line(&text).and_then(|()| stream.hand_over()))? {
            return Ok(false);
        }
        if let Some(new) = alarm.due(stream.dropped(), now) {
            messages::tell(format_args!("{new} frames dropped: nobody took them"));
        }
        if args.count.is_some_and(|count| stream.printed() >= count) {
            break;
        }
    }
    Ok(true)
}
