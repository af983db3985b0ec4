//! The plain form of `tcptrace watch`: a frame every so often, as text.

use super::context;
use crate::{
    cli::WatchArgs,
    filter::Filter,
    kernel::clock,
    output::{
        frame::{self, ProcessColumn},
        report,
        stream::Stream,
        table,
    },
    run::{
        Failure,
        cost::Meter,
        dump::{Dumper, Signalled},
        ignore_broken_pipe,
        losses::Alarm,
        messages,
        session::{Session, Wake},
    },
    source::cgroups::Cgroups,
    view,
};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of bytes of frames that wait for the reader, which needs the current state, not past ones.
pub(super) const MAX_QUEUED: usize = 1 << 20;

/// Prints frames until a signal or the count ends it. `false` where the reader has gone.
pub(super) async fn print(
    session: &mut Session,
    args: &WatchArgs,
    filter: &Filter,
    delay: Duration,
    dumper: &mut Dumper,
    stream: &mut Stream,
    columns: &[ProcessColumn],
) -> Result<bool, Failure> {
    let mut alarm = Alarm::default();
    let mut meter = Meter::new(clock::monotonic());
    let mut noted = 0;
    let mut cgroups = Cgroups::of_this_host();
    let shows_locations = columns.iter().any(|column| table::is_of_location(column.name));
    session.engine.stats.begin_frames(session.started);
    session.engine.select(filter, session.started);
    // The first frame comes early, since existing sockets are already known, but with rates of one second.
    let mut next = Instant::now() + Duration::from_secs(1).min(delay);
    loop {
        let woken = dumper.signalled_or(session.wait(Some(next))).await;
        session.pump()?;
        dumper.count(session);
        if filter.asks_for_locations() || shows_locations {
            cgroups.find_locations(&mut session.engine.table.processes, clock::monotonic());
        }
        session.engine.count_selected();
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
        // What has been read by now is no younger.
        let now = clock::monotonic();
        let picture = view::build(
            &session.engine,
            now,
            context(session, &mut meter, now),
            filter,
            args.sort,
        )
        .with_left_over_merged(args.sort);
        session.engine.begin_frame(now);
        if stream.resumes() {
            let dropped = stream.dropped() - noted;
            noted += dropped;
            if !args.json {
                ignore_broken_pipe(
                    stream.note(&format!("{dropped} frames dropped: the reader is too slow\n\n")),
                )?;
            }
        }
        let text = if args.json {
            report::frame_json(&picture, session.anchor().wall(now), stream.dropped())
        } else {
            format!("{}\n", frame::draw(&picture, frame::NOTHING_YET, columns))
        };
        if !ignore_broken_pipe(stream.line(&text).and_then(|()| stream.hand_over()))? {
            return Ok(false);
        }
        if let Some(new) = alarm.due(stream.dropped(), now) {
            messages::tell(format_args!("{new} frames dropped: the reader is too slow"));
        }
        if args.count.is_some_and(|count| stream.printed() >= count) {
            break;
        }
    }
    Ok(true)
}
