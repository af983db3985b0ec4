//! The directory of an output file, opened component by component and kept open, so that it cannot be replaced in
//! between.

use super::cause::Cause;
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat},
    sys::{
        stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::{UnlinkatFlags, geteuid, linkat, unlinkat},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Component, Path, PathBuf},
};

/// As many symbolic links as the kernel follows (`MAXSYMLINKS` of Linux's `include/linux/namei.h`).
const MOST_LINKS: usize = 40;

/// Only the user may list a directory of recordings, which show who communicates with whom.
const FOLDER_MODE: Mode = Mode::S_IRWXU;

/// The users whose files and links are trusted: this one, root, and who became root by sudo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trusted {
    this: u32,
    by_sudo: Option<u32>,
}

impl Trusted {
    pub(super) fn now() -> Self {
        let this = geteuid().as_raw();
        // Root's environment is root's word. Whoever may run this by sudo may name any path.
        let by_sudo = env::var("SUDO_UID").ok().and_then(|id| id.parse().ok());
        Self {
            this,
            by_sudo: by_sudo.filter(|_| this == 0),
        }
    }

    pub(super) fn has(self, user: u32) -> bool {
        user == 0 || user == self.this || self.by_sudo == Some(user)
    }

    /// Whether others can make, or replace, what is in a folder.
    fn shares(self, folder: &FileStat) -> bool {
        !self.has(folder.st_uid) || is_allowed(folder, Mode::S_IWGRP | Mode::S_IWOTH)
    }

    /// Whether others can replace even what is this user's in a folder that is another's.
    fn is_exposed_in(self, folder: &FileStat) -> bool {
        !self.has(folder.st_uid) && is_allowed(folder, Mode::S_IWOTH) && !is_allowed(folder, Mode::S_ISVTX)
    }
}

fn is_allowed(stat: &FileStat, any: Mode) -> bool {
    Mode::from_bits_truncate(stat.st_mode).intersects(any)
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// An open directory, so that names in it cannot be redirected by a rename.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    is_shared: bool,
}

impl Folder {
    /// Opens the folder of `path`, and returns the file's name in it. Fails if there is none, or others could lead it
    /// elsewhere.
    pub(crate) fn containing(path: &Path) -> Result<(Self, OsString), Cause> {
        let names_a_folder = path.as_os_str().as_bytes().ends_with(b"/");
        let (Some(name), Some(parent), false) = (path.file_name(), path.parent(), names_a_folder) else {
            let is_empty = path.as_os_str().is_empty();
            return Err((if is_empty { Errno::ENOENT } else { Errno::EISDIR }).into());
        };
        Ok((Self::open(parent)?, name.to_owned()))
    }

    /// Opens a folder. Symbolic links are followed where only this user, root or the user of sudo can have made them.
    /// Fails if it is not there or is no folder, a link is another user's in a folder that others can write to, or
    /// every user could replace what is written to it.
    pub(crate) fn open(path: &Path) -> Result<Self, Cause> {
        Self::open_as(path, Trusted::now())
    }

