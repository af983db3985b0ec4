//! The flags, as clap reads them. What they mean together is decided in `options`.

use crate::{
    event::TcpState,
    findings::Level,
    kernel::{
        plan::{Preference, SocketReader},
        stacks::Wanted as Stacks,
    },
    stats::key::By,
    view::Sort,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Which process leaks CLOSE_WAIT, how long TIME_WAIT lingers and who made it: TCP states as the kernel has them.
#[derive(Debug, Parser)]
#[command(
    name = "tcptrace",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 something found, 4 this kernel or these privileges will not do.",
    propagate_version = true
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Say more: the verifier's whole log, what the kernel side logs (-vv)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show processes and their sockets live: a view with keys on a terminal, else a frame every so often
    Watch(WatchArgs),
    /// Print every change of state as it happens
    Trace(TraceArgs),
    /// List the sockets that exist now, with their state's age and who holds them
    Snapshot(SnapshotArgs),
    /// Measure how long each state lasts, now or in recordings
    Hist(HistArgs),
    /// Name the processes that forget to close sockets, and say why; exit status 3 where there are any
    Leaks(LeaksArgs),
    /// Say what is wrong here and which settings would help; exit status 3 where anything is
    Doctor(DoctorArgs),
    /// Write everything to a file, for report, export and other tools
    Record(RecordArgs),
    /// Show what was true in a recording, at its end or at any moment
    Report(ReportArgs),
    /// Turn recordings into a table for other tools
    Export(ExportArgs),
    /// Say what this kernel and these privileges allow
    Check(CheckArgs),
}

/// `watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Play these recordings instead of watching this machine
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Speed of a recording: 1 as it was, 10 ten times as fast, 0 without waiting
    #[arg(long, default_value = "1", value_name = "FACTOR", requires = "files")]
    pub speed: f64,
    /// Seconds between two frames
    #[arg(short = 'd', long, default_value = "1", value_name = "SECONDS")]
    pub delay: f64,
    /// Stop after this many frames
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Print frames one after the other even on a terminal
    #[arg(short = 'b', long)]
    pub batch: bool,
    /// Order of the processes
    #[arg(short = 's', long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only sockets in these states
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<TcpState>,
    /// On SIGUSR1, or D in the live view, write how long states lasted to this file in HdrHistogram's log form, instead
    /// of to a new tcptrace-HOST-TIME.hlog
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub tracing: TracingArgs,
}

/// `trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Stop after this many lines
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Only changes from or to these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<TcpState>,
    /// Print a line for each connection when it ends instead: its owner, time in every state, bytes, reason
    #[arg(long)]
    pub lifetimes: bool,
    /// At the end, compare the table with the kernel's own and show the differences
    #[arg(long)]
    pub audit: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub output: OutputArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub tracing: TracingArgs,
}

/// `snapshot`
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Only sockets in these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<TcpState>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub output: OutputArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub sockets: SocketArgs,
}

/// The forms of `hist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HistFormat {
    /// Tables and bars
    Text,
    /// One JSON object a line, as --json
    Json,
    /// Comma-separated values, as --csv
    Csv,
    /// HdrHistogram's log, for HistogramLogProcessor, and for `hist` itself to read
    Hlog,
    /// HdrHistogram's percentile distribution, for its plotter: of all states together; with -o, a file for each
    /// state too
    Hgrm,
}

/// What means nothing where files are read.
const LIVE_ONLY: [&str; 6] = [
    "duration",
    "hooks",
    "sockets",
    "buffer",
    "max_connections",
    "all_protocols",
];

/// `hist`
#[derive(Debug, Args)]
pub struct HistArgs {
    /// Read these recordings and .hlog files, of one host or several, instead of tracing
    #[arg(value_name = "FILE", conflicts_with_all = LIVE_ONLY)]
    pub files: Vec<PathBuf>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// What to tell apart
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub by: By,
    /// How many of those told apart text shows
    #[arg(long, default_value = "10", value_name = "COUNT")]
    pub top: usize,
    /// The form
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["json", "csv"])]
    pub format: Option<HistFormat>,
    /// With --format hlog: seconds that one set of lines is for
    #[arg(long, value_name = "SECONDS")]
    pub interval: Option<f64>,
    /// Only these states, and no lifetimes of connections
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<TcpState>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as below")]
    pub span: SpanArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub output: OutputArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub tracing: TracingArgs,
}

/// `leaks`
#[derive(Debug, Args)]
pub struct LeaksArgs {
    /// Watch for this many seconds: what grows, and how long a process's CLOSE_WAITs usually last
    #[arg(long, default_value = "10", value_name = "SECONDS", conflicts_with = "once")]
    pub duration: f64,
    /// Look once, without tracing
    #[arg(long)]
    pub once: bool,
    /// A socket in CLOSE_WAIT for this many seconds is a leak. Without it: 60, or what the process's own CLOSE_WAITs
    /// teach while they are watched
    #[arg(long, value_name = "SECONDS")]
    pub older_than: Option<f64>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Record where in their programs sockets are made while it watches, and show it for those that leak; with =read,
    /// also where each was last read
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "open",
        value_name = "WHAT",
        conflicts_with = "once"
    )]
    pub stacks: Option<Stacks>,
    /// All sockets of each process, not the ten oldest
    #[arg(short, long)]
    pub wide: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub tracing: TracingArgs,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Judge the end of these recordings instead of this machine
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "once"])]
    pub files: Vec<PathBuf>,
    /// Watch for this many seconds
    #[arg(long, default_value = "10", value_name = "SECONDS", conflicts_with = "once")]
    pub duration: f64,
    /// Look once, without tracing: what grows is not seen
    #[arg(long)]
    pub once: bool,
    /// Exit with status 3 for findings of this level and above
    #[arg(long, value_enum, default_value = "note", value_name = "LEVEL")]
    pub fail_on: Level,
    /// Print the page of a rule, and do nothing else
    #[arg(long, value_name = "RULE")]
    pub explain: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub filter: FilterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub tracing: TracingArgs,
}

