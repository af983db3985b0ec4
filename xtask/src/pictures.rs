//! `cargo xtask pictures`: the pictures of the live view in docs/pictures, rendered from what a terminal shows of it while
//! the demo runs; and the page of its recording. With `--dashboard`, that of the dashboard alone.

use crate::{
    command, dashboard,
    demo::{self, Part},
    demo_client::Role,
    demo_page::Recording,
    workspace,
};
use anstyle::{Color, RgbColor};
use anstyle_svg::{Palette, Term};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

/// Columns and rows of the terminal.
const WIDTH: usize = 120;
const HEIGHT: usize = 30;

const BACKGROUND: u32 = 0x16_181d;
const FOREGROUND: u32 = 0xd5_d8de;

/// The sixteen ANSI colours, legible on the background.
const COLOURS: [u32; 16] = [
    0x3b_4048, 0xe0_6c75, 0x98_c379, 0xe5_c07b, 0x61_afef, 0xc6_78dd, 0x56_b6c2, 0xab_b2bf, 0x5c_6370,
    0xff_7a85, 0xb5_e890, 0xff_d68a, 0x82_c7ff, 0xde_9cf0, 0x7f_dbe6, 0xff_ffff,
];

/// Maximum run time of the demo.
const SECONDS: u64 = 300;

/// Maximum time until the screen shows an expected text.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Each picture's name, the keys that lead to it from the one before, and a text that its screen contains.
const PICTURES: [(&str, &[&str], &str); 4] = [
    ("processes", &[], "in CLOSE_WAIT"),
    ("connections", &["Enter"], "connections of"),
    ("history", &["Enter"], "history of"),
    ("findings", &["6"], "what to do"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this tcptrace instead of building it
    #[arg(long, value_name = "FILE")]
    tcptrace: Option<PathBuf>,
    /// Take the first picture after the demo has run for this many seconds; 75 by default, 600 for the dashboard
    #[arg(long)]
    after: Option<u64>,
    /// Draw the dashboard alone; needs root, and installs packages from npm in the target directory
    #[arg(long)]
    dashboard: bool,
}

/// Starts the demo and a terminal with the live view, and writes its screens.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let tcptrace = match &args.tcptrace {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => demo::build(&root)?,
    };
    if args.dashboard {
        return dashboard::draw(&tcptrace, &root, args.after.unwrap_or(600));
    }
    let after = args.after.unwrap_or(75);
    if command::find("tmux").is_none() {
        bail!("tmux, which provides the terminal, is not installed: apt-get install tmux");
    }
    let recording = Recording::start(&tcptrace, after)?;
    let (_server, port) = demo::start_server(SECONDS)?;
    let _clients = [
        demo::start_client(Role::Short, port, SECONDS)?,
        demo::start_client(Role::Stuck, port, SECONDS)?,
    ];
    let terminal = Terminal::start(&format!("{} watch -N /proc/self/ns/net", tcptrace.display()))?;
    terminal.wait_for("leaky-server")?;
    thread::sleep(Duration::from_secs(after));
    let folder = root.join("docs/pictures");
    fs::create_dir_all(&folder)?;
    for (name, keys, expected) in PICTURES {
        if !keys.is_empty() {
            terminal.tmux(&[&["send-keys"], keys].concat())?;
        }
        terminal
            .wait_for(expected)
            .with_context(|| format!("no picture of {name}"))?;
        // The rest of the frame may not have arrived yet.
        thread::sleep(Duration::from_millis(300));
        let screen = terminal.tmux(&["capture-pane", "-e", "-p"])?;
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, render(&screen))?;
        println!("{}", path.display());
    }
    recording.write(&tcptrace, &root.join("docs"))
}

fn render(screen: &str) -> String {
    let term = Term::new()
        .palette(Palette(COLOURS.map(rgb)))
        .fg_color(Color::Rgb(rgb(FOREGROUND)))
        .bg_color(Color::Rgb(rgb(BACKGROUND)));
    // By SVG 2, `opacity` does not apply to a `tspan`, and `fill-opacity` does.
    term.render_svg(screen)
        .replace(".dimmed { opacity: 0.4; }", ".dimmed { fill-opacity: 0.6; }")
}

fn rgb(colour: u32) -> RgbColor {
    let [_, red, green, blue] = colour.to_be_bytes();
    RgbColor(red, green, blue)
}

/// A tmux server with one session.
struct Terminal {
    server: String,
    program: Part,
}

impl Terminal {
    fn start(line: &str) -> Result<Self> {
        let server = format!("tcptrace-pictures-{}", process::id());
        let mut tmux = command::as_root("tmux")?;
        // In the foreground (-D) the server is a child process, which is killed on drop.
        tmux.args(["-u", "-L", &server, "-f", "/dev/null", "-D"])
            .env_remove("NO_COLOR");
        let program = Part(tmux.spawn().context("cannot start tmux")?);
        let terminal = Self { server, program };
        let (width, height) = (WIDTH.to_string(), HEIGHT.to_string());
        let begun = Instant::now();
        let new = ["new-session", "-d", "-x", &width, "-y", &height, line];
        while let Err(error) = terminal.tmux(&new) {
            if begun.elapsed() > TIMEOUT {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(terminal)
    }

    fn wait_for(&self, text: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"])?;
            if screen.contains(text) {
                return Ok(());
            }
            if begun.elapsed() > TIMEOUT {
                bail!("the screen does not show \"{text}\":\n{screen}");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut tmux: Command = command::as_root("tmux")?;
        command::output(
            tmux.args(["-u", "-L", &self.server])
                .args(arguments)
                .env_remove("TMUX"),
        )
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if the server has already exited.
        let _ = self.tmux(&["kill-server"]);
        let _ = self.program.0.wait();
    }
}