    fn open_as(path: &Path, trusted: Trusted) -> Result<Self, Cause> {
        let anchored = |name: &str| Ok::<_, Cause>(openat(AT_FDCWD, name, anchor(), Mode::empty())?);
        let mut at = anchored(".")?;
        let mut walked = PathBuf::new();
        let mut left: Vec<OsString> = parts(path);
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == "/" {
                at = anchored("/")?;
                walked = PathBuf::from("/");
                continue;
            }
            let entry = openat(
                &at,
                part.as_os_str(),
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )?;
            let stat = fstat(&entry)?;
            if kind(&stat) != SFlag::S_IFLNK {
                walked.push(&part);
                at = entry;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::ELOOP.into());
            }
            if fstatfs(&entry)?.filesystem_type() == PROC_SUPER_MAGIC {
                // Their text is no path: /proc/PID/root leads into another mount namespace.
                at = openat(&at, part.as_os_str(), anchor(), Mode::empty())?;
                walked.push(&part);
                continue;
            }
            if trusted.shares(&fstat(&at)?) && !trusted.has(stat.st_uid) {
                return Err(Cause::ForeignLink {
                    path: walked.join(part),
                    owner: stat.st_uid,
                });
            }
            // By its descriptor: what was checked is what is read.
            let target = readlinkat(&entry, "")?;
            left.extend(parts(Path::new(&target)));
        }
        let stat = fstat(&at)?;
        if kind(&stat) != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR.into());
        }
        if trusted.is_exposed_in(&stat) {
            return Err(Cause::ForeignFolder {
                path: if walked.as_os_str().is_empty() {
                    PathBuf::from(".")
                } else {
                    walked
                },
                owner: stat.st_uid,
            });
        }
        Ok(Self {
            fd: at,
            path: path.to_owned(),
            is_shared: trusted.shares(&stat),
        })
    }

    /// Opens a folder for this user's files alone; makes it, and those above it, where they are missing.
    pub(crate) fn open_or_make(path: &Path) -> Result<Self, Cause> {
        match Self::open(path) {
            Err(Cause::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
                    return Err(error.into());
                };
                match Self::open_or_make(parent)?.make_folder(name) {
                    Ok(()) | Err(Errno::EEXIST) => Self::open(path),
                    Err(error) => Err(error.into()),
                }
            }
            opened => opened,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether others can make, or replace, what is in it.
    pub(crate) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The names in it, in no order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, Cause> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        let name = |entry: nix::Result<nix::dir::Entry>| {
            Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec()))
        };
        folder.iter().map(name).collect()
    }

    /// What has this name; a link itself, not what it leads to. Fails with ENOENT where there is nothing.
    pub(crate) fn stat(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens a regular file for reading, if it is this user's where others can write. `None` for anything else.
    pub(crate) fn read(&self, name: &OsStr) -> nix::Result<Option<File>> {
        if kind(&self.stat(name)?) != SFlag::S_IFREG {
            return Ok(None);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        let is_ours = !self.is_shared || Trusted::now().has(stat.st_uid);
        Ok((kind(&stat) == SFlag::S_IFREG && is_ours).then(|| File::from(file)))
    }

    /// Makes a folder in it that must not be there.
    pub(crate) fn make_folder(&self, name: &OsStr) -> nix::Result<()> {
        mkdirat(&self.fd, name, FOLDER_MODE)
    }

    pub(crate) fn remove(&self, name: &OsStr) -> nix::Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Gives a file the same name in another folder too.
    pub(crate) fn link(&self, name: &OsStr, other: &Self) -> nix::Result<()> {
        linkat(&self.fd, name, &other.fd, name, AtFlags::empty())
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn anchor() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
    };

    /// As if this user were another, whom nothing here belongs to.
    const STRANGER: Trusted = Trusted {
        this: 4_294_967_294,
        by_sudo: None,
    };

    fn folder_stat(owner: u32, mode: u32) -> FileStat {
        let mut stat = fstat(File::open(".").unwrap()).unwrap();
        stat.st_uid = owner;
        stat.st_mode = SFlag::S_IFDIR.bits() | mode;
        stat
    }

    #[test]
    fn others_can_change_what_is_in_folders_of_theirs_and_in_those_they_may_write_to() {
        let trusted = Trusted {
            this: 1_000,
            by_sudo: None,
        };
        for (owner, mode, is_shared, is_exposed) in [
            (1_000, 0o755, false, false),
            (0, 0o755, false, false),
            (0, 0o1777, true, false),
            (0, 0o775, true, false),
            (1_000, 0o777, true, false),
            (1_001, 0o755, true, false),
            (1_001, 0o775, true, false),
            (1_001, 0o777, true, true),
            (1_001, 0o1777, true, false),
        ] {
            let stat = folder_stat(owner, mode);
            assert_eq!(trusted.shares(&stat), is_shared, "{owner} {mode:o}");
            assert_eq!(trusted.is_exposed_in(&stat), is_exposed, "{owner} {mode:o}");
        }
    }

    #[test]
    fn a_foreign_folder_that_everybody_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        let by_root = geteuid().is_root();
        let mode = |mode| fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert!(Folder::open(&open).is_ok_and(|folder| folder.is_shared()));
        if by_root {
            chown(&open, Some(65_534), None).unwrap();
            let refused = Folder::open(&open).unwrap_err();
            assert!(
                matches!(refused, Cause::ForeignFolder { owner: 65_534, .. }),
                "{refused}"
            );
            mode(0o755);
            assert!(Folder::open(&open).is_ok_and(|folder| folder.is_shared()));
        }
    }

    #[test]
    fn links_are_followed_only_where_nobody_else_can_have_made_them() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        fs::create_dir(&real).unwrap();
        symlink("real", folder.path().join("link")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        let link = folder.path().join("link");
        let opened = Folder::open(&link).unwrap();
        assert_eq!(
            fstat(&opened).unwrap().st_ino,
            fstat(File::open(&real).unwrap()).unwrap().st_ino
        );
        let error = Folder::open(&folder.path().join("loop")).unwrap_err();
        assert!(error.to_string().contains("symbolic links"), "{error}");
        if geteuid().is_root() {
            lchown(&link, Some(65_534), None).unwrap();
            assert!(
                Folder::open(&link).is_ok(),
                "nobody else can write to the folder that has it"
            );
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
            let error = Folder::open(&link).unwrap_err();
            assert!(
                matches!(error, Cause::ForeignLink { owner: 65_534, .. }),
                "{error}"
            );
        } else {
            let error = Folder::open_as(&link, STRANGER).unwrap_err();
            assert!(matches!(error, Cause::ForeignLink { .. }), "{error}");
        }
    }

    #[test]
    fn a_path_that_names_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let kind = |path: &Path| Folder::containing(path).unwrap_err().kind();
        assert_eq!(kind(&path.join("new/")), Some(io::ErrorKind::IsADirectory));
        assert_eq!(kind(&path.join("..")), Some(io::ErrorKind::IsADirectory));
        assert_eq!(kind(Path::new("")), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(&path.join("missing/file")), Some(io::ErrorKind::NotFound));
        fs::write(path.join("file"), "").unwrap();
        assert_eq!(kind(&path.join("file/file")), Some(io::ErrorKind::NotADirectory));
        assert!(Folder::containing(Path::new("file")).is_ok_and(|(_, name)| name == "file"));
    }

    #[test]
    fn missing_folders_are_made_for_their_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        Folder::open_or_make(&deep).unwrap();
        Folder::open_or_make(&deep).unwrap();
        for path in [folder.path().join("a"), deep] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
