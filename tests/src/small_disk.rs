//! A disk that is soon full: a tmpfs of some kilobytes, mounted in a mount namespace of the calling thread's own, which
//! what that thread spawns shares. It goes away with the thread.

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{io, path::Path, thread};

/// Mounts one of `kilobytes` on `folder`, for the calling thread and what it spawns.
pub fn mount_on(folder: &Path, kilobytes: u32) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted here is not to reach the rest of the system.
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )?;
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
    thread::spawn(|| Ok(unshare(CloneFlags::CLONE_NEWNS)?))
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
}
