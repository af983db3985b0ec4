//! Settings in the files of sysctl.conf(5) and sysctl.d(5).

use crate::{
    findings::scene::Configured,
    printable::{made_printable, printable},
};
use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Where an administrator writes; what a distribution ships is its own affair.
const FILE: &str = "/etc/sysctl.conf";
const FOLDER: &str = "/etc/sysctl.d";

/// Number of bytes that are read from a file.
const MOST_BYTES: u64 = 1 << 20;

/// The files, in order of their names.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(FILE)];
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Every line that sets something, file by file. A file that is a link to another is read once.
pub(crate) fn read() -> Vec<Configured> {
    let mut known = Vec::new();
    let mut settings = Vec::new();
    for file in files() {
        let Ok(target) = file.canonicalize() else { continue };
        if known.contains(&target) {
            continue;
        }
        let mut bytes = Vec::new();
        let is_read = fs::metadata(&file).is_ok_and(|metadata| metadata.is_file())
            && File::open(&file).is_ok_and(|file| file.take(MOST_BYTES).read_to_end(&mut bytes).is_ok());
        if is_read {
            settings.extend(parse(&file, &String::from_utf8_lossy(&bytes)));
        }
        known.push(target);
    }
    settings
}

fn parse(file: &Path, text: &str) -> Vec<Configured> {
    text.lines()
        .zip(1..)
        .filter_map(|(line, number)| {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                return None;
            }
            let (name, value) = line.split_once('=')?;
            Some(Configured {
                file: printable(file.as_os_str().as_bytes()).into_owned(),
                line: number,
                // A leading dash forgives an error; slashes may stand for dots.
                name: made_printable(name.trim().trim_start_matches('-').replace('/', ".")),
                value: made_printable(value.split_whitespace().collect::<Vec<_>>().join(" ")),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_set_something_are_found() {
        let text = "# net.ipv4.tcp_tw_recycle = 1\n;x=1\n\n net.ipv4.tcp_tw_recycle=1\n-net/ipv4/tcp_mem = 1  2\t3\nnonsense\n";
        let found = parse(Path::new("/etc/sysctl.d/9.conf"), text);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.line, one.name.as_str(), one.value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (4, "net.ipv4.tcp_tw_recycle", "1"),
                (5, "net.ipv4.tcp_mem", "1 2 3")
            ]
        );
    }
}
