//! Validates the flags of `record` and of the commands that read recordings. Looks up nothing on this machine.

use super::{UsageError, wrong};
use crate::{
    cli::{FilterArgs, RecordArgs, SpanArgs},
    event::{Family, Nanos, StateSet},
    filter::{Filter, Pinned},
    findings::rules::{self, Rule},
    owner::container::{Location, Tree},
    printable::printable,
    quantity,
    source::zone,
};
use jiff::{
    Timestamp,
    civil::{DateTime, Time},
};
use std::{fs, io, os::unix::ffi::OsStrExt as _, path::PathBuf, time::Duration};

/// A ring of the flight recorder has this many complete files in addition to the current one.
pub(crate) const RING_FILES: u32 = 4;

/// Each file begins with a snapshot: the smallest size at which another may be begun, bytes.
const LEAST_ROTATED: u64 = 1 << 20;

/// When another file is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// At this size, bytes, [`LEAST_ROTATED`] or more.
    Size(u64),
    Time(Duration),
}

/// How the files of a run follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// When another is begun.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) keep: Option<usize>,
}

/// Reads `--rotate`, `--keep` and `--flight-recorder`. Fails if one of them makes no sense.
pub(crate) fn files(args: &RecordArgs) -> Result<Files, UsageError> {
    if let Some(span) = args.flight_recorder {
        return Ok(Files {
            rotation: Some(Rotation::Time(span / RING_FILES)),
            keep: Some(RING_FILES as usize + 1),
        });
    }
    if args.keep == Some(0) {
        return Err(wrong(
            "--keep",
            "0 would delete the file that is being written",
            "give 1 or more",
        ));
    }
    Ok(Files {
        rotation: args.rotate.as_deref().map(rotation).transpose()?,
        keep: args.keep,
    })
}

pub(crate) fn fire_on(words: &[String]) -> Result<Vec<&'static Rule>, UsageError> {
    if words.iter().any(|word| word == "all") {
        return Ok(rules::ALL.to_vec());
    }
    words.iter().map(|word| super::rule("--fire-on", word)).collect()
}

fn rotation(text: &str) -> Result<Rotation, UsageError> {
    let explain = || {
        wrong(
            "--rotate",
            format!("invalid size or time \"{text}\""),
            "give a size such as 100M or 2G, or a time such as 30s, 10m or 1h",
        )
    };
    // A number alone could be either.
    if !text.ends_with(|c: char| c.is_alphabetic()) {
        return Err(explain());
    }
    if let Ok(time) = quantity::time(text) {
        return Ok(Rotation::Time(time));
    }
    match quantity::size(text) {
        Ok(bytes @ LEAST_ROTATED..) => Ok(Rotation::Size(bytes)),
        Ok(1..) => Err(wrong(
            "--rotate",
            format!("{text} may be less than the snapshot with which each file begins"),
            "give 1M or more, or a time such as 10m",
        )),
        Ok(0) | Err(_) => Err(explain()),
    }
}

