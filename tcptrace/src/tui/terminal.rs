//! The terminal: put into raw mode, drawn on, read, and restored however the run ends. A thread of its own writes to it, so
//! that a terminal which takes nothing, as behind a connection that hangs, does not keep the run from ending.

mod restore;

use super::keys::Key;
use crate::{
    output::{
        self,
        descriptor::Descriptor,
        outbox::{Outbox, Refused},
    },
    priority,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction},
    unistd::Pid,
};
use ratatui::{
    backend::CrosstermBackend,
    buffer::Buffer,
    crossterm::{
        cursor, event,
        event::{
            DisableMouseCapture, EnableMouseCapture, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
            MouseButton, MouseEventKind,
        },
        execute,
        terminal::EnterAlternateScreen,
    },
    layout::{Position, Rect},
};
use std::{
    io::{self, Write},
    mem::ManuallyDrop,
    os::fd::AsFd as _,
    panic,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

/// More than two frames of 300 × 100 cells in colours.
const MOST_BYTES: usize = 1 << 20;

/// How long a terminal may take nothing before it is given back without what was drawn last.
const PATIENCE: Duration = Duration::from_millis(500);

/// Each cell in ASCII; a wide character is two cells, of which the second is blank.
fn make_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let first = output::terminal::ascii(cell.symbol()).chars().next();
            cell.set_char(first.unwrap_or(' '));
        }
    }
}

/// What the user has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Key(Key),
    /// A click of the left button, column and row.
    Click(u16, u16),
    /// The mouse wheel: rows to move down.
    Wheel(isize),
    /// The terminal has another size.
    Resized,
}

/// The terminal while it is in use.
pub struct Terminal {
    /// Never dropped: where the terminal has gone it would say so on standard error, which has gone too, and panic.
    inner: ManuallyDrop<ratatui::Terminal<CrosstermBackend<Frames>>>,
    outbox: Arc<Outbox<io::Error>>,
    inputs: Receiver<Input>,
    has_mouse: bool,
    /// Whether its locale has no other characters.
    is_ascii: bool,
}

impl Terminal {
    /// Takes it over: raw mode, a screen of its own, the mouse. A panic gives it back before it is reported, and so does
    /// a signal that ends the process for what it did.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |report| {
            restore::restore();
            before(report);
        }));
        restore::on_fatal_signals();
        let outbox = Arc::new(Outbox::start("screen", Descriptor::stdout()?, MOST_BYTES)?);
        let frames = Frames {
            bytes: Vec::new(),
            outbox: Arc::clone(&outbox),
        };
        let mut inner = ManuallyDrop::new(ratatui::Terminal::new(CrosstermBackend::new(frames))?);
        take_over(inner.backend_mut(), true)?;
        let (sender, inputs) = channel();
        // A thread of its own: crossterm 0.29 reads a terminal that is gone for ever and gives no error
        // (`UnixInternalEventSource::try_read`). It ends with the process.
        thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || {
                priority::be_usual();
                while let Ok(event) = event::read() {
                    if let Some(input) = input_of(&event)
                        && sender.send(input).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            inner,
            outbox,
            inputs,
            has_mouse: true,
            is_ascii: !output::terminal::is_utf8(),
        })
    }

    /// What the user has done since it was last asked.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = Input> {
        self.inputs.try_iter()
    }

    /// Whether the terminal is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let stdout = io::stdout();
        let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        poll(&mut ends, PollTimeout::ZERO).is_ok()
            && ends[0].revents().is_some_and(|events| events.intersects(gone))
    }

    /// Whether it has taken all that was drawn. Until then another frame would only wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.outbox.waiting() == 0
    }

    /// Draws a frame; only cells that differ from the frame before are sent.
    ///
    /// # Errors
    /// If the terminal takes nothing.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let is_ascii = self.is_ascii;
        self.inner.draw(|frame| {
            let buffer = frame.buffer_mut();
            draw(buffer);
            if is_ascii {
                make_ascii(buffer);
            }
        })?;
        self.inner.backend_mut().flush()
    }

    /// Forgets what is on the screen, so that the next frame draws all of it.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // ratatui 0.30's own `clear` asks the terminal for its cursor position, and never receives the answer, which the
        // keyboard's thread gets. The same size once more clears too, and asks nothing.
        let size = self.inner.size()?;
        self.inner.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Takes the mouse, or leaves it to the terminal.
    pub(crate) fn set_mouse(&mut self, is_ours: bool) -> io::Result<()> {
        self.has_mouse = is_ours;
        if is_ours {
            execute!(self.inner.backend_mut(), EnableMouseCapture)
        } else {
            execute!(self.inner.backend_mut(), DisableMouseCapture)
        }
    }

    /// Restores the terminal, stops until resumed, and takes the terminal over again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        self.restore();
        stop()?;
        self.resume()
    }

    /// Takes it over again after others have used it.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        take_over(self.inner.backend_mut(), self.has_mouse)?;
        self.clear()
    }

    /// What was drawn last comes before, so that it is not written over what follows.
    fn restore(&self) {
        let _ = self.outbox.wait_until_empty(Some(PATIENCE));
        restore::restore();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// What is drawn, until the thread that writes takes it.
struct Frames {
    bytes: Vec<u8>,
    outbox: Arc<Outbox<io::Error>>,
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// What does not fit yet goes with the next: of a frame nothing may be missing.
    fn flush(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        match self.outbox.offer(&mut self.bytes) {
            Ok(()) | Err(Refused::Full) => Ok(()),
            Err(Refused::Failed(error)) => Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// Stops this process and those that were started with it, such as `timeout`, until they are resumed. Goes on at once
/// where nobody would resume them: the kernel drops this signal in a group without a shell (`get_signal`, Linux 6.18).
fn stop() -> nix::Result<()> {
    let disposition = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither of the two runs code of ours, and the third is the one that was there.
    unsafe {
        let ours = sigaction(Signal::SIGTSTP, &disposition(SigHandler::SigIgn))?;
        kill(Pid::from_raw(0), Signal::SIGTSTP)?;
        // This process comes last and by this thread: of a signal to the group another thread might hear later.
        sigaction(Signal::SIGTSTP, &disposition(SigHandler::SigDfl))?;
        raise(Signal::SIGTSTP)?;
        sigaction(Signal::SIGTSTP, &ours)?;
    }
    Ok(())
}

fn take_over(output: &mut impl Write, with_mouse: bool) -> io::Result<()> {
    restore::save_and_set_raw()?;
    execute!(output, EnterAlternateScreen, cursor::Hide)?;
    if with_mouse {
        execute!(output, EnableMouseCapture)?;
    }
    Ok(())
}

fn input_of(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map(Input::Key),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Input::Click(mouse.column, mouse.row)),
            MouseEventKind::ScrollUp => Some(Input::Wheel(-3)),
            MouseEventKind::ScrollDown => Some(Input::Wheel(3)),
            _ => None,
        },
        Event::Resize(..) => Some(Input::Resized),
        _ => None,
    }
}

fn key_of(key: &KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            Key::Ctrl(c.to_ascii_lowercase())
        }
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::F(number) => Key::F(number),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
