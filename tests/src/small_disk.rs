//! A small disk: a tmpfs of some kilobytes, in a mount namespace of the calling thread and of what it spawns. It is
//! removed with the thread.

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{io, path::Path, thread};

/// Mounts a tmpfs of `kilobytes` on `folder`, for the calling thread and what it spawns.
pub fn mount_on(folder: &Path, kilobytes: u32) -> io::Result<()> {
    leave_the_mounts_of_others()?;
    let size = format!("size={kilobytes}k");
    mount(
        Some("tmpfs"),
        folder,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )?;
    Ok(())
}

/// Whether this process may create mounts.
pub fn probe() -> io::Result<()> {
    thread::spawn(leave_the_mounts_of_others)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
}

/// From here on, mounts of the calling thread do not affect the rest of the system.
pub(crate) fn leave_the_mounts_of_others() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, flags, nothing).map_err(|error| match error {
        Errno::EINVAL => {
            io::Error::other("/ is not a mount point: `mount --bind` a folder onto itself before chroot")
        }
        error => error.into(),
    })
}