/// `record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Write to this file, which must not be there yet; with --flight-recorder, to this folder; with --rotate, to files
    /// whose numbers continue after those that are there
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Have everything on the disk after this many seconds: what a crash may cost
    #[arg(long, default_value = "1", value_name = "SECONDS")]
    pub sync: f64,
    /// Begin another file after this size or time: 100M, 2G, 30s, 10m, 1h
    #[arg(long, value_name = "SIZE|TIME")]
    pub rotate: Option<String>,
    /// Keep this many files, and delete older ones, those of earlier runs too
    #[arg(long, value_name = "COUNT", requires = "rotate")]
    pub keep: Option<usize>,
    /// Keep the last minutes only, and save them on SIGUSR1
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["rotate", "keep"])]
    pub flight_recorder: Option<f64>,
    /// Save them also when one of these rules of doctor's finds something new; "all" for any of them
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RULE",
        requires = "flight_recorder"
    )]
    pub fire_on: Vec<String>,
    /// At the end, write the report of the live run to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub tracing: TracingArgs,
}

/// `report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Recordings, of one run or several, of one host or several
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub span: SpanArgs,
    /// Order of the processes
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only sockets in these states
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<TcpState>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub filter: FilterArgs,
}

/// In which form `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// Apache Parquet with zstd; needs -o
    Parquet,
    /// Comma-separated values
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Recordings, of one run or several, of one host or several
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// In which form
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Write to this file instead of standard output; replaces it, unless it is a recording or an input
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub span: SpanArgs,
}

/// Which part of a recording.
#[derive(Debug, Args)]
#[command(next_help_heading = "Span of recordings")]
pub struct SpanArgs {
    /// The picture at this moment: 2026-11-22T02:30:00Z, "2026-11-22 02:30" in local time, or +90s from the beginning
    #[arg(long, value_name = "TIME", conflicts_with = "to")]
    pub at: Option<String>,
    /// Count changes and dwells from this moment on
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End at this moment
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which hooks to try
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    pub hooks: Preference,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub sockets: SocketArgs,
}

/// Which connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only these processes, by their own or a thread's id; not others that get the ids later
    #[arg(short, long, value_delimiter = ',', value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only processes whose name contains this
    #[arg(short, long, value_delimiter = ',', value_name = "NAME")]
    pub comm: Vec<String>,
    /// Only these ports of this host
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "PORT")]
    pub localport: Vec<u16>,
    /// Only these ports of the other host
    #[arg(short = 'D', long, value_delimiter = ',', value_name = "PORT")]
    pub remoteport: Vec<u16>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Only these network namespaces: inode number, name (ip netns) or path
    #[arg(short = 'N', long, value_delimiter = ',', value_name = "NETNS")]
    pub netns: Vec<String>,
    /// Only processes in this cgroup or below it: path as in /proc/PID/cgroup, or cgroup v2 id
    #[arg(long, value_name = "PATH|ID")]
    pub cgroup: Vec<String>,
    /// Only processes of this container (4 characters of its id or more, for LXC its name), pod (uid) or systemd unit
    #[arg(long, value_delimiter = ',', value_name = "ID|POD|UNIT")]
    pub container: Vec<String>,
}

/// In which form.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// One JSON object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Comma-separated values
    #[arg(long)]
    pub csv: bool,
    /// No line of column titles
    #[arg(short = 'H', long)]
    pub no_header: bool,
    /// Write to this file instead of standard output; replaces it, unless it is a recording or an input
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// All columns, whole IPv6 addresses
    #[arg(short, long)]
    pub wide: bool,
}

/// How to read sockets.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct SocketArgs {
    /// How to read the sockets that exist
    #[arg(long, value_enum, default_value_t, value_name = "READER")]
    pub sockets: SocketReader,
}

/// How to trace.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct TracingArgs {
    /// Which hooks to use for the states that the tracepoint hides
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    pub hooks: Preference,
    /// Load this program and never run it: for testing what becomes of a hook that does not fire
    #[arg(long, hide = true, value_delimiter = ',', value_name = "PROGRAM")]
    pub silent_hook: Vec<String>,
    /// Size of the kernel's buffer, a power of two: 64K, 8M
    #[arg(long, default_value = "8M", value_name = "SIZE")]
    pub buffer: String,
    /// Live connections to keep; the rest is given up and counted
    #[arg(long, default_value = "1000000", value_name = "COUNT")]
    pub max_connections: usize,
    /// Report the sockets of SCTP and of MPTCP itself too
    #[arg(long)]
    pub all_protocols: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group has no help of its own")]
    pub sockets: SocketArgs,
}
