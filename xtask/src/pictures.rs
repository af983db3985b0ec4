//! `cargo xtask pictures`: the pictures of the live view in docs/pictures, from what a terminal really shows of it beside
//! the demo.

use crate::{
    command,
    demo::{self, Part},
    demo_client::Role,
    svg, workspace,
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

/// Cells of the terminal.
const WIDTH: usize = 120;
const HEIGHT: usize = 30;

/// How long the demo runs at most.
const SECONDS: u64 = 300;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_mins(1);

/// A picture: its name, the keys that lead to it from the one before, and what is to be seen then.
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
    /// How long the demo has run when the first picture is taken, in seconds
    #[arg(long, default_value_t = 75)]
    after: u64,
}

/// Starts the demo and a terminal with the live view, and writes what it shows.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let tcptrace = match &args.tcptrace {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => demo::build(&root)?,
    };
    if command::find("tmux").is_none() {
        bail!("there is no tmux, which plays the terminal: apt-get install tmux");
    }
    let (_server, port) = demo::start_server(SECONDS)?;
    let _clients = [
        demo::start_client(Role::Short, port, SECONDS)?,
        demo::start_client(Role::Stuck, port, SECONDS)?,
    ];
    let terminal = Terminal::start(&format!("{} watch -N /proc/self/ns/net", tcptrace.display()))?;
    terminal.wait_for("leaky-server")?;
    thread::sleep(Duration::from_secs(args.after));
    let folder = root.join("docs/pictures");
    fs::create_dir_all(&folder)?;
    for (name, keys, seen) in PICTURES {
        if !keys.is_empty() {
            terminal.tmux(&[&["send-keys"], keys].concat())?;
        }
        let shown = terminal
            .wait_for(seen)
            .with_context(|| format!("no picture of {name}"))?;
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, svg::draw(&shown, WIDTH, HEIGHT))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// A terminal of tmux.
struct Terminal {
    server: String,
    program: Part,
}

impl Terminal {
    fn start(line: &str) -> Result<Self> {
        let server = format!("tcptrace-pictures-{}", process::id());
        let mut tmux = command::as_root("tmux")?;
        // In the foreground the server is a child of ours, which ends with us.
        tmux.args(["-u", "-L", &server, "-f", "/dev/null", "-D"])
            .env_remove("NO_COLOR");
        let program = Part(tmux.spawn().context("cannot start tmux")?);
        let terminal = Self { server, program };
        let (width, height) = (WIDTH.to_string(), HEIGHT.to_string());
        let begun = Instant::now();
        let new = ["new-session", "-d", "-x", &width, "-y", &height, line];
        while let Err(error) = terminal.tmux(&new) {
            if begun.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(terminal)
    }

    /// What is shown, with its colours, once this is part of it.
    fn wait_for(&self, text: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let shown = self.tmux(&["capture-pane", "-e", "-p"])?;
            if svg::text(&shown).contains(text) {
                // The rest of the frame may not have come yet.
                thread::sleep(Duration::from_millis(300));
                return self.tmux(&["capture-pane", "-e", "-p"]);
            }
            if begun.elapsed() > PATIENCE {
                bail!("the screen does not show \"{text}\":\n{}", svg::text(&shown));
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
        // Fails only where it has ended.
        let _ = self.tmux(&["kill-server"]);
        let _ = self.program.0.wait();
    }
}
