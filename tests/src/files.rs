//! The limit of open files of this process, which tests with thousands of sockets raise.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Allows at least `count` open files, as far as this user may.
pub fn allow(count: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count))?;
    }
    Ok(())
}

/// Allows `count` open files, or as many as this user may have, and returns the limit.
pub fn allow_up_to(count: u64) -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if allow(count).is_ok() {
        return Ok(count);
    }
    allow(hard)?;
    Ok(hard)
}
