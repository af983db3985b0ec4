//! Opens every file that is written. A file is created next to its name, for its user only, and takes the name when it is
//! complete or, if it is a stream, when it begins; nothing that is there is opened for writing but pipes and devices.
//! Recordings and inputs are never replaced, and symbolic links are not followed.

mod cause;
mod destination;
mod folder;

pub(crate) use cause::{Cause, Left, NotWritten};
pub(crate) use folder::Folder;

use destination::{Destination, State, create, create_beside};
use folder::{Trusted, kind};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, FcntlArg, FdFlag, OFlag, fcntl, openat},
    libc,
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::{AccessFlags, faccessat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd},
    path::{Path, PathBuf},
};

/// Only the user may read outputs, which show who communicates with whom.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// What the stream and the file form of Arrow begin with (Arrow, "IPC Streaming Format", "IPC File Format").
const ARROW: [&[u8]; 2] = [&[0xff; 4], b"ARROW1"];

/// Names of one second, at most: a limit that only keeps a search from going on for ever.
const MOST_NAMES: u32 = 10_000;

/// The files that a command reads, by device and inode. None of them can be its output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs(Vec<(u64, u64)>);

impl Inputs {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let stats = paths.iter().filter_map(|path| nix::sys::stat::stat(path).ok());
        Self(stats.map(|stat| identity(&stat)).collect())
    }

    fn check(&self, stat: &FileStat, file: Option<File>) -> Result<(), Cause> {
        if self.0.contains(&identity(stat)) {
            return Err(Cause::Input);
        }
        if file.map_or(Ok(false), is_arrow)? {
            return Err(Cause::Recording);
        }
        Ok(())
    }
}

fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn is_arrow(file: File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.take(8).read_to_end(&mut bytes)?;
    Ok(ARROW.iter().any(|magic| bytes.starts_with(magic)))
}

/// Whether a file can be one of a run's recordings: it begins as one, or its run was killed before it had begun it.
pub(crate) fn is_recording_or_empty(file: File) -> io::Result<bool> {
    Ok(file.metadata()?.len() == 0 || is_arrow(file)?)
}

/// Whether standard output may be written to: neither a recording nor an input.
pub(crate) fn check_stdout(inputs: &Inputs) -> Result<(), NotWritten> {
    check_descriptor(io::stdout().as_fd(), inputs).map_err(|cause| NotWritten {
        what: "standard output".to_owned(),
        cause,
        left: Left::Nothing,
    })
}

fn check_descriptor(fd: BorrowedFd<'_>, inputs: &Inputs) -> Result<(), Cause> {
    let Ok(stat) = fstat(fd) else {
        // Closed: the write reports it.
        return Ok(());
    };
    if kind(&stat) != SFlag::S_IFREG {
        return Ok(());
    }
    // It may be open for writing alone, and where it is must not move.
    let again = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    inputs.check(&stat, again)
}

/// Where a file is now that was made under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It has its name.
    InPlace,
    /// It has another name, or another file has its own.
    Moved,
    /// It has no name any more: what is written to it is lost.
    Removed,
}

/// A new file under its name.
#[derive(Debug)]
pub(crate) struct NewFile {
    folder: Folder,
    name: OsString,
    file: File,
}

impl NewFile {
    /// Makes a file that must not be there yet. Fails if it cannot be made, or its folder is not safe.
    pub(crate) fn create(path: &Path) -> Result<Self, Cause> {
        let (folder, name) = Folder::containing(path)?;
        let file = create(&folder, &name)?;
        Ok(Self { folder, name, file })
    }

    /// The open file, for writing.
    pub(crate) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(crate) fn whereabouts(&self) -> Whereabouts {
        whereabouts(&self.folder, &self.name, &self.file)
    }

