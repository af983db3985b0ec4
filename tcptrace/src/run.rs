//! Runs the commands. The only place with signals and exit codes.

pub(crate) mod check;
mod confine;
mod cost;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod export;
mod files;
pub(crate) mod hist;
pub(crate) mod leaks;
mod losses;
pub mod manual;
pub mod messages;
pub(crate) mod observe;
mod progress;
pub(crate) mod record;
pub(crate) mod recordings;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod signals;
pub(crate) mod snapshot;
pub(crate) mod trace;
pub(crate) mod watch;

use crate::{
    cli::{Cli, Command, PortArgs},
    filter::Filter,
    kernel::refusal::Refusal,
    lossy,
    options::{self, UsageError},
    outfile::{Inputs, NotWritten},
    output::{
        services::Services,
        sink::{Sink, SinkError, not_to_stdout},
        stream::{Ending, Stream},
    },
    source::{self, namespaces, sight},
};
use clap::error::ContextKind;
use jiff::tz::TimeZone;
use std::{io::IsTerminal as _, process::ExitCode};

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// A flag cannot be obeyed.
    Usage(UsageError),
    /// Kernel or privileges insufficient.
    Refused(Refusal),
    /// The output cannot be written.
    Output(NotWritten),
    /// Any other error, with its context.
    Other(anyhow::Error),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotWritten> for Failure {
    fn from(error: NotWritten) -> Self {
        Self::Output(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// The outcome of a command that searches for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something was found: exit status 3 for `leaks` and `doctor`.
    Found,
    /// Nothing was found, and everything requested was seen.
    Nothing,
    /// Nothing was found, and not everything could be seen: exit status 4.
    NotAllSeen,
}

impl Answer {
    /// What was found decides; where that is nothing, whether all was seen.
    pub(crate) const fn of(is_found: bool, is_all_seen: bool) -> Self {
        match (is_found, is_all_seen) {
            (true, _) => Self::Found,
            (false, true) => Self::Nothing,
            (false, false) => Self::NotAllSeen,
        }
    }

    fn code(self) -> ExitCode {
        match self {
            Self::Found => ExitCode::from(code::FOUND),
            Self::Nothing => ExitCode::SUCCESS,
            Self::NotAllSeen => ExitCode::from(code::REFUSED),
        }
    }
}

/// The exit codes of design and `--help`.
mod code {
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const FOUND: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
}

/// Runs the command and returns its exit status.
#[must_use]
pub fn run(mut cli: Cli) -> ExitCode {
    let verbose = cli.verbose;
    if let Some((files, endings)) = cli.command.files()
        && let Err(error) = options::recording::open_directories(files, endings)
    {
        messages::tell(error);
        return ExitCode::from(code::USAGE);
    }
    let done = |()| ExitCode::SUCCESS;
    signals::ignore_dump();
    let result = match cli.command {
        Command::Watch(args) => watch::run(&args, verbose).map(done),
        Command::Trace(args) => trace::run(&args, verbose).map(done),
        Command::Snapshot(args) => snapshot::run(&args).map(Answer::code),
        Command::Hist(args) => hist::run(&args, verbose).map(Answer::code),
        Command::Leaks(args) => leaks::run(&args, verbose).map(Answer::code),
        Command::Doctor(args) => doctor::run(&args, verbose).map(Answer::code),
        Command::Record(args) => record::run(&args, verbose).map(done),
        Command::Report(args) => report::run(&args, verbose).map(done),
        Command::Export(args) => export::run(&args).map(done),
        Command::Serve(args) => serve::run(args, verbose).map(done),
        Command::Check(args) => check::run(&args, verbose).map(done),
        Command::Man(args) => manual::run(&args).map(done),
        Command::Completions(args) => manual::completions(args.shell).map(done),
    };
    let code = match result {
        Ok(code) => code,
        Err(Failure::Output(error)) if error.cause.kind() == Some(std::io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(error)) => {
            messages::tell(error);
            ExitCode::from(code::USAGE)
        }
        Err(Failure::Refused(refusal)) => {
            messages::tell(refusal.explain(verbose > 0));
            ExitCode::from(code::REFUSED)
        }
        Err(Failure::Output(error)) => {
            messages::tell(error);
            ExitCode::from(code::FAILED)
        }
        Err(Failure::Other(error)) => {
            messages::tell(format_args!("{error:#}"));
            ExitCode::from(code::FAILED)
        }
    };
    messages::finish(signals::patience());
    code
}

/// Prints clap's message, which is the help if that was requested, and returns the exit status.
#[must_use]
pub fn explain(mut error: clap::Error) -> ExitCode {
    // A mistyped flag is rarely meant as a value, and few commands take any.
    error.remove(ContextKind::Suggested);
    let is_for_a_program = !error.use_stderr() && !std::io::stdout().is_terminal();
    let printed = if is_for_a_program {
        Sink::open(None, &Inputs::default())
            .map_err(SinkError::from)
            .and_then(|mut sink| {
                sink.lines(&error.render().to_string())
                    .and_then(|()| sink.flush())
            })
    } else {
        error.print().map_err(|error| not_to_stdout(error).into())
    };
    match printed {
        _ if error.use_stderr() => ExitCode::from(code::USAGE),
        Ok(()) | Err(SinkError::Closed) => ExitCode::SUCCESS,
        Err(SinkError::Failed(_)) => ExitCode::from(code::FAILED),
    }
}

/// Prints a whole text to standard output, which must not be one of the files that are read; `false` where the reader
/// has gone.
fn print(text: &str, inputs: &Inputs) -> Result<bool, Failure> {
    let stream = stream(Sink::open(None, inputs)?, 0)?;
    is_wanted(stream.finish(text, signals::patience()))
}

fn is_wanted(ending: Result<Ending, SinkError>) -> Result<bool, Failure> {
    match ending {
        Ok(Ending::Closed) => Ok(false),
        ending => ended(ending).map(|()| true),
    }
}

/// Prints a whole text for people, as the terminal needs it; `false` where the reader has gone.
fn show(text: &str, inputs: &Inputs) -> Result<bool, Failure> {
    let stream = stream(Sink::open(None, inputs)?.shown(true), 0)?;
    is_wanted(stream.finish(text, signals::patience()))
}

/// What ports are called in an output that is text, as far as that is requested. Fails if it is requested of
/// another form, or `/etc/services` cannot be read.
fn services(args: &PortArgs, is_text: bool) -> Result<Services, UsageError> {
    const FILE: &str = "/etc/services";
    if !args.services {
        return Ok(Services::default());
    }
    if !is_text {
        return Err(options::wrong(
            "--services",
            "only text names ports: every other form has their numbers",
            "omit the flag, or --json, --csv and --format",
        ));
    }
    let text = lossy::read(FILE).map_err(|error| {
        options::wrong(
            "--services",
            format!("{FILE}: {error}"),
            "omit the flag, or install the file, on Debian with the package netbase",
        )
    })?;
    Ok(Services::parse(&text))
}

/// A stream to `sink`, with a limit on the bytes that wait for the reader.
fn stream(sink: Sink, most_bytes: usize) -> Result<Stream, Failure> {
    Stream::start(sink, most_bytes)
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context("cannot start the writer thread")))
}

