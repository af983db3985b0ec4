//! `tcptrace watch FILE` on a terminal: recordings in the live view, at any speed, from any moment.

use super::{Failure, playback, quiet, runtime, screen::Screen, signals::Stop, zone};
use crate::{
    cli::WatchArgs,
    event::Nanos,
    filter::Filter,
    options::{recording, words},
    record::{entry::Told, runs},
    source::replay::Replay,
    tui::{
        app::{App, Wish},
        content::Play,
        gather::Gather,
        theme::Theme,
    },
    view::{Context, Share},
};
use std::{ops::ControlFlow, time::Duration};
use tokio::{runtime::Runtime, time::Instant};

/// How often the keys are looked at.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// Shows the recordings, one run after the other, until the user has had enough.
///
/// # Errors
/// Recordings that give nothing, a terminal that cannot be had.
pub(super) fn run(args: &WatchArgs, filter: Filter, delay: Duration) -> Result<(), Failure> {
    let count = playback::open(&args.files)?.len();
    let runtime = runtime()?;
    let _context = runtime.enter();
    let text = words::of(&args.filter, &args.state);
    let mut app = App::new(Theme::of_environment(), args.sort, delay, text);
    app.content.zone = Some(zone());
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
    /// The next one.
    Frame,
    /// The one at this moment.
    From(Nanos),
    /// The next recording.
    Recording,
    /// Nothing.
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
    shortfalls: Vec<String>,
    /// The moment of the frame before.
    shown: Nanos,
}

impl ReplayView<'_> {
    /// Plays one recording from a moment on, to what the user wants next.
    fn play(&mut self, args: &WatchArgs, from: Option<Nanos>) -> Result<Next, Failure> {
        // Read anew: what was read is gone.
        let mut run = playback::open(&args.files)?.swap_remove(self.number - 1);
        let app = &mut self.screen.app;
        app.trend.clear();
        app.content.host.clone_from(&run.origin.host);
        app.content.kernel.clone_from(&run.origin.kernel);
        let mut replay = Replay::new(&run.origin);
        let began = replay.ledger.began;
        let mut stage = Stage {
            gather: Gather::new(&mut replay.engine, began),
            replay,
            shortfalls: run.origin.shortfalls.clone(),
            shown: began,
        };
        let mut due = from.unwrap_or(began).max(began.plus(self.step()));
        let mut next = Next::Frame;
        let played = run.play(&mut |told: Told<'_>| {
            let entry = match told {
                Told::Entry(entry) => entry,
                Told::Soon(socks) => {
                    stage.replay.foresee(socks);
                    return ControlFlow::Continue(());
                }
            };
            let mut is_shown = false;
            while let Some(time) = entry.time()
                && time > due
            {
                let latest = stage.replay.ledger.latest;
                if is_shown && let Some(span) = quiet::skipped(latest, due, time, self.step()) {
                    due = due.plus(span);
                    self.screen.app.tell(quiet::said(span), false);
                }
                is_shown = true;
                next = self.show(&mut stage, due, false);
                match next {
                    Next::Frame => due = due.plus(self.step()),
                    Next::From(moment) if moment >= due => due = moment.max(due.plus(Nanos(1))),
                    Next::From(_) | Next::Recording | Next::Quit => return ControlFlow::Break(()),
                }
            }
            let Stage { replay, gather, .. } = &mut stage;
            replay.apply(entry, &mut |change| gather.take(change));
            ControlFlow::Continue(())
        });
        played
            .map_err(|(path, error)| Failure::Other(anyhow::Error::new(error).context(runs::named(&path))))?;
        let is_broken_off = match next {
            Next::Quit | Next::Recording => true,
            Next::From(moment) => moment < due,
            Next::Frame => false,
        };
        if is_broken_off {
            return Ok(next);
        }
        let Stage {
            replay,
            gather,
            shortfalls,
            ..
        } = &mut stage;
        replay.end(&mut |change| gather.take(change));
        shortfalls.extend(playback::remarks(&run, replay, true));
        let end = stage.replay.ledger.latest;
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
        Nanos(u64::try_from(self.screen.app.delay.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Shows a frame for as long as it stands.
    fn show(&mut self, stage: &mut Stage, now: Nanos, is_end: bool) -> Next {
        let Stage { replay, gather, .. } = stage;
        let ledger = &replay.ledger;
        let context = Context {
            watched: now.since(ledger.began),
            frame: now.since(stage.shown),
            lost: ledger.lost,
            audit: None,
            scans: ledger.scans,
            share: Share::default(),
            shortfalls: stage.shortfalls.clone(),
        };
        let app = &mut self.screen.app;
        app.content.anchor = ledger.anchor(now);
        app.content.play = Some(Play {
            wall_ns: ledger.wall(now),
            speed: self.speed,
            number: self.number,
            of: self.of,
            is_over: is_end,
        });
        gather.sort(&mut replay.engine, now);
        gather.frame(&mut app.content, &mut replay.engine, now, context, &self.filter);
        app.trend.push(app.content.view.counts);
        gather.judge(&mut app.content, &replay.engine, now, Vec::new());
        stage.shown = now;
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
        self.screen
            .gather_rows(&stage.gather, &stage.replay.engine, now, &self.filter);
    }

    /// Listens to the user until the frame's time is over.
    fn stand(&mut self, stage: &Stage, now: Nanos, is_end: bool) -> Next {
        let began = Instant::now();
        loop {
            if self.screen.is_over() || self.wait() {
                return Next::Quit;
            }
            for wish in self.screen.take_inputs() {
                match wish {
                    Wish::Rows => self.rows(stage, now),
                    Wish::Filter(text) => self.change_filter(stage, now, text),
                    Wish::Speed(speed) => self.speed = speed,
                    Wish::Seek(seconds) => {
                        let span = Nanos::from_secs(seconds.unsigned_abs());
                        return Next::From(if seconds < 0 {
                            Nanos(now.0.saturating_sub(span.0))
                        } else {
                            now.plus(span)
                        });
                    }
                    // These are granted already, hold from the next frame on, or are about this machine.
                    Wish::Quit
                    | Wish::Suspend
                    | Wish::Redraw
                    | Wish::Export
                    | Wish::Mouse(_)
                    | Wish::Delay(_)
                    | Wish::Dump => {}
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
        let asked = runtime.block_on(async {
            tokio::select! {
                () = stop.recv() => Err(()),
                asked = screen.signals.next() => Ok(Some(asked)),
                () = tokio::time::sleep(pause) => Ok(None),
            }
        });
        match asked {
            Err(()) => return true,
            Ok(Some(asked)) => screen.obey(asked),
            Ok(None) => {}
        }
        false
    }

    /// How long a frame stands. A speed of 0 waits for nothing.
    fn pause(&self) -> Duration {
        if self.speed == 0.0 {
            return Duration::ZERO;
        }
        let delay = self.screen.app.delay.as_secs_f64();
        Duration::try_from_secs_f64(delay / self.speed).unwrap_or(Duration::MAX)
    }

    fn change_filter(&mut self, stage: &Stage, now: Nanos, text: String) {
        match words::filter(&text, recording::filter) {
            Ok(filter) => {
                self.filter = filter;
                let engine = &stage.replay.engine;
                self.screen
                    .adopt_filter(text, &stage.gather, engine, now, &self.filter);
                self.rows(stage, now);
            }
            Err(error) => self.screen.app.refuse_filter(text, error),
        }
    }
}
