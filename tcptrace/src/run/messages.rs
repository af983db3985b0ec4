//! Messages on standard error. If that is full, closed or stalled, messages are dropped and counted, and
//! never the run: they are written by a thread of their own.

use crate::{
    output::{
        descriptor::Descriptor,
        outbox::{Outbox, Refused},
        terminal,
    },
    printable::printable,
    quantity,
};
use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    os::fd::AsRawFd as _,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Maximum number of bytes of pending messages.
const MOST_BYTES: usize = 1 << 20;

/// A message is usually written within microseconds. To wait that long for one that is not keeps messages before the
/// output that follows them.
const ORDER: Duration = Duration::from_millis(20);

static OUTBOX: LazyLock<Option<Outbox<io::Error>>> =
    LazyLock::new(|| Outbox::start("messages", Descriptor::stderr().ok()?, MOST_BYTES).ok());

/// Whether standard error is a terminal whose locale is not UTF-8.
static IS_ASCII: LazyLock<bool> = LazyLock::new(|| io::stderr().is_terminal() && !terminal::is_utf8());

/// Moves to the beginning of the terminal's line, and erases it.
const ERASE: &str = "\r\x1b[K";

/// Whether [`draw`] has left a line.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Messages that could not be written since the last one that could.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// Tells the user something, after the program's name.
pub(crate) fn tell(text: impl Display) {
    print(format_args!("tcptrace: {text}\n"));
}

/// Reports what goes on without any output, and how it ends.
pub(crate) fn tell_wait(activity: &str, duration: Option<Duration>) {
    tell(wait(activity, duration));
}

fn wait(activity: &str, duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!(
            "{activity} for {}; Ctrl-C ends it earlier",
            quantity::written(duration)
        ),
        None => format!("{activity} until Ctrl-C"),
    }
}

/// Whether standard error is a terminal and this process is in its foreground: the last line of any other belongs to a
/// shell.
pub(crate) fn is_in_foreground() -> bool {
    let terminal = io::stderr();
    // SAFETY: both calls take and return integers alone; -1 where there is no terminal is no process group.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// Draws over the line at the bottom of a terminal, or removes it if there is no text. What is printed later takes its
/// place. Does nothing in the background.
pub(crate) fn draw(text: &str) {
    if !is_in_foreground() {
        return;
    }
    let Some(outbox) = OUTBOX.as_ref() else { return };
    let was_drawn = IS_DRAWN.swap(!text.is_empty(), Ordering::Relaxed);
    if !was_drawn && text.is_empty() {
        return;
    }
    // A line that cannot be written now is drawn again soon.
    if outbox.offer(&mut format!("{ERASE}{text}").into_bytes()).is_ok() && text.is_empty() {
        let _ = outbox.wait_until_empty(Some(ORDER));
    }
}

/// Prints whole lines as they are.
pub(crate) fn print(text: impl Display) {
    let Some(outbox) = OUTBOX.as_ref() else { return };
    let was_idle = outbox.waiting() == 0;
    let missed = MISSED.swap(0, Ordering::Relaxed);
    let erase = if IS_DRAWN.swap(false, Ordering::Relaxed) && is_in_foreground() {
        ERASE
    } else {
        ""
    };
    let mut bytes = erase.as_bytes().to_vec();
    match missed {
        0 => {}
        1 => bytes.extend(b"tcptrace: a message before this one could not be written\n"),
        missed => bytes.extend(
            format!("tcptrace: {missed} messages before this one could not be written\n").into_bytes(),
        ),
    }
    // Formatting into memory fails where a text's own formatting does, and then there is no text.
    let text = printable_lines(&text.to_string());
    let text = if *IS_ASCII {
        terminal::ascii(&text)
    } else {
        text.into()
    };
    let _ = write!(bytes, "{text}");
    match outbox.offer(&mut bytes) {
        Ok(()) if was_idle => {
            let _ = outbox.wait_until_empty(Some(ORDER));
        }
        Ok(()) => {}
        Err(Refused::Full | Refused::Failed(_)) => {
            MISSED.fetch_add(missed + 1, Ordering::Relaxed);
        }
    }
}

/// Lines without what a terminal would act on: names of files, too, are somebody else's texts.
fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| printable(line.as_bytes())).collect();
    lines.join("\n")
}

/// Waits until all messages are written or cannot be; with `patience`, no longer than that for a reader who takes
/// nothing.
pub(crate) fn finish(patience: Option<Duration>) {
    if let Some(outbox) = OUTBOX.as_ref() {
        let _ = outbox.wait_until_empty(patience);
    }
}

/// Messages for those who write bytes, as loggers do.
#[derive(Debug)]
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        print(String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_how_it_ends() {
        assert_eq!(
            wait("watching", Some(Duration::from_secs(10))),
            "watching for 10s; Ctrl-C ends it earlier"
        );
        assert_eq!(
            wait("recording", Some(Duration::from_hours(1))),
            "recording for 1h; Ctrl-C ends it earlier"
        );
        assert_eq!(wait("recording", None), "recording until Ctrl-C");
    }

    #[test]
    fn a_message_holds_nothing_that_a_terminal_acts_on() {
        assert_eq!(printable_lines("a\nb: c\n"), "a\nb: c\n");
        let hostile = printable_lines("cannot write h\u{1b}]0;x\u{7}: File exists\n  what to do");
        assert!(
            !hostile.contains(['\u{1b}', '\u{7}']) && hostile.lines().count() == 2,
            "{hostile}"
        );
    }
}
