//! Terminals that are resized, suspended and resumed, and closed.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, OpenOptions},
    net::TcpListener,
    os::{
        fd::AsRawFd as _,
        unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    },
    process::{Child, ExitStatus},
    time::Duration,
};
use tcptrace_tests::{
    binary,
    clock::poll_until,
    command::tcptrace,
    netns::Netns,
    pty::Pty,
    screen::{Modes, Screen},
};

pub(crate) fn it_is_resized(netns: Netns) {
    let screen = Screen::tcptrace(&format!("watch -N {}", netns.inode), 80, 24);
    screen.wait_for_text("Nothing matches the filter");
    screen.resize(120, 30);
    screen.wait_for("footer in the last line", |text| {
        text.lines()
            .nth(29)
            .is_some_and(|line| line.contains("quit"))
            .then_some(())
    });
    // Redrawn, and responsive.
    screen.press(&["C-l", "?"]);
    screen.wait_for_text("all keys");
    screen.press(&["q"]);
    screen.wait_for_text("ended with 0");
}

pub(crate) fn a_terminal_that_goes_away_ends_it() {
    for is_controlling in [true, false] {
        let mut command = tcptrace(&["watch"]);
        command.env("TERM", "xterm");
        let (mut pty, mut child) = Pty::spawn(&mut command, is_controlling);
        pty.read_until("watched");
        drop(pty);
        let status = ended(&mut child);
        assert!(status.success(), "{status}");
    }
}

/// The live view on a new terminal, when it has drawn.
fn started() -> (Pty, Child) {
    let mut command = tcptrace(&["watch"]);
    command.env("TERM", "xterm");
    let (mut pty, child) = Pty::spawn(&mut command, true);
    pty.read_until("watched");
    assert!(pty.is_raw());
    (pty, child)
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("process ids fit i32");
    kill(Pid::from_raw(pid), signal).expect("our own child takes a signal");
}

pub(crate) fn a_signal_gives_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        let (mut pty, mut child) = started();
        send(&child, signal);
        // It leaves the alternate screen (DECRST 1049), shows the cursor, and prints the summary.
        pty.read_until("evicted");
        let text = pty.text();
        let left = text.rfind("\x1b[?1049l").expect("it leaves its screen");
        assert!(
            text[left..].contains("\x1b[?25h") && text[left..].contains(" on this host, "),
            "{signal} {text:?}"
        );
        assert!(!pty.is_raw(), "{signal}");
        assert!(ended(&mut child).success(), "{signal}");
    }
}

pub(crate) fn what_kills_it_from_within_gives_the_terminal_back() {
    for signal in [Signal::SIGABRT, Signal::SIGILL, Signal::SIGXCPU] {
        let (mut pty, mut child) = started();
        send(&child, signal);
        pty.read_until("\x1b[?1049l\x1b[?25h");
        assert_eq!(ended(&mut child).signal(), Some(signal as i32));
        assert!(!pty.is_raw(), "{signal}");
    }
}

pub(crate) fn a_terminal_that_takes_nothing_does_not_keep_it_from_ending() {
    let (pty, mut child) = started();
    // Like Ctrl-S on a terminal that is not raw.
    let terminal = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/proc/{}/fd/1", child.id()))
        .expect("our own child's");
    // SAFETY: it takes numbers only.
    assert_eq!(unsafe { libc::tcflow(terminal.as_raw_fd(), libc::TCOOFF) }, 0);
    let is_blocked = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).ok()?;
        tasks.flatten().find_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let call = fs::read_to_string(task.path().join("syscall")).ok()?;
            let is_writing = call.split(' ').next()?.parse() == Ok(libc::SYS_write);
            (name.trim() == "screen" && is_writing).then_some(())
        })
    };
    poll_until(Duration::from_secs(30), is_blocked).expect("a frame waits for the terminal");
    send(&child, Signal::SIGTERM);
    assert!(ended(&mut child).success());
    drop(pty);
}

/// Whether the shell waits for a command: input before that may be discarded with what the live view has not read.
fn has_prompt(text: &str) -> bool {
    let last = text.lines().rfind(|line| !line.is_empty());
    !text.contains("OPEN/S") && last.is_some_and(|line| line.trim() == "$")
}

