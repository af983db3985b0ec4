//! What the flags mean: validated, with names looked up. Errors say which flag and what would do.

pub mod recording;

use crate::{
    cli::{FilterArgs, OutputArgs, TracingArgs},
    event::{Family, TcpState},
    filter::Filter,
    kernel::loader::{BUFFER_RANGE, Settings},
    source::namespaces,
};
use std::{
    fs,
    io::IsTerminal as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// A flag that cannot be obeyed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{flag}: {problem}\n  what to do: {remedy}")]
pub struct UsageError {
    /// Which flag.
    pub flag: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What would do.
    pub remedy: String,
}

/// The error of a flag, what is wrong with it, and what would do.
pub fn wrong(flag: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> UsageError {
    UsageError {
        flag,
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    Text {
        /// All columns.
        wide: bool,
    },
    /// JSON lines.
    Json,
    /// Comma-separated values.
    Csv,
}

/// Where to write, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The form.
    pub format: Format,
    /// Whether column titles are printed.
    pub header: bool,
    /// A file instead of standard output.
    pub file: Option<PathBuf>,
}

/// Terminals this wide show every column.
const WIDE_TERMINAL: u16 = 140;

/// Reads the output flags.
#[must_use]
pub fn output(args: &OutputArgs) -> Output {
    let roomy = args.output.is_none()
        && std::io::stdout().is_terminal()
        && terminal_size().is_some_and(|(columns, _)| columns >= WIDE_TERMINAL);
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        (false, false) => Format::Text {
            wide: args.wide || roomy,
        },
    };
    Output {
        format,
        header: !args.no_header,
        file: args.output.clone(),
    }
}

/// Columns and lines of the terminal on standard output; `None` where it is none. One that does not know says 0.
#[must_use]
pub fn terminal_size() -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request writes one winsize, and the pointer is to one.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0).then_some((size.ws_col, size.ws_row))
}

/// Reads the tracing flags.
///
/// # Errors
/// Where the buffer's size is not one that the kernel takes.
pub fn settings(args: &TracingArgs, verbose: u8) -> Result<Settings, UsageError> {
    if args.max_connections == 0 {
        return Err(wrong(
            "--max-connections",
            "0 leaves no room for any connection",
            "give 1 or more",
        ));
    }
    Ok(Settings {
        preference: args.hooks,
        buffer_bytes: buffer_size(&args.buffer)?,
        all_protocols: args.all_protocols,
        debug: verbose >= 2,
    })
}

/// A span given in seconds.
///
/// # Errors
/// Where it is negative, zero, or no number.
pub fn seconds(flag: &'static str, value: f64) -> Result<Duration, UsageError> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|span| !span.is_zero())
        .ok_or_else(|| {
            wrong(
                flag,
                format!("{value} is no time to wait"),
                "give seconds above 0, as in 0.5 or 60",
            )
        })
}

fn buffer_size(text: &str) -> Result<u32, UsageError> {
    let (smallest, largest) = BUFFER_RANGE;
    let explain = |problem: String| {
        wrong(
            "--buffer",
            problem,
            "give a power of two from 4K to 1G, as in 256K or 8M",
        )
    };
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.trim_end_matches('B').trim_end_matches('I');
    let (digits, unit) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, &upper[digits.len()..]),
        None => (upper, ""),
    };
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_shl(shift))
        .ok_or_else(|| explain(format!("\"{text}\" is no size")))?;
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (smallest..=largest).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err(explain(format!("the kernel takes no ring buffer of {text}"))),
    }
}

/// Reads the filter flags and looks up what they name.
///
/// # Errors
/// Where a process, namespace or cgroup does not exist.
pub fn filter(args: &FilterArgs, states: &[TcpState]) -> Result<Filter, UsageError> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(Family::Ipv4),
        (_, true) => Some(Family::Ipv6),
        (false, false) => None,
    };
    for pid in &args.pid {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            return Err(wrong(
                "--pid",
                format!("there is no process {pid}"),
                "look it up with pgrep, or select by name with --comm, which also takes processes to come",
            ));
        }
    }
    Ok(Filter {
        pids: args.pid.clone(),
        comms: args.comm.clone(),
        local_ports: args.localport.clone(),
        remote_ports: args.remoteport.clone(),
        family,
        states: states.to_vec(),
        netns: args
            .netns
            .iter()
            .map(|word| netns(word))
            .collect::<Result<_, _>>()?,
        cgroups: args
            .cgroup
            .iter()
            .map(|word| cgroup(word))
            .collect::<Result<_, _>>()?,
    })
}

fn netns(word: &str) -> Result<u32, UsageError> {
    if let Ok(inode) = word.parse() {
        return Ok(inode);
    }
    let path = if word.contains('/') {
        PathBuf::from(word)
    } else {
        Path::new("/run/netns").join(word)
    };
    namespaces::inode_of(&path).map_err(|error| {
        wrong(
            "--netns",
            format!("{}: {error}", path.display()),
            "give a name of `ip netns list`, a path like /proc/PID/ns/net, or the inode number that it points to",
        )
    })
}

fn cgroup(word: &str) -> Result<u64, UsageError> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let relative = word.trim_start_matches('/');
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .map(|mount| Path::new(mount).join(relative))
        .chain([PathBuf::from(word)])
        .find_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.ino())
        .ok_or_else(|| {
            wrong(
                "--cgroup",
                format!("there is no cgroup {word}"),
                "give a path as in /proc/PID/cgroup, after the last colon, or its id",
            )
        })
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
        for wrong in ["", "x", "3M", "2K", "2G", "-1", "99999999999G"] {
            assert!(buffer_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_above_zero() {
        assert_eq!(seconds("-d", 0.5), Ok(Duration::from_millis(500)));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(seconds("-d", wrong).is_err());
        }
    }
}