/// Replaces each directory by the files in it with the first of these endings that any has, in the order of their names.
/// Fails if there are none, or it cannot be read.
pub(crate) fn open_directories(files: &mut Vec<PathBuf>, endings: &[&str]) -> Result<(), UsageError> {
    for path in std::mem::take(files) {
        if path.is_dir() {
            let name = printable(path.as_os_str().as_bytes());
            let remedy = format!("give a directory of files named *.{}", endings.join(" or *."));
            let mut found: Vec<PathBuf> = fs::read_dir(&path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())
                .map_err(|error| wrong("FILE", format!("{name}: {error}"), remedy.clone()))?;
            let has = |path: &PathBuf, ending: &str| path.extension().is_some_and(|end| end == ending);
            let ending = endings
                .iter()
                .find(|ending| found.iter().any(|path| has(path, ending)));
            found.retain(|path| ending.is_some_and(|ending| has(path, ending)));
            found.sort();
            if found.is_empty() {
                return Err(wrong("FILE", format!("{name} has no recording"), remedy));
            }
            files.append(&mut found);
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Wall time, nanoseconds since 1970.
    Wall(u64),
    /// Relative to the start of the recording.
    After(Nanos),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where it begins, if not with the recording.
    pub(crate) from: Option<Moment>,
    /// Where it ends, if not with the recording.
    pub(crate) to: Option<Moment>,
    /// Whether the end was given as a single moment (`--at`), which must be within the recording.
    pub(crate) is_moment: bool,
}

/// Reads `--at`, `--from` and `--to`. Fails if one is no time, or the end is before the beginning.
pub(crate) fn span(args: &SpanArgs) -> Result<Span, UsageError> {
    let moment = |flag, text: &Option<String>| text.as_deref().map(|text| moment(flag, text)).transpose();
    // A recording that is being written ends a little before now.
    let end = |flag, text: &Option<String>| moment(flag, &text.clone().filter(|text| text != "now"));
    let at = end("--at", &args.at)?;
    let span = Span {
        from: moment("--from", &args.from)?,
        to: at.or(end("--to", &args.to)?),
        is_moment: at.is_some(),
    };
    let is_empty = match (span.from, span.to) {
        (Some(Moment::Wall(from)), Some(Moment::Wall(to))) => from > to,
        (Some(Moment::After(from)), Some(Moment::After(to))) => from > to,
        _ => false,
    };
    if is_empty {
        return Err(nothing_between());
    }
    Ok(span)
}

/// Refuses a span for a live run.
pub(crate) fn refuse_span(args: &SpanArgs) -> Result<(), UsageError> {
    let SpanArgs { at, from, to } = args;
    if at.is_some() || from.is_some() || to.is_some() {
        return Err(wrong(
            "--at, --from, --to",
            "time ranges apply to recordings only",
            "give a file, or end a live run with --duration",
        ));
    }
    Ok(())
}

/// A span whose end is before its beginning.
pub(crate) fn nothing_between() -> UsageError {
    wrong("--from", "it is later than --to", "swap the two times")
}

fn moment(flag: &'static str, text: &str) -> Result<Moment, UsageError> {
    let explain = || {
        wrong(
            flag,
            format!("invalid time \"{text}\""),
            "give 2026-11-22T02:30:00Z, \"2026-11-22 02:30\" in local time, 17:52 today, -5m from now, or +90s after the start of the recording",
        )
    };
    let span = |text| quantity::time_or_zero(text).map_err(|_| explain());
    if let Some(after) = text.strip_prefix('+') {
        return u64::try_from(span(after)?.as_nanos())
            .map(|nanos| Moment::After(Nanos(nanos)))
            .map_err(|_| explain());
    }
    let timestamp = if text == "now" {
        Timestamp::now()
    } else if let Some(before) = text.strip_prefix('-') {
        let before = Timestamp::now().checked_sub(span(before)?);
        before.map_err(|_| explain())?
    } else if let Ok(timestamp) = text.parse() {
        timestamp
    } else {
        let (zone, problem) = zone::system();
        if let Some(problem) = problem {
            return Err(wrong(
                flag,
                format!("\"{text}\" is local time, but the time zone is unknown: {problem}"),
                "give a time with its zone, such as 2026-11-22T02:30:00Z",
            ));
        }
        let time = text.parse::<DateTime>().or_else(|_| {
            let of_day: Time = text.parse()?;
            Ok(Timestamp::now().to_zoned(zone.clone()).date().to_datetime(of_day))
        });
        let zoned = time.and_then(|time: DateTime| time.to_zoned(zone));
        zoned.map_err(|_: jiff::Error| explain())?.timestamp()
    };
    u64::try_from(timestamp.as_nanosecond())
        .map(Moment::Wall)
        .map_err(|_| explain())
}

/// Parses the filter flags without lookups: processes and namespaces may no longer exist. Fails if a namespace is given
/// by a name, which only its own machine can look up, or a container by an empty word.
pub(crate) fn filter(args: &FilterArgs, states: &[StateSet]) -> Result<Filter, UsageError> {
    let netns = |word: &String| {
        word.parse().map_err(|_| {
            wrong(
                "--netns",
                format!("{word} would be looked up on this machine, but the recording may come from another"),
                "give its inode number as in the recording",
            )
        })
    };
    let anybody_with = |pid: &u32| Pinned {
        pid: *pid,
        start: None,
    };
    Ok(Filter {
        pids: args.pid.iter().map(anybody_with).collect(),
        comms: super::comms(&args.comm)?,
        users: args.user.clone(),
        local_ports: args.localport.clone(),
        remote_ports: args.remoteport.clone(),
        local_networks: args.local.clone(),
        remote_networks: args.remote.clone(),
        family: match (args.ipv4, args.ipv6) {
            (true, _) => Some(Family::Ipv4),
            (_, true) => Some(Family::Ipv6),
            (false, false) => None,
        },
        states: StateSet::states(states),
        netns: args.netns.iter().map(netns).collect::<Result<_, _>>()?,
        cgroups: args.cgroup.iter().map(|word| cgroup(word)).collect(),
        containers: args
            .container
            .iter()
            .map(|word| super::container(word))
            .collect::<Result<_, _>>()?,
    })
}

/// A cgroup by its v2 id, or by its path with or without the usual mount point. That of an id is not looked up: what is
/// below it is selected by path.
fn cgroup(word: &str) -> Tree {
    let id = word.parse().ok();
    let path = word.strip_prefix("/sys/fs/cgroup").unwrap_or(word);
    let path = format!("/{}", path.trim_matches('/'));
    Tree {
        id,
        path: Location::of_path(path.as_bytes()).path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_is_by_size_or_by_time() {
        assert_eq!(rotation("100M"), Ok(Rotation::Size(100 << 20)));
        assert_eq!(rotation("10m"), Ok(Rotation::Time(Duration::from_mins(10))));
        for text in ["", "M", "0M", "10", "10x", "-1s", "é", "99999999999999G"] {
            assert!(rotation(text).is_err(), "{text}");
        }
        assert_eq!(rotation("1024K"), Ok(Rotation::Size(1 << 20)));
        for text in ["1K", "1023K"] {
            let error = rotation(text).unwrap_err().to_string();
            assert!(error.contains("give 1M or more"), "{error}");
        }
    }

    #[test]
    fn a_directory_stands_for_its_recordings() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut files = vec![folder.path().to_owned()];
        let endings = ["arrows", "hlog"];
        assert!(open_directories(&mut files.clone(), &endings).is_err());
        for name in ["b.arrows", "a.arrows", "c.hlog", "notes.txt"] {
            fs::write(at(name), "").unwrap();
        }
        files.push(at("notes.txt"));
        open_directories(&mut files, &endings).unwrap();
        assert_eq!(files, ["a.arrows", "b.arrows", "notes.txt"].map(at));
        // A log beside recordings is of their run.
        for name in ["b.arrows", "a.arrows"] {
            fs::remove_file(at(name)).unwrap();
        }
        let mut files = vec![folder.path().to_owned()];
        open_directories(&mut files, &endings).unwrap();
        assert_eq!(files, [at("c.hlog")]);
    }

    #[test]
    fn rules_are_named_as_doctor_names_them() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let ids = |list: &[&str]| {
            let rules = fire_on(&words(list)).unwrap();
            rules.iter().map(|rule| rule.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["close-wait-leak"]), ["close-wait-leak"]);
        assert_eq!(ids(&["all"]).len(), rules::ALL.len());
        assert!(ids(&[]).is_empty());
        let error = fire_on(&words(&["close-wait"])).unwrap_err().to_string();
        assert!(error.contains("close-wait-leak"), "{error}");
    }

    #[test]
    fn moments_are_absolute_or_from_the_beginning() {
        assert_eq!(
            moment("--at", "1970-01-01T00:00:01Z"),
            Ok(Moment::Wall(1_000_000_000))
        );
        assert_eq!(moment("--at", "+1.5s"), Ok(Moment::After(Nanos(1_500_000_000))));
        assert!(matches!(moment("--at", "2026-11-22 02:30"), Ok(Moment::Wall(_))));
        let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap();
        let Ok(Moment::Wall(before)) = moment("--at", "-5m") else {
            panic!("a moment before now");
        };
        assert!((now..now + 60_000_000_000).contains(&(before + 300_000_000_000)));
        assert!(matches!(moment("--from", "now"), Ok(Moment::Wall(wall)) if wall >= now));
        assert!(matches!(moment("--at", "17:52"), Ok(Moment::Wall(_))));
        for text in ["", "+", "+x", "-", "-x", "soon", "+-1", "25:00", "-1e30"] {
            assert!(moment("--at", text).is_err(), "{text}");
        }
    }
}