    /// Takes it back: it was not begun.
    pub(crate) fn discard(self) {
        if self.whereabouts() == Whereabouts::InPlace {
            // It is empty, and a later start passes over it.
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// The message about a file that was found to be [`Whereabouts::Moved`].
pub(crate) fn moved(path: &Path) -> String {
    format!(
        "{} was renamed or replaced: further output goes to the original file",
        path.display()
    )
}

fn whereabouts(folder: &Folder, name: &OsStr, file: &File) -> Whereabouts {
    let Ok(own) = fstat(file) else {
        return Whereabouts::Removed;
    };
    match folder.stat(name) {
        Ok(named) if identity(&named) == identity(&own) => Whereabouts::InPlace,
        _ if own.st_nlink == 0 => Whereabouts::Removed,
        _ => Whereabouts::Moved,
    }
}

/// An output file, or a pipe or device in its place.
#[derive(Debug)]
pub(crate) struct OutFile {
    path: PathBuf,
    file: File,
    /// Nothing for pipes and devices.
    destination: Option<Destination>,
}

impl OutFile {
    /// Prepares to write to `path`: an existing file stays unchanged until [`Self::publish`]. A pipe or device is
    /// opened, which waits for a pipe's reader. Fails if there is a recording, an input, a link, a block device or
    /// another user's file, the folder is not safe, or the system refuses.
    pub(crate) fn open(path: &Path, inputs: &Inputs) -> Result<Self, NotWritten> {
        Self::open_with(path, inputs, OFlag::empty())
    }

    fn open_with(path: &Path, inputs: &Inputs, waiting: OFlag) -> Result<Self, NotWritten> {
        Self::try_open(path, inputs, waiting).map_err(|cause| NotWritten::at_all(path, cause))
    }

    fn try_open(path: &Path, inputs: &Inputs, waiting: OFlag) -> Result<Self, Cause> {
        let special = |file| Self {
            path: path.to_owned(),
            file,
            destination: None,
        };
        if let Some(number) = descriptor(path) {
            let file = inherited(number)?;
            check_descriptor(file.as_fd(), inputs)?;
            return Ok(special(file));
        }
        let (folder, name) = Folder::containing(path)?;
        if check_name(&folder, &name, inputs)? == There::Special {
            let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            return Ok(special(
                openat(&folder, name.as_os_str(), flags | waiting, Mode::empty())?.into(),
            ));
        }
        let (file, state) = create_beside(&folder)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            destination: Some(Destination {
                folder,
                name,
                inputs: inputs.clone(),
                state,
            }),
        })
    }

    /// Another descriptor of the open file.
    pub(crate) fn try_clone(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file and gives it its name, replacing an existing file. Fails if a recording exists there by now, or
    /// the system refuses.
    pub(crate) fn publish(&mut self) -> Result<(), NotWritten> {
        let Some(destination) = &mut self.destination else {
            return Ok(());
        };
        destination
            .publish(&self.file)
            .map_err(|cause| NotWritten::at_all(&self.path, cause))
    }

    /// Where the file is now; pipes and devices stay in place.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        match &self.destination {
            Some(Destination {
                folder,
                name,
                state: State::Named,
                ..
            }) => whereabouts(folder, name, &self.file),
            Some(_) | None => Whereabouts::InPlace,
        }
    }

