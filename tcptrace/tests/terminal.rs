//! A panic while the live view has the terminal: it is given back before the panic is reported, so that the report can
//! be read.

use std::{
    env,
    process::{Command, ExitCode},
};
use tcptrace::tui::terminal::Terminal;
use tcptrace_tests::{
    live::{self, LiveTest, Parallelism},
    pty::Pty,
};

/// Set for this program where it is to panic with a terminal in its hands.
const PANICS: &str = "TCPTRACE_TEST_PANICS";

fn main() -> ExitCode {
    if env::var_os(PANICS).is_some() {
        panic_on_a_terminal();
    }
    let test = LiveTest::new(
        "a_panic_gives_the_terminal_back_and_is_read",
        &[],
        a_panic_gives_the_terminal_back_and_is_read,
    );
    live::run(vec![test], Parallelism::One, || Ok(()))
}

/// What a mistake in the live view would do.
fn panic_on_a_terminal() -> ! {
    let mut terminal = Terminal::open().expect("the test has given it one");
    terminal.draw(|_| {}).expect("it can be drawn on");
    panic!("on purpose");
}

fn a_panic_gives_the_terminal_back_and_is_read() {
    let mut command = Command::new(env::current_exe().expect("a process has a program"));
    command.env(PANICS, "1").env("TERM", "xterm");
    let (mut pty, mut child) = Pty::spawn(&mut command, true);
    pty.read_until("on purpose");
    let text = pty.text();
    let left = text.find("\x1b[?1049l").expect("it leaves its screen");
    let output = text.rfind("on purpose").expect("it was read");
    assert_eq!(
        text.matches("\x1b[?1049l").count(),
        1,
        "a second time would write over the report"
    );
    assert!(left < output, "the report comes where it can be read: {text:?}");
    assert!(text[left..output].contains("\x1b[?25h"), "{text:?}");
    assert!(!pty.is_raw(), "lines are lines again");
    let status = child.wait().expect("it is our own child");
    assert!(!status.success(), "{status}");
}
