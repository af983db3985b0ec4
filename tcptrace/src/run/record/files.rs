//! The files of a recording: what they are called, when another is due, which are deleted, and the ring's, saved.

use crate::{
    cli::RecordArgs,
    event::Nanos,
    options::recording::{Files as Policy, RING_FILES, Rotation},
    run::messages,
};
use jiff::Timestamp;
use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};
use tokio::time::Instant;

/// The files of one run.
pub(super) struct Files {
    file: PathBuf,
    is_numbered: bool,
    is_ring: bool,
    policy: Policy,
    /// Those that are there, the current one last.
    written: VecDeque<PathBuf>,
    current_since: Instant,
}

impl Files {
    /// None yet.
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
            current_since: Instant::now(),
        }
    }

    /// Whether only the last minutes are kept, until they are saved.
    pub(super) const fn is_ring(&self) -> bool {
        self.is_ring
    }

    /// Makes the ring's folder.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self.file.parent() {
            Some(folder) if self.is_ring => folder_of_its_user(true, folder),
            Some(_) | None => Ok(()),
        }
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

    /// Where histograms of the whole run are written: beside it.
    pub(super) fn histograms(&self) -> PathBuf {
        self.file.with_extension("hlog")
    }

    /// Counts the file of this number as the current one, and says what it is called.
    pub(super) fn begin(&mut self, segment: u64) -> PathBuf {
        let path = self.path(segment);
        self.written.push_back(path.clone());
        self.current_since = Instant::now();
        path
    }

    /// `name.ext`, or `name-000003.ext`.
    fn path(&self, segment: u64) -> PathBuf {
        if !self.is_numbered {
            return self.file.clone();
        }
        let mut name = self.file.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{segment:06}"));
        if let Some(extension) = self.file.extension() {
            name.push(".");
            name.push(extension);
        }
        self.file.with_file_name(name)
    }

    /// Whether another file is due, where the current one has so many bytes.
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        match self.policy.rotation {
            Some(Rotation::Size(most)) => bytes >= most,
            Some(Rotation::Time(span)) => self.current_since.elapsed() >= span,
            None => false,
        }
    }

    /// Deletes those beyond what is kept.
    pub(super) fn delete_old(&mut self) {
        let Some(keep) = self.policy.keep else { return };
        while self.written.len() > keep {
            if let Some(path) = self.written.pop_front()
                && let Err(error) = fs::remove_file(&path)
            {
                messages::tell(format_args!("{} cannot be deleted: {error}", path.display()));
            }
        }
    }

    /// Links all files but the current one into a folder of their own, where no rotation deletes them. Returns the
    /// folder and how many they are.
    ///
    /// # Errors
    /// Where the folder cannot be made or written.
    pub(super) fn save(&self) -> io::Result<(PathBuf, usize)> {
        let root = self.file.parent().unwrap_or(Path::new("."));
        let folder = root.join(format!(
            "saved-{}",
            Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ")
        ));
        folder_of_its_user(false, &folder)?;
        // The one before the current is finished by the writing thread, under both names.
        let whole = self.written.len() - 1;
        for path in self.written.iter().take(whole) {
            if let Some(name) = path.file_name() {
                fs::hard_link(path, folder.join(name))?;
            }
        }
        Ok((folder, whole))
    }
}

/// Recordings tell who talks to whom.
fn folder_of_its_user(may_exist: bool, folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(may_exist)
        .mode(0o700)
        .create(folder)
}