/// How a stream ended is reported where it was not as it should be.
fn ended(ending: Result<Ending, SinkError>) -> Result<(), Failure> {
    match ending {
        Ok(Ending::Whole | Ending::Closed) => Ok(()),
        Ok(Ending::Stalled(bytes)) => Err(Failure::Other(anyhow::anyhow!(
            "the last {bytes} bytes of the output were not written\n  what it means: the reader has not read anything since the end was requested\n  what to do: read it to its end, or redirect it to a file"
        ))),
        Err(error) => ignore_broken_pipe(Err(error)).map(drop),
    }
}

/// A reader that went away is a clean end; everything else is not.
fn ignore_broken_pipe(result: Result<(), SinkError>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(SinkError::Closed) => Ok(false),
        Err(SinkError::Failed(error)) => Err(Failure::Output(error)),
    }
}

/// Reports selected containers and network namespaces that do not exist yet, for a command that waits for them.
fn name_absent(filter: &Filter) {
    for netns in namespaces::absent(&filter.netns) {
        messages::tell(format_args!(
            "network namespace {netns}: {}; nothing is shown of it until it has an event",
            sight::why_not_found()
        ));
    }
    for word in options::absent_containers(filter) {
        messages::tell(format_args!(
            "no process runs in a container, pod or unit named {word}: nothing is shown until one does"
        ));
    }
}

/// The time zone of this host, in which text output shows times; a failure is reported.
fn zone() -> TimeZone {
    let (zone, problem) = source::zone::system();
    if let Some(problem) = problem {
        messages::tell(&problem);
    }
    zone
}

/// The single-threaded runtime that all commands wait on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context("cannot start the event loop")))
}
