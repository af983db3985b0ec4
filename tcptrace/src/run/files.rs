//! Files that a run which goes on writes: new ones beside each other, whole or not at all.

use crate::output::json::rfc3339;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// `tcptrace-HOST-20261122T015400Z.hlog` in the working directory; `what` goes behind the time, where there is any.
pub(super) fn new_name(host: &str, wall_ns: u64, what: &str, extension: &str) -> PathBuf {
    let time: String = rfc3339(wall_ns)
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let host: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let dash = if what.is_empty() { "" } else { "-" };
    PathBuf::from(format!("tcptrace-{host}-{time}Z{dash}{what}.{extension}"))
}

/// Writes beside and renames, so that a reader never sees half of it, and a link that somebody has put there is not
/// followed. Readable by its owner alone: it may name processes and addresses.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_named_after_host_and_time() {
        let at = 1_795_300_000_000_000_000;
        assert_eq!(
            new_name("web/1", at, "", "hlog"),
            Path::new("tcptrace-web-1-20261121T222640Z.hlog")
        );
        assert_eq!(
            new_name("web1", at, "processes", "csv"),
            Path::new("tcptrace-web1-20261121T222640Z-processes.csv")
        );
    }
}
