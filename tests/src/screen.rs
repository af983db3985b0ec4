//! A terminal in tmux: sends keys, and reads the screen.

use crate::{binary, clock::poll_until};
use nix::unistd::Pid;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// Maximum time until a text appears on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A terminal with one program, which runs in a folder of its own.
pub struct Screen {
    server: String,
    folder: TempDir,
}

/// Modes that a program sets on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    pub has_screen_of_its_own: bool,
    /// Whether the cursor is visible.
    pub shows_cursor: bool,
    /// Whether the program receives mouse events.
    pub takes_mouse: bool,
}

impl Modes {
    /// The modes of a shell.
    pub const SHELL: Self = Self {
        has_screen_of_its_own: false,
        shows_cursor: true,
        takes_mouse: false,
    };
    /// The modes of the live view.
    pub const LIVE_VIEW: Self = Self {
        has_screen_of_its_own: true,
        shows_cursor: false,
        takes_mouse: true,
    };
}

impl Screen {
    /// Runs `tcptrace` with these arguments on a terminal of this size, in the network namespace of this thread. When
    /// it has exited, the screen shows `ended with STATUS`.
    #[must_use]
    pub fn tcptrace(arguments: &str, width: u16, height: u16) -> Self {
        let program = binary::path().display();
        let line = format!("stty -echo; {program} {arguments} 2>messages; echo ended with $?; sleep 600");
        Self::start(&line, width, height)
    }

    /// Runs it as the terminal's only program, without a shell that could resume it.
    #[must_use]
    pub fn alone(arguments: &str, width: u16, height: u16) -> Self {
        let program = binary::path().display();
        Self::start(&format!("exec {program} {arguments} 2>messages"), width, height)
    }

    /// Runs an interactive shell with the prompt `$ `, into which [`Self::write`] types.
    #[must_use]
    pub fn shell(width: u16, height: u16) -> Self {
        let screen = Self::start("ENV= PS1='$ ' exec sh -i", width, height);
        screen.wait_for_text("$");
        screen
    }

    fn start(line: &str, width: u16, height: u16) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let screen = Self {
            server: format!("tcptrace-test-{}-{number}", process::id()),
            folder: tempfile::tempdir().expect("a folder for the test can be made"),
        };
        let folder = screen.folder.path().to_str().expect("it has a plain name");
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
            "-c",
            folder,
            line,
        ]);
        screen
    }

    /// Types keys by their names in tmux (`Enter`, `Escape`, `j`).
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    pub fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Resizes the terminal.
    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&[
            "resize-window",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
        ]);
    }

    /// The text on the screen.
    #[must_use]
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The program that the shell has started.
    #[must_use]
    pub fn program(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
            .expect("the shell lives, and the kernel lists children");
        Pid::from_raw(children.trim().parse().expect("it is the only child"))
    }

    /// The modes that the program has set.
    #[must_use]
    pub fn modes(&self) -> Modes {
        let format = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}";
        let result = self.tmux(&["display-message", "-p", format]);
        let flags: Vec<bool> = result.split_whitespace().map(|flag| flag == "1").collect();
        Modes {
            has_screen_of_its_own: flags[0],
            shows_cursor: flags[1],
            takes_mouse: flags[2],
        }
    }

    /// Waits until the screen gives an answer.
    pub fn wait_for<T>(&self, what: &str, mut question: impl FnMut(&str) -> Option<T>) -> T {
        let mut last = String::new();
        let answer = poll_until(TIMEOUT, || {
            last = self.text();
            question(&last)
        });
        answer.unwrap_or_else(|| panic!("no {what} on the screen:\n{last}\n{}", self.messages()))
    }

    /// Waits until the screen shows a text.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |screen| screen.contains(text).then_some(()));
    }

    /// Standard error of the program.
    #[must_use]
    pub fn messages(&self) -> String {
        fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default()
    }

    /// The files that the program has created.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).expect("it is the test's own");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        paths.filter(|path| !path.ends_with("messages")).collect()
    }

    /// The program's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.server])
            .args(arguments)
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("tmux can be started");
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("a screen is text")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Best effort: the server exits with its program.
        let _ = Command::new("tmux")
            .args(["-L", &self.server, "kill-server"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The numbers in a table on the screen: the rows below `title`, by their first word.
#[must_use]
pub fn cell(screen: &str, row: &str, title: &str) -> Option<String> {
    let mut lines = screen.lines();
    let titles = lines.find(|line| line.contains(title) && line.contains("COMMAND"))?;
    let end = titles
        .find(title)
        .map(|at| titles[..at].chars().count() + title.chars().count())?;
    let line = lines.find(|line| line.split_whitespace().next() == Some(row))?;
    let until: String = line.chars().take(end).collect();
    until.split_whitespace().next_back().map(str::to_owned)
}