/// To the shell and back: by the key, and by a signal.
pub(crate) fn it_is_suspended_and_resumed(netns: Netns) {
    let screen = Screen::shell(120, 30);
    let program = binary::path().display();
    screen.write(&format!("{program} watch -N {} 2>messages", netns.inode));
    screen.press(&["Enter"]);
    screen.wait_for_text("Nothing matches the filter");
    assert_eq!(screen.modes(), Modes::LIVE_VIEW);
    for (number, suspend) in [(1, None), (2, Some(Signal::SIGTSTP)), (3, Some(Signal::SIGSTOP))] {
        match suspend {
            None => screen.press(&["C-z"]),
            Some(signal) => kill(screen.program(), signal).expect("our own child takes a signal"),
        }
        if suspend == Some(Signal::SIGSTOP) {
            // It could not restore the mode: the shell has a raw terminal, in which only Ctrl-J ends a line.
            screen.wait_for_text("topped");
        } else {
            screen.wait_for("the shell's prompt", |text| {
                (text.contains("topped") && has_prompt(text)).then_some(())
            });
            assert_eq!(screen.modes(), Modes::SHELL);
            let file = format!("modes{number}");
            screen.write(&format!("stty -a >{file}; echo written {number}"));
            screen.press(&["Enter"]);
            screen.wait_for_text(&format!("\nwritten {number}"));
            let modes = fs::read_to_string(screen.folder().join(file)).expect("it was written");
            assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
        }
        screen.write("fg");
        screen.press(&["C-j"]);
        screen.wait_for("the live view", |text| {
            (text.contains("OPEN/S") && !text.contains("topped")).then_some(())
        });
        assert_eq!(screen.modes(), Modes::LIVE_VIEW);
        screen.press(&["?"]);
        screen.wait_for_text("all keys");
        screen.press(&["Escape"]);
        screen.wait_for_text("OPEN/S");
    }
    screen.press(&["q"]);
    screen.wait_for("the shell's prompt", |text| has_prompt(text).then_some(()));
    screen.write("echo ended with $?");
    screen.press(&["Enter"]);
    screen.wait_for_text("ended with 0");
    assert_eq!(screen.modes(), Modes::SHELL);
}

pub(crate) fn suspend_is_ignored_without_a_shell(netns: Netns) {
    // It is the terminal's only program, without a shell.
    let screen = Screen::alone(&format!("watch -N {}", netns.inode), 120, 30);
    screen.wait_for_text("Nothing matches the filter");
    screen.press(&["C-z", "?"]);
    screen.wait_for_text("all keys");
    assert_eq!(screen.modes(), Modes::LIVE_VIEW);
}

pub(crate) fn no_color_is_obeyed(_netns: Netns) {
    for (value, has_colours) in [("1", false), ("", true)] {
        let mut command = tcptrace(&["watch"]);
        command.env("TERM", "xterm").env("NO_COLOR", value);
        let (mut pty, mut child) = Pty::spawn(&mut command, true);
        pty.read_until("watched");
        pty.read_until("quit");
        let foreground = pty
            .text()
            .split("\x1b[")
            .skip(1)
            .any(|sequence| sequence.starts_with("38;"));
        assert_eq!(foreground, has_colours, "{:?}", pty.text());
        drop(pty);
        assert!(ended(&mut child).success());
    }
}

pub(crate) fn a_locale_without_utf_8_gets_ascii() {
    for (locale, arrow) in [("C", "CLOSE>LISTEN"), ("C.UTF-8", "CLOSE→LISTEN")] {
        let mut command = tcptrace(&["trace", "-n", "1", "--color", "never"]);
        command.env("TERM", "xterm").env("LC_ALL", locale);
        let (mut pty, mut child) = Pty::spawn(&mut command, true);
        pty.read_until("CHANGE");
        let _listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        pty.read_until(arrow);
        assert!(ended(&mut child).success());
    }
}

fn ended(child: &mut Child) -> ExitStatus {
    poll_until(Duration::from_secs(30), || {
        child.try_wait().expect("our own child")
    })
    .expect("it ends soon")
}
