//! A disk that is soon full: a tmpfs of some kilobytes, mounted in a mount namespace of the calling thread's own, which
//! what that thread spawns shares. It goes away with the thread.

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{io, path::Path, thread};

/// Mounts one of `kilobytes` on `folder`, for the calling thread and what it spawns.
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

/// Whether this process may have mounts of its own.
pub fn probe() -> io::Result<()> {
    thread::spawn(leave_the_mounts_of_others)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
}

/// What the calling thread mounts from here on does not reach the rest of the system.
fn leave_the_mounts_of_others() -> io::Result<()> {
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
