//! The live view on a terminal: passes the user's input to the model and performs its effects on the terminal; the
//! caller handles the others. Does not know where the content comes from.

use crate::{
    engine::Engine,
    event::Nanos,
    filter::Filter,
    outfile,
    run::{Failure, files},
    source::zone,
    tui::{
        app::{App, Effect},
        draw,
        export::{Exported, export},
        gather::Gather,
        terminal::{Input, Terminal},
    },
};
use anyhow::Context as _;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobSignal {
    /// SIGTSTP: to stop until it is resumed.
    Suspend,
    /// SIGCONT: it was stopped without being asked.
    Resume,
}

/// The signals that are about the terminal.
pub(super) struct Signals {
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            stop: catch(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: catch(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    pub(super) async fn next(&mut self) -> JobSignal {
        tokio::select! {
            _ = self.stop.recv() => JobSignal::Suspend,
            _ = self.resume.recv() => JobSignal::Resume,
        }
    }
}

/// Model and terminal.
pub(super) struct Screen {
    pub(super) app: App,
    pub(super) signals: Signals,
    terminal: Terminal,
    is_stale: bool,
    is_over: bool,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open(app: App) -> Result<Self, Failure> {
        Ok(Self {
            app,
            signals: Signals::new()?,
            terminal: Terminal::open().context("cannot draw on this terminal; -b prints frames instead")?,
            is_stale: true,
            is_over: false,
        })
    }

    /// Shows times of day in this host's zone, and reports where that is not known.
    pub(super) fn set_zone(&mut self) {
        let (zone, problem) = zone::system();
        self.app.content.zone = Some(zone);
        if let Some(line) = problem.as_deref().and_then(|problem| problem.lines().next()) {
            self.app.show_message(format!("times are in UTC: {line}"), true);
        }
    }

    /// Whether the user has had enough, or the terminal has gone.
    pub(super) fn is_over(&self) -> bool {
        self.is_over || self.terminal.is_closed()
    }

    /// Notes that what is on the screen is not what there is to see.
    pub(super) const fn refresh(&mut self) {
        self.is_stale = true;
    }

    /// Does what a signal asks for.
    pub(super) fn obey(&mut self, signal: JobSignal) {
        self.is_stale = true;
        match signal {
            JobSignal::Suspend => self.try_to(Terminal::suspend),
            JobSignal::Resume => self.try_to(Terminal::resume),
        }
    }

    /// Takes what the user has done, and returns what is left to be done about it.
    pub(super) fn take_inputs(&mut self) -> Vec<Effect> {
        let inputs: Vec<Input> = self.terminal.inputs().collect();
        let mut left = Vec::new();
        for input in inputs {
            self.is_stale = true;
            let effects = match input {
                Input::Key(key) => self.app.press(key),
                Input::Click(column, row) => self.app.click(column, row),
                Input::Wheel(rows) => {
                    self.app.step(rows);
                    Vec::new()
                }
                Input::Resized => Vec::new(),
            };
            left.extend(effects.into_iter().filter_map(|effect| self.apply(effect)));
        }
        left
    }

    /// The rows of the view that is open, as they are now.
    pub(super) fn gather_rows(&mut self, gather: &Gather, engine: &Engine, now: Nanos, filter: &Filter) {
        let app = &mut self.app;
        gather.rows(app, engine, now, filter);
        self.is_stale = true;
    }

    /// Takes over another filter, of which `text` was made, and the processes that it selects; those of the frame before
    /// are another's.
    pub(super) fn adopt_filter(&mut self, text: String, engine: &mut Engine, now: Nanos, filter: &Filter) {
        let app = &mut self.app;
        app.filter = text;
        app.trend.clear();
        Gather::refilter(&mut app.content, engine, now, filter);
    }

    /// Draws, where something has changed.
    pub(super) fn draw(&mut self) {
        if !self.is_stale || self.is_over || !self.terminal.is_ready() {
            return;
        }
        self.is_stale = false;
        let Self { app, terminal, .. } = self;
        let size = app.areas.rows;
        let drawn = terminal.draw(|buffer| app.areas = draw::draw(app, buffer));
        // Another size shows another number of rows: the chosen one must be among them.
        if drawn.is_ok() && app.areas.rows != size {
            app.arrange();
            self.is_over |= terminal
                .draw(|buffer| app.areas = draw::draw(app, buffer))
                .is_err();
        }
        self.is_over |= drawn.is_err();
    }

    /// Does what is about the terminal alone; returns what is not.
    fn apply(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Quit => self.is_over = true,
            Effect::Suspend => self.try_to(Terminal::suspend),
            Effect::Redraw => self.try_to(Terminal::clear),
            Effect::Mouse(is_ours) => {
                self.try_to(|terminal| terminal.set_mouse(is_ours));
                let text = if is_ours {
                    "tcptrace has the mouse; m releases it"
                } else {
                    "the terminal has the mouse: select text with it; m captures it"
                };
                self.app.show_message(text, false);
            }
            Effect::Export => self.export(),
            Effect::Rows
            | Effect::Filter(_)
            | Effect::Delay(_)
            | Effect::Dump
            | Effect::Speed(_)
            | Effect::Seek(_) => {
                return Some(effect);
            }
        }
        None
    }

    fn export(&mut self) {
        let Exported {
            view,
            text,
            extension,
        } = export(&self.app);
        let content = &self.app.content;
        let wall_ns = content
            .play
            .as_ref()
            .map_or_else(|| content.anchor.wall(content.now), |play| play.wall_ns);
        let path = files::new_name(&content.host, wall_ns, view, extension);
        match outfile::write_new(&path, &text) {
            Ok(path) => self
                .app
                .show_message(format!("written to {}", path.display()), false),
            Err(error) => self.app.show_message(error.in_a_line(), true),
        }
    }

    /// What fails on a terminal fails because it has gone.
    fn try_to(&mut self, act: impl FnOnce(&mut Terminal) -> io::Result<()>) {
        self.is_over |= act(&mut self.terminal).is_err();
    }
}
