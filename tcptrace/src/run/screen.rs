//! The live view on a terminal: what the user does goes to the model, what the model wishes is done as far as it is about
//! the terminal, and the rest is handed on. Knows nothing of where the picture comes from.

use super::{Failure, files};
use crate::{
    engine::Engine,
    event::Nanos,
    filter::Filter,
    outfile,
    tui::{
        app::{App, Wish},
        draw, export,
        gather::Gather,
        terminal::{Input, Terminal},
    },
};
use anyhow::Context as _;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
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

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.stop.recv() => Asked::Suspend,
            _ = self.resume.recv() => Asked::Resume,
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
    ///
    /// # Errors
    /// Where it cannot be had.
    pub(super) fn open(app: App) -> Result<Self, Failure> {
        Ok(Self {
            app,
            signals: Signals::new()?,
            terminal: Terminal::open().context("cannot draw on this terminal; -b prints frames instead")?,
            is_stale: true,
            is_over: false,
        })
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
    pub(super) fn obey(&mut self, asked: Asked) {
        self.is_stale = true;
        match asked {
            Asked::Suspend => self.try_to(Terminal::suspend),
            Asked::Resume => self.try_to(Terminal::resume),
        }
    }

    /// Takes what the user has done, and returns what is left to be done about it.
    pub(super) fn take_inputs(&mut self) -> Vec<Wish> {
        let inputs: Vec<Input> = self.terminal.inputs().collect();
        let mut left = Vec::new();
        for input in inputs {
            self.is_stale = true;
            let wishes = match input {
                Input::Key(key) => self.app.press(key),
                Input::Click(column, row) => self.app.click(column, row),
                Input::Wheel(rows) => {
                    self.app.step(rows);
                    Vec::new()
                }
                Input::Resized => Vec::new(),
            };
            left.extend(wishes.into_iter().filter_map(|wish| self.grant(wish)));
        }
        left
    }

    /// The rows of the view that is open, as they are now.
    pub(super) fn gather_rows(&mut self, gather: &Gather, engine: &Engine, now: Nanos, filter: &Filter) {
        let app = &mut self.app;
        let place = app.stop().place;
        gather.rows(&mut app.content, engine, now, filter, &place);
        app.arrange();
        self.is_stale = true;
    }

    /// Takes over another filter, of which `text` was made, and the processes that it selects; those of the frame before
    /// are another's.
    pub(super) fn adopt_filter(
        &mut self,
        text: String,
        gather: &Gather,
        engine: &Engine,
        now: Nanos,
        filter: &Filter,
    ) {
        let app = &mut self.app;
        app.filter = text;
        app.trend.clear();
        gather.refilter(&mut app.content, engine, now, filter);
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
    fn grant(&mut self, wish: Wish) -> Option<Wish> {
        match wish {
            Wish::Quit => self.is_over = true,
            Wish::Suspend => self.try_to(Terminal::suspend),
            Wish::Redraw => self.try_to(Terminal::clear),
            Wish::Mouse(is_ours) => {
                self.try_to(|terminal| terminal.set_mouse(is_ours));
                let text = if is_ours {
                    "the mouse is ours"
                } else {
                    "the mouse is the terminal's: mark text with it"
                };
                self.app.tell(text, false);
            }
            Wish::Export => self.export(),
            Wish::Rows | Wish::Filter(_) | Wish::Delay(_) | Wish::Dump | Wish::Speed(_) | Wish::Seek(_) => {
                return Some(wish);
            }
        }
        None
    }

    fn export(&mut self) {
        let (text, extension) = export::text(&self.app);
        let content = &self.app.content;
        let wall_ns = content
            .play
            .as_ref()
            .map_or_else(|| content.anchor.wall(content.now), |play| play.wall_ns);
        let path = files::new_name(&content.host, wall_ns, self.app.stop().place.word(), extension);
        match outfile::write_new(&path, &text) {
            Ok(path) => self.app.tell(format!("written to {}", path.display()), false),
            Err(error) => self.app.tell(error.in_a_line(), true),
        }
    }

    /// What fails on a terminal fails because it has gone.
    fn try_to(&mut self, act: impl FnOnce(&mut Terminal) -> io::Result<()>) {
        self.is_over |= act(&mut self.terminal).is_err();
    }
}
