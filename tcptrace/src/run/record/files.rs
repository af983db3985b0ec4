//! The files of a recording: names, files of earlier runs, rotation, deletion, and saving the ring.

use crate::{
    cli::RecordArgs,
    event::Nanos,
    options::recording::{Files as Policy, RING_FILES, Rotation},
    outfile::{self, Cause, Folder},
    run::messages,
};
use jiff::Timestamp;
use nix::errno::Errno;
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{self, TryLockError},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// Digits of a number in a name, at least.
const DIGITS: usize = 6;

/// A file is written for at least this long before another is begun because of its size: the snapshot with which each
/// begins may be larger than that.
const LEAST_TIME: Duration = Duration::from_secs(10);

/// No run gets here; a file with a larger number is nobody's but its user's.
const MOST_FILES: u64 = 1_000_000_000_000;

pub(super) struct Files {
    file: PathBuf,
    is_numbered: bool,
    is_ring: bool,
    policy: Policy,
    /// Existing files, including those of earlier runs, the current one last.
    written: VecDeque<PathBuf>,
    /// How many of them this run has begun, or is about to.
    begun: u64,
    next: u64,
    current_since: Instant,
}

impl Files {
    pub(super) fn new(args: &RecordArgs, policy: Policy) -> Self {
        let is_ring = args.flight_recorder.is_some();
        Self {
            file: if is_ring {
                args.output.join("ring.arrows")
            } else {
                args.output.clone()
            },
            is_numbered: is_ring || args.rotate.is_some(),
            is_ring,
            policy,
            written: VecDeque::new(),
            begun: 0,
            next: 0,
            current_since: Instant::now(),
        }
    }

    /// Whether only the last minutes are kept, until they are saved.
    pub(super) const fn is_ring(&self) -> bool {
        self.is_ring
    }

