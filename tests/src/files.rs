//! How many files this process may have open: a test with thousands of sockets asks for more than the usual.

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

/// Allows `count` open files, or as many of them as this user may have, and returns how many that is.
pub fn allow_up_to(count: u64) -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if allow(count).is_ok() {
        return Ok(count);
    }
    allow(hard)?;
    Ok(hard)
}
