//! `tcptrace man` and `tcptrace completions`: manual pages and shell scripts, from the definition of the command line.

use super::{Failure, print};
use crate::{
    cli::{Cli, ManArgs},
    completion::{COMMAND, Shell, VARIABLE},
    options::{UsageError, wrong},
    outfile::Inputs,
};
use anyhow::Context as _;
use clap::Command;
use clap_complete::CompleteEnv;
use clap_mangen::Man;

/// Answers a shell that asks for completions, and exits then.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::definition)
        .var(VARIABLE)
        .bin(COMMAND)
        .completer(COMMAND)
        .complete();
}

/// Prints a page, or writes all of them.
///
/// # Errors
/// An unknown command, a directory that cannot be written to.
pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut program = Cli::definition().disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &args.directory {
        return clap_mangen::generate_to(program, directory)
            .with_context(|| format!("cannot write manual pages to {}", directory.display()))
            .map_err(Failure::from);
    }
    let command = match &args.name {
        None => program,
        Some(name) => found(&program, name)?,
    };
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .context("cannot write the manual page")?;
    print(&String::from_utf8_lossy(&page), &Inputs::default()).map(drop)
}

fn found(program: &Command, name: &str) -> Result<Command, UsageError> {
    program.find_subcommand(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        wrong(
            "man",
            format!("{name:?} is not a command"),
            format!("give one of {}", names.join(", ")),
        )
    })
}

/// Prints the script for `shell`.
///
/// # Errors
/// Standard output that cannot be written.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let script = shell.script().context("cannot write the script")?;
    print(&script, &Inputs::default()).map(drop)
}
