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
