//! How many file descriptors a process has open, of how many that it may have.

use super::process::StartTicks;
use crate::event::ProcessKey;
use std::{fs, os::unix::fs::MetadataExt as _};

/// Open descriptors of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Open now.
    pub used: u64,
    /// `RLIMIT_NOFILE`; `None` where there is no limit.
    pub limit: Option<u64>,
}

impl Descriptors {
    /// The share in use, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share is shown, not counted with")]
    pub fn share(self) -> f64 {
        self.limit
            .map_or(0.0, |limit| self.used as f64 / limit.max(1) as f64)
    }

    /// Whether more than four of five are in use.
    #[must_use]
    pub fn is_nearly_all(self) -> bool {
        self.share() > 0.8
    }
}

/// Asks `/proc`; `None` where the process has ended or may not be asked about.
#[must_use]
pub fn of(process: ProcessKey) -> Option<Descriptors> {
    let folder = format!("/proc/{}", process.pid);
    let limit = nofile_in(&fs::read_to_string(format!("{folder}/limits")).ok()?)?;
    // Since Linux 6.2 the folder's size is the number of its entries (`proc_fd_getattr`), and 0 before.
    let fds = format!("{folder}/fd");
    let used = match fs::metadata(&fds).ok()?.size() {
        0 => fs::read_dir(&fds).ok()?.count() as u64,
        size => size,
    };
    (StartTicks::of_pid(process.pid)? == StartTicks::of(process)).then_some(Descriptors { used, limit })
}

/// The soft limit in proc_pid_limits(5): `Max open files            1024                 524288               files`.
fn nofile_in(limits: &str) -> Option<Option<u64>> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax processes 9 9 processes\nMax open files            1024                 524288               files\n";
        assert_eq!(nofile_in(limits), Some(Some(1024)));
        assert_eq!(nofile_in("Max open files unlimited unlimited files"), Some(None));
        assert_eq!(nofile_in(""), None);
        assert!(
            Descriptors {
                used: 900,
                limit: Some(1024)
            }
            .is_nearly_all()
        );
        assert!(
            !Descriptors {
                used: 900,
                limit: None
            }
            .is_nearly_all()
        );
    }
}
