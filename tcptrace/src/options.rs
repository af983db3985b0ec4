//! Validates flags and looks names up. Errors name the flag and the remedy.

pub(crate) mod recording;
pub(crate) mod serve;
pub(crate) mod words;

use crate::{
    cli::{FilterArgs, HistArgs, HistFormat, OutputArgs, TracingArgs},
    event::{Family, StateSet, TcpState},
    filter::{Filter, Pinned},
    findings::rules::{self, Rule},
    kernel::{
        clock,
        loader::{BUFFER_RANGE, Settings},
    },
    owner::container::Tree,
    printable::printable,
    quantity,
    source::{
        cgroups::{self, Cgroups},
        namespaces,
        process::{self, leader_of},
        sight,
    },
    stats::key::By,
};
use std::{borrow::Cow, io, os::fd::AsRawFd, path::PathBuf, time::Duration};

/// A flag that cannot be obeyed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{flag}: {problem}\n  what to do: {remedy}")]
pub struct UsageError {
    /// The flag, with its dashes.
    pub flag: Cow<'static, str>,
    /// What is wrong with it.
    pub problem: String,
    /// What would do.
    pub remedy: String,
}

/// The error of a flag, what is wrong with it, and what would do.
pub(crate) fn wrong(
    flag: impl Into<Cow<'static, str>>,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> UsageError {
    UsageError {
        flag: flag.into(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// A column that does not exist.
pub(crate) fn unknown_column(flag: &'static str, name: &str, known: &[&str]) -> UsageError {
    let problem = format!("unknown column \"{name}\"");
    wrong(flag, problem, format!("expected one of {}", known.join(",")))
}

/// The rule of `doctor`'s that a flag names.
pub(crate) fn rule(flag: &'static str, id: &str) -> Result<&'static Rule, UsageError> {
    rules::named(id).ok_or_else(|| {
        let names: Vec<&str> = rules::ALL.iter().map(|rule| rule.id).collect();
        wrong(
            flag,
            format!("unknown rule \"{id}\""),
            format!("give one of {}", names.join(", ")),
        )
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text { wide: bool },
    Json,
    Csv,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Whether column titles are printed.
    pub(crate) header: bool,
    /// Columns of the terminal that shows it, if there is one.
    pub(crate) columns: Option<u16>,
    /// A file instead of standard output.
    pub(crate) file: Option<PathBuf>,
}

impl Output {
    /// Whether it is text for people.
    pub(crate) const fn is_text(&self) -> bool {
        matches!(self.format, Format::Text { .. })
    }
}

pub(crate) fn output(args: &OutputArgs) -> Output {
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        (false, false) => Format::Text { wide: args.wide },
    };
    Output {
        format,
        header: !args.no_header,
        columns: terminal_size()
            .map(|(columns, _)| columns)
            .filter(|columns| *columns > 0 && args.output.is_none()),
        file: args.output.clone(),
    }
}

/// What `hist` is to print, of whatever it measures or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistOptions {
    /// What durations are grouped by.
    pub(crate) by: By,
    /// Maximum number of groups in text output.
    pub(crate) top: usize,
    pub(crate) form: HistFormat,
    /// How long the intervals of a log are; `None` for the whole run.
    pub(crate) interval: Option<Duration>,
    /// The selected states; all if empty.
    pub(crate) states: Vec<TcpState>,
    pub(crate) output: Output,
}

/// Reads the flags of `hist` on its output. Fails if one of them does not go with the form.
pub(crate) fn hist(args: &HistArgs) -> Result<HistOptions, UsageError> {
    let output = output(&args.output);
    let form = args.format.unwrap_or(match output.format {
        Format::Text { .. } => HistFormat::Text,
        Format::Json => HistFormat::Json,
        Format::Csv => HistFormat::Csv,
    });
    if args.interval.is_some() && form != HistFormat::Hlog {
        return Err(wrong(
            "--interval",
            "intervals apply to logs only",
            "add --format hlog, or omit --interval",
        ));
    }
    if args.files.is_empty() {
        recording::refuse_span(&args.span)?;
    }
    Ok(HistOptions {
        by: args.by,
        top: if args.output.wide { usize::MAX } else { args.top },
        form,
        interval: args.interval,
        states: StateSet::states(&args.state),
        output,
    })
}

/// Columns and lines of the terminal on standard output; `None` if it is not a terminal. A terminal may report 0.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    size_of(&io::stdout())
}

/// Columns of a terminal; `None` if it is none, or does not report them.
pub(crate) fn columns_of(output: &impl AsRawFd) -> Option<u16> {
    let (columns, _) = size_of(output)?;
    (columns > 0).then_some(columns)
}

fn size_of(output: &impl AsRawFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request writes one winsize, and the pointer is to one.
    let result = unsafe { libc::ioctl(output.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0).then_some((size.ws_col, size.ws_row))
}

/// Reads the tracing flags. Fails if the buffer's size is not one that the kernel takes.
pub(crate) fn settings(args: &TracingArgs, verbose: u8) -> Result<Settings, UsageError> {
    if args.max_connections == 0 {
        return Err(wrong(
            "--max-connections",
            "0 connections cannot be tracked",
            "give 1 or more",
        ));
    }
    Ok(Settings {
        preference: args.hooks,
        sockets: args.sockets.sockets,
        silent: args.silent_hook.clone(),
        buffer_bytes: buffer_size(&args.buffer)?,
        all_protocols: args.all_protocols,
        stacks: None,
        debug: verbose >= 2,
    })
}

fn buffer_size(text: &str) -> Result<u32, UsageError> {
    let (smallest, largest) = BUFFER_RANGE;
    let explain = |problem: String| {
        wrong(
            "--buffer",
            problem,
            "give a power of two from 4K to 1G, such as 256K or 8M",
        )
    };
    let bytes = quantity::size(text).map_err(|_| explain(format!("invalid size \"{text}\"")))?;
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (smallest..=largest).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err(explain(format!("the kernel accepts no ring buffer of {text}"))),
    }
}

/// Reads the filter flags and looks up what they name. Fails if a process, namespace or cgroup does not exist, or a
/// container has no name.
pub(crate) fn filter(args: &FilterArgs, states: &[StateSet]) -> Result<Filter, UsageError> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(Family::Ipv4),
        (_, true) => Some(Family::Ipv6),
        (false, false) => None,
    };
    let mut cgroups = Cgroups::of_this_host();
    Ok(Filter {
        pids: args
            .pid
            .iter()
            .map(|pid| pinned(*pid))
            .collect::<Result<_, _>>()?,
        comms: comms(&args.comm)?,
        users: args.user.clone(),
        local_ports: args.localport.clone(),
        remote_ports: args.remoteport.clone(),
        local_networks: args.local.clone(),
        remote_networks: args.remote.clone(),
        family,
        states: StateSet::states(states),
        netns: args
            .netns
            .iter()
            .map(|word| netns(word))
            .collect::<Result<_, _>>()?,
        cgroups: args
            .cgroup
            .iter()
            .map(|word| cgroup(&mut cgroups, word))
            .collect::<Result<_, _>>()?,
        containers: args
            .container
            .iter()
            .map(|word| container(word))
            .collect::<Result<_, _>>()?,
    })
}

/// The process with this id, or the one whose thread has it, as it runs now.
fn pinned(id: u32) -> Result<Pinned, UsageError> {
    let found = leader_of(id).and_then(|pid| Some((pid, process::start_of(pid)?)));
    let (pid, start) = found.ok_or_else(|| {
        wrong(
            "--pid",
            sight::elsewhere().map_or_else(
                || format!("there is no process {id}"),
                |why| format!("process {id} is not visible: {why}"),
            ),
            "look it up with pgrep, or select by name with --comm, which also matches later processes",
        )
    })?;
    Ok(Pinned {
        pid,
        start: Some(start),
    })
}

fn netns(word: &str) -> Result<u32, UsageError> {
    // No namespace has the number 0; a name of digits is one all the same.
    if let Some(inode) = word.parse().ok().filter(|inode| *inode != 0) {
        return Ok(inode);
    }
    namespaces::named(word).map_err(|(path, error)| {
        let why = sight::why_refused(&path, &error).map_or_else(String::new, |why| format!("; {why}"));
        wrong(
            "--netns",
            format!("{}: {error}{why}", path.display()),
            "give a name from `ip netns list`, a path like /proc/PID/ns/net, or the inode number that it points to",
        )
    })
}

fn cgroup(cgroups: &mut Cgroups, word: &str) -> Result<Tree, UsageError> {
    let named = (!word.is_empty()).then(|| cgroups.named(word, clock::monotonic()));
    named.flatten().ok_or_else(|| {
        wrong(
            "--cgroup",
            format!("there is no cgroup \"{word}\""),
            "give a path as in /proc/PID/cgroup (after the last colon), a directory below /sys/fs/cgroup, or a cgroup v2 ID; or select by --container, which also matches later ones",
        )
    })
}

/// Refuses to look now for processes of names, or in containers, pods or units, of which there are none now. Fails if
/// one of them has no process.
pub(crate) fn require_present(filter: &Filter) -> Result<(), UsageError> {
    if let Some(word) = absent_comms(filter).first() {
        return Err(wrong(
            "--comm",
            format!("no process name contains {word}"),
            "look it up with `ps -eo pid,comm`, which shows the first 15 bytes; commands that trace also match later processes",
        ));
    }
    match absent_containers(filter).first() {
        None => Ok(()),
        Some(word) => Err(wrong(
            "--container",
            format!("no process runs in a container, pod or unit named {word}"),
            "look it up with `docker ps --no-trunc`, `crictl ps`, `podman ps` or `systemctl status`; commands that trace also match later ones",
        )),
    }
}

/// Names of the filter that no process has now; none where not all processes are seen.
fn absent_comms(filter: &Filter) -> Vec<&str> {
    if filter.comms.is_empty() || sight::elsewhere().is_some() {
        return Vec::new();
    }
    let names = process::names_of_all();
    let is_absent = |word: &&str| !names.iter().any(|name| name.contains(word));
    filter
        .comms
        .iter()
        .map(String::as_str)
        .filter(is_absent)
        .collect()
}

/// Containers, pods and units of the filter that no process is in now; none where not all processes are seen.
pub(crate) fn absent_containers(filter: &Filter) -> Vec<String> {
    if filter.containers.is_empty() || sight::elsewhere().is_some() {
        return Vec::new();
    }
    let locations = cgroups::locations_of_all_processes();
    let is_absent = |word: &&String| !locations.iter().any(|location| location.is_called(word));
    filter.containers.iter().filter(is_absent).cloned().collect()
}

/// Parts of names, none of them empty: every name contains that.
fn comms(words: &[String]) -> Result<Vec<String>, UsageError> {
    if words.iter().any(String::is_empty) {
        return Err(wrong(
            "--comm",
            "an empty name matches every process",
            "give a part of the process name",
        ));
    }
    Ok(words.to_vec())
}

/// As paths are made printable before they are compared, so are words.
fn container(word: &str) -> Result<String, UsageError> {
    if word.is_empty() {
        return Err(wrong(
            "--container",
            "an empty name matches no container",
            "give at least the first four characters of a container's ID, a pod's UID, or a unit as in `systemctl status`",
        ));
    }
    Ok(printable(word.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_with_a_unit() {
        assert_eq!(buffer_size("64K"), Ok(65_536));
        assert_eq!(buffer_size("8MiB"), Ok(8 << 20));
        assert_eq!(buffer_size("1g"), Ok(1 << 30));
        assert_eq!(buffer_size("4096"), Ok(4096));
        for wrong in [
            "",
            "x",
            "3M",
            "2K",
            "2G",
            "-1",
            "99999999999G",
            "18014398509481992K",
        ] {
            assert!(buffer_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_a_remedy() {
        let mut cgroups = Cgroups::of_this_host();
        for refused in [
            pinned(u32::MAX).map(drop),
            netns("no-such-name").map(drop),
            cgroup(&mut cgroups, "/no/such/cgroup").map(drop),
            cgroup(&mut cgroups, "18446744073709551615").map(drop),
            cgroup(&mut cgroups, "").map(drop),
            netns("0").map(drop),
            comms(&[String::new()]).map(drop),
            container("").map(drop),
        ] {
            let error = refused.unwrap_err();
            assert!(!error.remedy.is_empty(), "{error}");
        }
        assert!(pinned(std::process::id()).is_ok());
        assert_eq!(container("web").as_deref(), Ok("web"));
    }

    #[test]
    fn a_container_without_a_process_is_absent() {
        let of = |words: &[&str]| Filter {
            containers: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        assert!(require_present(&Filter::default()).is_ok());
        // In a pid namespace others may be seen by their cgroups, and nothing is refused.
        let is_seen = sight::elsewhere().is_none();
        let word = "no-container-has-this-name";
        assert_eq!(require_present(&of(&[word])).is_err(), is_seen);
        assert_eq!(absent_containers(&of(&[word])).len(), usize::from(is_seen));
    }

    #[test]
    fn a_name_without_a_process_is_absent() {
        let of = |words: &[&str]| Filter {
            comms: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(require_present(&of(&[own.trim_end()])).is_ok());
        let error = require_present(&of(&[own.trim_end(), "no-such-name"]));
        assert_eq!(error.is_err(), sight::elsewhere().is_none());
    }
}
