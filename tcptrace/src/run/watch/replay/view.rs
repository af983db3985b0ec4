//! `tcptrace watch FILE` on a terminal: recordings in the live view, at any speed, from any moment.

use super::{
    context, nanos, pause,
    schedule::{Due, Schedule, skip_note},
};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    filter::Filter,
    findings::reading::Queue,
    options::{recording, words},
    record::{entry::Item, replay::Replay},
    run::{Failure, recordings, runtime, signals::Stop, watch::screen::Screen},
    tui::{
        app::{App, Effect},
        content::{Play, ShownNetwork},
        gather::Gather,
        theme::Theme,
    },
};
use std::{ops::ControlFlow, time::Duration};
use tokio::{runtime::Runtime, time::Instant};

/// How often the keys are looked at.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// Shows the recordings, one run after the other, until the user has had enough.
pub(super) fn run(args: &WatchArgs, filter: Filter, delay: Duration) -> Result<(), Failure> {
    let count = recordings::open(&args.files)?.len();
    let runtime = runtime()?;
    let _context = runtime.enter();
    let text = words::of(&args.filter, &args.state);
    let app = App::new(Theme::of_environment(), args.sort, delay, text);
    let mut view = ReplayView {
        stop: Stop::catch()?,
        screen: Screen::open(app)?,
        runtime: &runtime,
        filter,
        speed: args.speed,
        number: 1,
        of: count,
        frames_left: args.count,
    };
    view.screen.set_zone();
    let mut from = None;
    loop {
        match view.play(args, from)? {
            Next::Quit => return Ok(()),
            Next::From(moment) => from = Some(moment),
            Next::Recording if view.number < view.of => {
                view.number += 1;
                from = None;
            }
            Next::Frame | Next::Recording => {}
        }
    }
}

/// What follows a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Frame,
    From(Nanos),
    Recording,
    Quit,
}

struct ReplayView<'a> {
    screen: Screen,
    runtime: &'a Runtime,
    stop: Stop,
    filter: Filter,
    speed: f64,
    number: usize,
    of: usize,
    frames_left: Option<u64>,
}

/// A recording as far as it was played.
struct Stage {
    replay: Replay,
    gather: Gather,
    limitations: Vec<String>,
}

