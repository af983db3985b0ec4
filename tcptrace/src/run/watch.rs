//! `tcptrace watch`: the live view on a terminal, plain frames anywhere else; of this host or of recordings.

mod live;
mod replay;
mod screen;

use super::Failure;
use crate::{
    cli::WatchArgs,
    options::{self, UsageError},
    output::frame::ProcessColumn,
};
use std::{
    env,
    io::{self, IsTerminal as _},
};

/// Shows frames until the user, a signal, the count or the end of the recordings ends it.
pub(crate) fn run(args: &WatchArgs, verbose: u8) -> Result<(), Failure> {
    if args.files.is_empty() {
        live::run(args, verbose)
    } else {
        replay::run(args)
    }
}

/// The chosen columns of frames. Fails if one is unknown, or there will be no frames.
fn columns(args: &WatchArgs) -> Result<Vec<ProcessColumn>, UsageError> {
    const FLAG: &str = "--columns";
    if !args.columns.is_empty() && has_live_view(args) {
        return Err(options::wrong(
            FLAG,
            "the live view chooses its columns by the width of the terminal",
            "add -b for frames with these columns",
        ));
    }
    let column = |name: &String| {
        ProcessColumn::all()
            .find(|column| column.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = ProcessColumn::all().map(|column| column.name).collect();
                options::unknown_column(FLAG, name, &known)
            })
    };
    args.columns.iter().map(column).collect()
}

/// Whether there is a terminal that can be drawn on, and nobody wants the plain form.
fn has_live_view(args: &WatchArgs) -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdout().is_terminal() && !args.batch && !args.json && !is_dumb
}