    /// The error of a write that failed, in words.
    pub(crate) fn failed(&self, cause: impl Into<Cause>) -> NotWritten {
        let cause = cause.into();
        let is_whole = self
            .destination
            .as_ref()
            .is_some_and(|destination| !matches!(destination.state, State::Named));
        NotWritten {
            what: self.path.display().to_string(),
            left: match cause {
                Cause::Removed => Left::NothingNamed,
                _ if is_whole => Left::Nothing,
                _ => Left::Beginning,
            },
            cause,
        }
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether a file may be written that is not opened yet.
pub(crate) fn check(path: &Path, inputs: &Inputs) -> Result<(), NotWritten> {
    if descriptor(path).is_some() {
        return Ok(());
    }
    let checked = Folder::containing(path).and_then(|(folder, name)| check_name(&folder, &name, inputs));
    checked.map(drop).map_err(|cause| NotWritten::at_all(path, cause))
}

/// Whether a new file may take this name, from an existing file too. Fails as [`check`], and for a pipe or device.
pub(crate) fn check_new(path: &Path) -> Result<(Folder, OsString), Cause> {
    let (folder, name) = Folder::containing(path)?;
    match check_name(&folder, &name, &Inputs::default())? {
        There::Replaceable => Ok((folder, name)),
        There::Special => Err(Cause::NotRegular),
    }
}

/// Removes a file that may be replaced, if it is there, for a new one of this name.
pub(crate) fn remove_replaceable(path: &Path) -> Result<(), Cause> {
    let (folder, name) = check_new(path)?;
    match folder.remove(&name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What has a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    /// Nothing, or a file that may be replaced.
    Replaceable,
    /// A pipe or device, to be opened.
    Special,
}

fn check_name(folder: &Folder, name: &OsStr, inputs: &Inputs) -> Result<There, Cause> {
    let stat = match folder.stat(name) {
        Ok(stat) => stat,
        Err(Errno::ENOENT) => return Ok(There::Replaceable),
        Err(error) => return Err(error.into()),
    };
    let kind = kind(&stat);
    if kind == SFlag::S_IFCHR {
        return Ok(There::Special);
    }
    if kind == SFlag::S_IFLNK {
        return Err(Cause::Link);
    }
    if kind == SFlag::S_IFDIR {
        return Err(Errno::EISDIR.into());
    }
    if kind == SFlag::S_IFBLK {
        return Err(Cause::BlockDevice);
    }
    if folder.is_shared() && !Trusted::now().has(stat.st_uid) {
        return Err(Cause::ForeignFile(stat.st_uid));
    }
    if kind == SFlag::S_IFIFO {
        return Ok(There::Special);
    }
    if kind != SFlag::S_IFREG {
        return Err(Errno::ENXIO.into());
    }
    // Its folder would do for replacing it; who may not write to it is not asked to.
    faccessat(folder, name, AccessFlags::W_OK, AtFlags::AT_EACCESS)?;
    let file = folder.read(name)?;
    inputs.check(&stat, file)?;
    Ok(There::Replaceable)
}

/// The number of a descriptor that a path names.
fn descriptor(path: &Path) -> Option<RawFd> {
    match path.to_str()? {
        "/dev/stdout" => Some(libc::STDOUT_FILENO),
        "/dev/stderr" => Some(libc::STDERR_FILENO),
        other => other
            .strip_prefix("/dev/fd/")
            .or_else(|| other.strip_prefix("/proc/self/fd/"))?
            .parse()
            .ok(),
    }
}

/// A copy of a descriptor that this process was started with; its own ones are closed on exec.
fn inherited(number: RawFd) -> Result<File, Cause> {
    if number < 0 {
        return Err(Cause::NoDescriptor(number));
    }
    // SAFETY: it is not closed meanwhile: no descriptor of this process's own has a number that it is asked for. One that
    // is not open is refused by the first call.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(fd, FcntlArg::F_GETFD).map_err(|_| Cause::NoDescriptor(number))?;
    if FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC) {
        return Err(Cause::NoDescriptor(number));
    }
    Ok(fd.try_clone_to_owned()?.into())
}

/// Writes a complete file, replacing an existing one. Never waits: a pipe needs a reader that keeps up. Fails as
/// [`OutFile::open`] and [`OutFile::publish`]; an existing file is then unchanged.
pub(crate) fn write(path: &Path, text: &str, inputs: &Inputs) -> Result<(), NotWritten> {
    let mut file = OutFile::open_with(path, inputs, OFlag::O_NONBLOCK)?;
    file.write_all(text.as_bytes())
        .map_err(|error| file.failed(error))?;
    file.publish()
}

/// Writes a whole file under a new name: `path`, or where that is taken `name-2.ext` and so on. Returns the name.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<PathBuf, NotWritten> {
    write_as_new(path, text).map_err(|cause| NotWritten::at_all(path, cause))
}

fn write_as_new(path: &Path, text: &str) -> Result<PathBuf, Cause> {
    let (folder, name) = Folder::containing(path)?;
    let (file, state) = create_beside(&folder)?;
    let mut destination = Destination {
        folder,
        name,
        inputs: Inputs::default(),
        state,
    };
    destination.publish_as_new(&file, text, names(path))?;
    Ok(path.with_file_name(&destination.name))
}

/// `name.ext`, `name-2.ext` and so on.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    let part = |part: Option<&OsStr>| part.unwrap_or_default().to_owned();
    let (first, stem, extension) = (
        part(path.file_name()),
        part(path.file_stem()),
        part(path.extension()),
    );
    let others = (2..MOST_NAMES).map(move |number| {
        let mut name = stem.clone();
        name.push(format!("-{number}"));
        if !extension.is_empty() {
            name.push(".");
            name.push(&extension);
        }
        name
    });
    std::iter::once(first).chain(others)
}

#[cfg(test)]
mod tests;