impl ReplayView<'_> {
    /// Plays one recording from a moment on, to what the user wants next.
    fn play(&mut self, args: &WatchArgs, from: Option<Nanos>) -> Result<Next, Failure> {
        // Read anew: what was read is gone.
        let mut run = recordings::open(&args.files)?.swap_remove(self.number - 1);
        let app = &mut self.screen.app;
        app.trend.clear();
        app.content.host.clone_from(&run.origin.host);
        app.content.kernel.clone_from(&run.origin.kernel);
        let mut replay = Replay::new(&run.origin);
        let began = replay.run_stats.began;
        let mut stage = Stage {
            gather: Gather::new(&mut replay.engine, began, &self.filter),
            replay,
            limitations: run.origin.limitations.clone(),
        };
        let mut schedule = Schedule::new(from.unwrap_or(began).max(began.plus(self.step())));
        let mut next = Next::Frame;
        let played = run.play(&mut |item: Item<'_>| {
            let entry = match item {
                Item::Entry(entry) => entry,
                Item::Prefetch(socks) => {
                    stage.replay.engine.prefetch(socks);
                    return ControlFlow::Continue(());
                }
            };
            while let Some(Due { now, skipped }) =
                schedule.due(entry, stage.replay.run_stats.latest, self.step())
            {
                if let Some(span) = skipped {
                    self.screen.app.show_message(skip_note(span), false);
                }
                next = self.show(&mut stage, now, false);
                schedule.next = match next {
                    Next::Frame => now.plus(self.step()),
                    Next::From(moment) if moment >= now => moment.max(now.plus(Nanos(1))),
                    Next::From(_) | Next::Recording | Next::Quit => return ControlFlow::Break(()),
                };
            }
            let Stage { replay, gather, .. } = &mut stage;
            if replay.ends_batch(entry) {
                replay.finish_batch();
                gather.count(&mut replay.engine);
            }
            replay.apply(entry);
            ControlFlow::Continue(())
        });
        played.map_err(recordings::unreadable)?;
        let is_broken_off = match next {
            Next::Quit | Next::Recording => true,
            Next::From(moment) => moment < schedule.next,
            Next::Frame => false,
        };
        if is_broken_off {
            return Ok(next);
        }
        let Stage {
            replay,
            gather,
            limitations,
            ..
        } = &mut stage;
        replay.end();
        gather.count(&mut replay.engine);
        limitations.extend(recordings::remarks_and_gaps(&run, replay, true));
        let end = stage.replay.run_stats.latest;
        loop {
            match self.show(&mut stage, end, true) {
                Next::Frame => {}
                Next::From(moment) if moment >= end && self.number == self.of => {}
                Next::From(moment) if moment >= end => return Ok(Next::Recording),
                next => return Ok(next),
            }
        }
    }

    fn step(&self) -> Nanos {
        nanos(self.screen.app.delay)
    }

    /// Shows a frame for as long as it stands.
    fn show(&mut self, stage: &mut Stage, now: Nanos, is_end: bool) -> Next {
        let Stage { replay, gather, .. } = stage;
        let run_stats = &replay.run_stats;
        let context = context(replay, &stage.limitations, now);
        let app = &mut self.screen.app;
        app.content.anchor = run_stats.anchor(now);
        app.content.play = Some(Play {
            wall_ns: run_stats.wall(now),
            speed: self.speed,
            number: self.number,
            of: self.of,
            is_over: is_end,
        });
        replay.finish_batch();
        gather.count(&mut replay.engine);
        gather.sample(&replay.engine, now);
        gather.frame(&mut app.content, &mut replay.engine, now, context, &self.filter);
        app.trend.push(app.content.view.counts);
        gather.evaluate(&mut app.content, &replay.engine, now, Vec::new());
        self.rows(stage, now);
        self.screen.draw();
        if let Some(left) = &mut self.frames_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Next::Quit;
            }
        }
        self.stand(stage, now, is_end)
    }

    fn rows(&mut self, stage: &Stage, now: Nanos) {
        let engine = &stage.replay.engine;
        self.screen.gather_rows(&stage.gather, engine, now, &self.filter);
        let app = &mut self.screen.app;
        let shown = app.shown_connection().and_then(|cookie| {
            let row = engine.table.row(engine.table.slot_of_cookie(cookie)?)?;
            let (read, network) = engine.network.of(row)?;
            Some(ShownNetwork {
                cookie,
                state: row.state.tcp,
                is_orphan: row.state.is_orphan,
                network,
                recorded: Some(read),
            })
        });
        app.content.network = shown;
        app.content.queues.clear();
        app.content.unaccepted.clear();
        let rows = engine.table.iter();
        for socket in rows.filter_map(|row| engine.network.recent(row, now)) {
            let cookie = socket.row.sock.cookie;
            if socket.row.waits_for_accept() {
                app.content.unaccepted.insert(cookie);
            }
            app.content.queues.insert(cookie, Queue::of(&socket));
        }
    }

    /// Listens to the user until the frame's time is over.
    fn stand(&mut self, stage: &mut Stage, now: Nanos, is_end: bool) -> Next {
        let began = Instant::now();
        loop {
            if self.screen.is_over() || self.wait() {
                return Next::Quit;
            }
            for effect in self.screen.take_inputs() {
                match effect {
                    Effect::Rows => self.rows(stage, now),
                    Effect::Filter(text) => self.change_filter(stage, now, text),
                    Effect::Speed(speed) => self.speed = speed,
                    Effect::Seek(seconds) => {
                        let span = Nanos::from_secs(seconds.unsigned_abs());
                        return Next::From(if seconds < 0 {
                            Nanos(now.0.saturating_sub(span.0))
                        } else {
                            now.plus(span)
                        });
                    }
                    // These are granted already, hold from the next frame on, or are about this machine.
                    Effect::Quit
                    | Effect::Suspend
                    | Effect::Redraw
                    | Effect::Export
                    | Effect::Mouse(_)
                    | Effect::Delay(_)
                    | Effect::Dump => {}
                }
            }
            self.screen.draw();
            let is_over = began.elapsed() >= self.pause();
            if is_over && !is_end && !self.screen.app.is_paused {
                return Next::Frame;
            }
        }
    }

    /// Waits for a moment; whether it was ended by a signal that ends the run.
    fn wait(&mut self) -> bool {
        let pause = LISTEN_EVERY.min(self.pause());
        let Self {
            runtime,
            stop,
            screen,
            ..
        } = self;
        let woken = runtime.block_on(async {
            tokio::select! {
                () = stop.recv() => Err(()),
                signal = screen.signals.next() => Ok(Some(signal)),
                () = tokio::time::sleep(pause) => Ok(None),
            }
        });
        match woken {
            Err(()) => return true,
            Ok(Some(signal)) => screen.obey(signal),
            Ok(None) => {}
        }
        false
    }

    /// How long a frame is shown.
    fn pause(&self) -> Duration {
        pause(self.screen.app.delay, self.speed).unwrap_or(Duration::MAX)
    }

    fn change_filter(&mut self, stage: &mut Stage, now: Nanos, text: String) {
        match words::filter(&text, recording::filter) {
            Ok(filter) => {
                self.filter = filter;
                let engine = &mut stage.replay.engine;
                self.screen.adopt_filter(text, engine, now, &self.filter);
                self.rows(stage, now);
            }
            Err(error) => self.screen.app.reject_filter(text, error),
        }
    }
}
