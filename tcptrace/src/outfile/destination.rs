//! The name that an output file takes: made beside it, and published in place of what is there.

use super::{Cause, Folder, Inputs, MODE, MOST_NAMES, There, Whereabouts, check_name, whereabouts};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat},
    unistd::linkat,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) folder: Folder,
    pub(super) name: OsString,
    pub(super) inputs: Inputs,
    pub(super) state: State,
}

/// What an output file is called.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: it is gone with its descriptor.
    Nameless,
    /// A name of its own, because this file system has no nameless files.
    Beside(OsString),
    Named,
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let State::Beside(name) = &self.state {
            // It was not completed, and only this process knows the name.
            let _ = self.folder.remove(name);
        }
    }
}

impl Destination {
    pub(super) fn publish(&mut self, file: &File) -> Result<(), Cause> {
        if matches!(self.state, State::Named) {
            return Ok(());
        }
        file.sync_all()?;
        // It may have come while this was written.
        if check_name(&self.folder, &self.name, &self.inputs)? == There::Special {
            return Err(Cause::NotRegular);
        }
        if matches!(self.state, State::Nameless) {
            self.state = State::Beside(link_beside(&self.folder, file)?);
        }
        if let State::Beside(beside) = &self.state {
            renameat(
                &self.folder,
                beside.as_os_str(),
                &self.folder,
                self.name.as_os_str(),
            )?;
            self.state = State::Named;
        }
        match whereabouts(&self.folder, &self.name, file) {
            Whereabouts::InPlace => Ok(()),
            Whereabouts::Moved | Whereabouts::Removed => Err(Cause::Removed),
        }
    }

    /// Writes the file, and takes the first name that is free.
    pub(super) fn publish_as_new(
        &mut self,
        mut file: &File,
        text: &str,
        mut names: impl Iterator<Item = OsString>,
    ) -> Result<(), Cause> {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let taken = names.find_map(|name| match self.take_name(file, &name) {
            Err(Errno::EEXIST) => None,
            Err(error) => Some(Err(error)),
            Ok(()) => Some(Ok(name)),
        });
        self.name = taken.unwrap_or(Err(Errno::EEXIST))?;
        self.state = State::Named;
        Ok(())
    }

    fn take_name(&self, file: &File, name: &OsStr) -> nix::Result<()> {
        let State::Beside(beside) = &self.state else {
            return link(&self.folder, file, name);
        };
        match linkat(
            &self.folder,
            beside.as_os_str(),
            &self.folder,
            name,
            AtFlags::empty(),
        ) {
            Ok(()) => self.folder.remove(beside),
            // A file system without hard links: an empty file holds the name, and is replaced.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                create(&self.folder, name)?;
                renameat(&self.folder, beside.as_os_str(), &self.folder, name)
            }
            Err(error) => Err(error),
        }
    }
}

/// A file without a name, or with one of its own where the file system has no such files.
pub(super) fn create_beside(folder: &Folder) -> Result<(File, State), Cause> {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    if let Ok(fd) = openat(folder, ".", flags, MODE) {
        let file = File::from(fd);
        // It gets its name by way of /proc.
        if std::fs::exists(own(&file)).unwrap_or(false) {
            return Ok((file, State::Nameless));
        }
    }
    with_name_beside(|name| create(folder, name)).map(|(name, file)| (file, State::Beside(name)))
}

fn link_beside(folder: &Folder, file: &File) -> Result<OsString, Cause> {
    with_name_beside(|name| link(folder, file, name)).map(|(name, ())| name)
}

pub(super) fn with_name_beside<T>(make: impl Fn(&OsStr) -> nix::Result<T>) -> Result<(OsString, T), Cause> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..MOST_NAMES {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".tcptrace-{}-{number}.part", process::id()));
        match make(&name) {
            Ok(file) => return Ok((name, file)),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EEXIST.into())
}

fn own(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Gives a nameless file a name that is free.
fn link(folder: &Folder, file: &File, name: &OsStr) -> nix::Result<()> {
    linkat(
        AT_FDCWD,
        own(file).as_str(),
        folder,
        name,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
}

pub(super) fn create(folder: &Folder, name: &OsStr) -> nix::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, flags, MODE).map(File::from)
}
