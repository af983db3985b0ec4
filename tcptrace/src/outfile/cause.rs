//! Why an output cannot be written: what failed, what is left, what to do.

use nix::errno::Errno;
use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind},
    os::fd::RawFd,
    path::{Path, PathBuf},
};

/// An output that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what}: {cause}\n  what it means: {left}\n  what to do: {}", cause.remedy())]
pub struct NotWritten {
    /// The path, or "standard output".
    pub what: String,
    /// The reason why nothing, or only a part, was written.
    pub cause: Cause,
    /// What there is of it.
    pub left: Left,
}

impl NotWritten {
    /// Nothing was written to this path.
    pub(crate) fn at_all(path: &Path, cause: impl Into<Cause>) -> Self {
        Self {
            what: path.display().to_string(),
            cause: cause.into(),
            left: Left::Nothing,
        }
    }

    /// The same in one line, for a run that continues.
    pub(crate) fn in_a_line(&self) -> String {
        let Self { what, cause, .. } = self;
        format!("cannot write {what}: {cause}; {}", cause.remedy())
    }
}

/// What there is of an output that could not be written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it was to be written whole, or was not begun.
    Nothing,
    /// What was written before the error.
    Beginning,
    /// Nothing that has a name any more.
    NothingNamed,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing was written, and an existing file is unchanged",
            Self::Beginning => "the output is incomplete and may end in the middle of a line",
            Self::NothingNamed => "the output is lost",
        })
    }
}

/// Why an output cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The system's answer.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name is a symbolic link's.
    #[error("it is a symbolic link, which is not followed")]
    Link,
    /// A directory of the path is a symbolic link that another user could have created.
    #[error("{} is a symbolic link owned by user {owner}, in a directory that others can write to", path.display())]
    ForeignLink {
        /// Path of the symbolic link.
        path: PathBuf,
        /// UID of its owner.
        owner: u32,
    },
    /// The folder belongs to another user, and every user may replace what is in it.
    #[error("{} is owned by user {owner} and world-writable", path.display())]
    ForeignFolder {
        /// Path of the directory.
        path: PathBuf,
        /// UID of its owner.
        owner: u32,
    },
    /// The file belongs to another user and is in a folder that others can write to.
    #[error("it is owned by user {0} and in a directory that others can write to")]
    ForeignFile(u32),
    /// A disk.
    #[error("it is a block device, whose content would be destroyed")]
    BlockDevice,
    /// A pipe, device or socket, where a new file is made.
    #[error("it is not a regular file")]
    NotRegular,
    /// The command reads it.
    #[error("it is also an input")]
    Input,
    /// It begins as a recording does.
    #[error("it is a recording, or another Arrow file, which is never overwritten")]
    Recording,
    /// `/dev/fd/N`, and no such descriptor was passed to this process.
    #[error("descriptor {0} was not passed to tcptrace")]
    NoDescriptor(RawFd),
    /// Its name was removed while it was open.
    #[error("it was removed while it was being written")]
    Removed,
    /// Another process is writing recordings of this name.
    #[error("another process is recording there, to {}", Path::new(.0).display())]
    Busy(OsString),
}

impl From<Errno> for Cause {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Cause {
    /// The kind of the system's answer, where it is one.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Io(error) => remedy_of(error.kind()),
            Self::Link => "give the file that it points to, or delete the link",
            Self::ForeignLink { .. } => "give the directory that it points to",
            Self::ForeignFolder { .. } => {
                "choose a directory that only you can write to, or remove others' write permission with chmod o-w"
            }
            Self::ForeignFile(_) => "choose another name, or a directory that only you can write to",
            Self::BlockDevice => "give a file",
            Self::NotRegular => "give the name of a new file",
            Self::Input => "choose another file for the output",
            Self::Recording => "choose another name, or delete that file if it is not needed",
            Self::NoDescriptor(_) => "open it in the shell, as in 3>file",
            Self::Removed => "start again, and keep the file until the end",
            Self::Busy(_) => "stop that process, or choose another place",
        }
    }
}

fn remedy_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, or choose another place",
        ErrorKind::FileTooLarge => "raise the file size limit (ulimit -f), or write less",
        ErrorKind::IsADirectory => "give a file, in that directory or another",
        ErrorKind::NotADirectory => "choose another path: a part of this one is a file",
        ErrorKind::NotFound => "create the directory first, or choose another place",
        ErrorKind::PermissionDenied => "choose a place that you can write to, or run it as a user who can",
        ErrorKind::ReadOnlyFilesystem => "choose a place on a writable file system",
        ErrorKind::AlreadyExists => "choose another name, or delete the existing file",
        ErrorKind::InvalidFilename => "choose a shorter name",
        ErrorKind::BrokenPipe => "keep the reader running until tcptrace ends",
        _ => "choose another place",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_error() {
        let table = [
            (Errno::ENOSPC, "free some space"),
            (Errno::EDQUOT, "free some space"),
            (Errno::EISDIR, "give a file"),
            (Errno::ENOTDIR, "a part of this one is a file"),
            (Errno::ENOENT, "create the directory first"),
            (Errno::EACCES, "you can write to"),
            (Errno::EPERM, "you can write to"),
            (Errno::EROFS, "a writable file system"),
            (Errno::EFBIG, "ulimit -f"),
            (Errno::ENAMETOOLONG, "a shorter name"),
            (Errno::EIO, "another place"),
        ];
        for (errno, words) in table {
            let error = NotWritten::at_all(Path::new("out.csv"), errno).to_string();
            assert!(error.starts_with("cannot write out.csv: "), "{error}");
            assert!(error.contains(words), "{errno}: {error}");
            assert!(
                errno == Errno::ENOSPC || errno == Errno::EDQUOT || !error.contains("free some space"),
                "{error}"
            );
        }
    }
}
