//! The time zone of this host, as tzset(3) finds it. Looks only at regular files of the size that time zones have: `TZ`
//! may name anything, and the library would read it to its end.

use crate::printable::printable;
use jiff::tz::TimeZone;
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The largest file of the time zone database is a hundredth of this.
const MOST_BYTES: u64 = 512 << 10;

/// The zone where `TZ` names none.
const OF_THE_HOST: &str = "/etc/localtime";

/// Where zones are found by name, unless `TZDIR` says otherwise.
const ZONES: &str = "/usr/share/zoneinfo";

/// The zone, and what is wrong with the requested one: it is then UTC.
pub(crate) fn system() -> (TimeZone, Option<String>) {
    found(env::var_os("TZ"), env::var_os("TZDIR"))
}

fn found(variable: Option<OsString>, folder: Option<OsString>) -> (TimeZone, Option<String>) {
    let Some(variable) = variable else {
        // A host without the file is on UTC (localtime(5)).
        return match read(Path::new(OF_THE_HOST)) {
            Ok(zone) => (zone, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (TimeZone::UTC, None),
            Err(error) => (TimeZone::UTC, Some(explained(OF_THE_HOST, &error))),
        };
    };
    // POSIX: what follows a colon is the system's own, a file or a name.
    let name = variable
        .as_bytes()
        .strip_prefix(b":")
        .unwrap_or(variable.as_bytes());
    if name.is_empty() || name == b"UTC" {
        return (TimeZone::UTC, None);
    }
    let rule = variable.to_str().and_then(|rule| TimeZone::posix(rule).ok());
    if let Some(zone) = rule {
        return (zone, None);
    }
    let folder = folder.map_or_else(|| PathBuf::from(ZONES), PathBuf::from);
    // An absolute path replaces the folder.
    match read(&folder.join(OsStr::from_bytes(name))) {
        Ok(zone) => (zone, None),
        Err(error) => (
            TimeZone::UTC,
            Some(explained(&format!("TZ={}", variable.display()), &error)),
        ),
    }
}

fn explained(what: &str, error: &io::Error) -> String {
    let what = printable(what.as_bytes());
    format!(
        "{what}: {error}\n  what it means: times are in UTC\n  what to do: set TZ to a zone of {ZONES}, or unset it"
    )
}

fn read(path: &Path) -> io::Result<TimeZone> {
    let check = |metadata: &Metadata| {
        if metadata.is_file() && metadata.len() <= MOST_BYTES {
            Ok(())
        } else {
            Err(io::Error::other("it is not a time zone file"))
        }
    };
    // Opening a device may do something.
    check(&fs::metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    check(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    TimeZone::tzif(&path.to_string_lossy(), &bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// A zone of five hours west, as zic(8) compiles `<-05>5`.
    fn five_hours_west() -> Vec<u8> {
        let block = |version: u8| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.extend([0; 15]);
            // Counts: UT and standard indicators, leap seconds, transitions, types, characters.
            for count in [0_u32, 0, 0, 0, 1, 4] {
                bytes.extend(count.to_be_bytes());
            }
            bytes.extend((-5 * 3_600_i32).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(b"-05\0");
            bytes
        };
        [&block(b'2')[..], &block(b'2')[..], b"\n<-05>5\n"].concat()
    }

    fn hours(zone: &TimeZone) -> i32 {
        zone.to_offset(Timestamp::UNIX_EPOCH).seconds() / 3_600
    }

    #[test]
    fn a_zone_is_a_rule_a_name_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("West");
        fs::write(&file, five_hours_west()).unwrap();
        let in_folder = Some(folder.path().as_os_str().to_owned());
        for variable in ["West", ":West", file.to_str().unwrap(), "<-05>5"] {
            let (zone, problem) = found(Some(variable.into()), in_folder.clone());
            assert_eq!((hours(&zone), problem), (-5, None), "{variable}");
        }
        for variable in ["", ":", "UTC"] {
            assert_eq!(found(Some(variable.into()), None), (TimeZone::UTC, None));
        }
    }

    #[test]
    fn what_is_no_file_of_a_zone_is_not_read_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        let file = fs::File::create(&large).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        let broken = folder.path().join("broken");
        fs::write(&broken, b"TZif").unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [
            Path::new("/dev/zero"),
            Path::new("/no/such\x1bfile"),
            folder.path(),
            &large,
            &broken,
            &pipe,
        ] {
            let variable = OsString::from(format!(":{}", path.display()));
            let (zone, problem) = found(Some(variable), None);
            let problem = problem.unwrap();
            assert_eq!(zone, TimeZone::UTC);
            assert!(problem.contains("UTC") && !problem.contains('\x1b'), "{problem}");
        }
    }
}