    /// Creates the ring's directory, and adopts existing numbered files: this run continues after the highest number,
    /// and they count among those that are kept. A single file may replace another that is no recording. Fails if the
    /// folder cannot be created or is not safe, the file is a recording, or another process is recording to one of the
    /// files.
    pub(super) fn prepare(&mut self) -> Result<(), Cause> {
        if !self.is_numbered {
            return outfile::check_new(&self.file).map(drop);
        }
        let parent = self.file.parent().unwrap_or(Path::new("."));
        let folder = if self.is_ring {
            Folder::open_or_make(parent)?
        } else {
            Folder::containing(&self.file)?.0
        };
        let numbered = |name: OsString| Some((self.number(&name)?, name));
        let mut there: Vec<(u64, OsString)> = folder.names()?.into_iter().filter_map(numbered).collect();
        there.sort();
        for (number, name) in there {
            self.next = number + 1;
            let Some(file) = folder.read(&name)? else { continue };
            if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
                return Err(Cause::Busy(name));
            }
            if outfile::is_recording_or_empty(file)? {
                self.written.push_back(self.file.with_file_name(name));
            }
        }
        Ok(())
    }

    /// Makes way for a single file: nothing is replaced before tracing has begun.
    pub(super) fn remove_replaceable(&self) -> Result<(), Cause> {
        if self.is_numbered {
            return Ok(());
        }
        outfile::remove_replaceable(&self.file)
    }

    /// Whether one of the files in turn may have this path.
    pub(super) fn may_number(&self, path: &Path) -> bool {
        self.is_numbered
            && path.parent() == self.file.parent()
            && path.file_name().is_some_and(|name| self.number(name).is_some())
    }

    /// The number in a name of this run's form.
    fn number(&self, name: &OsStr) -> Option<u64> {
        let stem = self.file.file_stem()?.as_bytes();
        let rest = name.as_bytes().strip_prefix(stem)?.strip_prefix(b"-")?;
        let digits = match self.file.extension() {
            Some(extension) => rest.strip_suffix(extension.as_bytes())?.strip_suffix(b".")?,
            None => rest,
        };
        let is_number = digits.len() >= DIGITS && digits.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
        (number < MOST_FILES).then_some(number)
    }

    /// How much time a ring keeps; zero for files that are no ring.
    pub(super) fn kept(&self) -> Nanos {
        match (self.is_ring, self.policy.rotation) {
            (true, Some(Rotation::Time(span))) => {
                let ring = span.saturating_mul(RING_FILES);
                Nanos(u64::try_from(ring.as_nanos()).unwrap_or(u64::MAX))
            }
            _ => Nanos(0),
        }
    }

    /// Path of the histograms of the whole run: next to the recording, and not an existing file.
    pub(super) fn histograms(&self) -> PathBuf {
        let plain = self.file.with_extension("hlog");
        let extension = if plain == self.file { "states.hlog" } else { "hlog" };
        let mut path = self.file.with_extension(extension);
        let mut number = 2;
        while fs::symlink_metadata(&path).is_ok() {
            path = self.file.with_extension(format!("{number}.{extension}"));
            number += 1;
        }
        path
    }

    /// Counts another file as the current one, which is to be made, and returns its path.
    pub(super) fn begin(&mut self) -> PathBuf {
        let mut path = self.path(self.next);
        // What has come since the run began is not this run's.
        while self.is_numbered && fs::symlink_metadata(&path).is_ok() {
            self.next += 1;
            path = self.path(self.next);
        }
        self.next += 1;
        self.begun += 1;
        self.written.push_back(path.clone());
        self.current_since = Instant::now();
        path
    }

    /// `name.ext`, or `name-000003.ext`.
    fn path(&self, number: u64) -> PathBuf {
        if !self.is_numbered {
            return self.file.clone();
        }
        let mut name = self.file.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{number:0DIGITS$}"));
        if let Some(extension) = self.file.extension() {
            name.push(".");
            name.push(extension);
        }
        self.file.with_file_name(name)
    }

    /// Whether files of this run follow each other.
    pub(super) const fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// Whether all files are there that were begun, of which `there` are.
    pub(super) const fn are_there(&self, there: u64) -> bool {
        self.begun == there
    }

    /// Whether another file is due at this size of the current one.
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        match self.policy.rotation {
            Some(Rotation::Size(most)) => bytes >= most && self.current_since.elapsed() >= LEAST_TIME,
            Some(Rotation::Time(span)) => self.current_since.elapsed() >= span,
            None => false,
        }
    }

    /// Deletes those beyond what is kept. The current one must be there: until then the one before is the newest.
    pub(super) fn delete_old(&mut self) {
        let Some(keep) = self.policy.keep else { return };
        while self.written.len() > keep && !self.is_within_the_ring(keep) {
            if let Some(path) = self.written.pop_front()
                && let Err(error) = delete(&path)
            {
                messages::tell(format_args!("{} cannot be deleted: {error}", path.display()));
            }
        }
    }

    /// Whether the oldest file belongs to the time that a ring keeps: runs that ended early leave short ones. Where all
    /// run their full time, the oldest of one more than `keep` has been over for one span less than `keep`.
    fn is_within_the_ring(&self, keep: usize) -> bool {
        let Some(Rotation::Time(span)) = self.policy.rotation.filter(|_| self.is_ring) else {
            return false;
        };
        let kept = span.saturating_mul(u32::try_from(keep.saturating_sub(2)).unwrap_or(u32::MAX));
        let written = self
            .written
            .front()
            .and_then(|path| fs::symlink_metadata(path).ok()?.modified().ok());
        written.is_some_and(|written| written.elapsed().is_ok_and(|age| age < kept))
    }

    /// Links all files but the current one into a folder of their own, where no rotation deletes them. Returns the
    /// folder and how many they are. Fails if the folder cannot be made or written.
    pub(super) fn save(&self) -> Result<(PathBuf, usize), Cause> {
        let root = Folder::open(self.file.parent().unwrap_or(Path::new(".")))?;
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
        let name = make_new(&root, &format!("saved-{time}"))?;
        let path = root.path().join(name);
        let saved = Folder::open(&path)?;
        let mut count = 0;
        // The one before the current is finished by the writing thread, under both names.
        let whole = self.written.len().saturating_sub(1);
        for name in self
            .written
            .iter()
            .take(whole)
            .filter_map(|path| path.file_name())
        {
            match root.link(name, &saved) {
                Ok(()) => count += 1,
                // Somebody has removed it.
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((path, count))
    }
}

fn delete(path: &Path) -> Result<(), Cause> {
    let (folder, name) = Folder::containing(path)?;
    match folder.remove(&name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a folder of this name, or where that is taken `NAME-2` and so on.
fn make_new(root: &Folder, name: &str) -> Result<String, Cause> {
    let mut number = 1;
    loop {
        let name = match number {
            1 => name.to_owned(),
            _ => format!("{name}-{number}"),
        };
        match root.make_folder(OsStr::new(&name)) {
            Ok(()) => return Ok(name),
            Err(Errno::EEXIST) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
