//! `tcptrace watch` of this host: the session, what both forms show of it, and the summary at the end.

mod frames;
mod view;

use super::{columns, has_live_view};
use crate::{
    cli::WatchArgs,
    duration::human,
    event::Nanos,
    options,
    outfile::{self, Inputs},
    output::sink::Sink,
    plural::counted,
    run::{
        Failure, cost::Meter, dump::Dumper, ended, messages, name_absent, runtime, session::Session, signals,
        stream,
    },
    unseen,
    view::Context,
};
use std::path::Path;

/// Shows frames until a signal or the count ends it.
pub(super) fn run(args: &WatchArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &args.state)?;
    name_absent(&filter);
    let delay = args.delay;
    let columns = columns(args)?;
    if let Some(path) = &args.dump {
        outfile::check(path, &Inputs::default())?;
    }
    runtime()?.block_on(async {
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        session.select(&filter)?;
        if let Some(duration) = args.duration {
            session.end_after(duration);
        }
        // The live view exports to new files here, and so does SIGUSR1 without --dump.
        session.confine([Path::new(".")].into_iter().chain(args.dump.as_deref()), false);
        let mut dumper = Dumper::new(&session, &filter, args.dump.as_deref())?;
        let mut output = None;
        let frames = if has_live_view(args) {
            view::run(&mut session, args, filter, delay, &mut dumper).await?
        } else {
            let sink = Sink::open(None, &Inputs::default())?.shown(!args.json);
            let stream = output.insert(stream(sink, frames::MAX_QUEUED)?);
            if !frames::print(&mut session, args, &filter, delay, &mut dumper, stream, &columns).await? {
                return Ok(());
            }
            stream.printed()
        };
        session.stop();
        let summary = session.summary(frames)?;
        session.release_signals();
        let ending = output.map(|stream| stream.finish("", signals::patience()));
        messages::print(format_args!(
            "{} in {} on this host, {} lost, {} evicted; {}\n",
            counted(summary.changes, "change"),
            human(Nanos(summary.watched_ns)),
            summary.lost,
            summary.evicted,
            summary.usage.words(),
        ));
        ending.map_or(Ok(()), ended)
    })
}

/// What a frame shows of the session itself.
fn context(session: &Session, meter: &mut Meter, now: Nanos) -> Context {
    Context {
        watched: now.since(session.started),
        lost: session.lost(),
        audit: session.last_audit().cloned(),
        scans: session.scan_cost(),
        share: meter.read(session, now),
        limitations: unseen::texts(&session.unseen()),
    }
}
