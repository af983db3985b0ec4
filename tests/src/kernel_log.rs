//! Reads the kernel's log while tests run: a warning of a kernel fault fails the run.

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

/// Prefixes and parts of the kernel's fault reports: `WARN`, `BUG`, oopses, stalls, and `refcount_warn_saturate`.
const ALARMS: [&str; 7] = [
    "WARNING: ",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "refcount_t: ",
    "use-after-free",
    "rcu: INFO: ",
];

/// A record of `/dev/kmsg` is shorter than this (`PRINTK_MESSAGE_MAX`).
const RECORD_BYTES: usize = 2048 + 4096;

/// The log from the time of opening.
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Skips earlier messages.
    ///
    /// # Errors
    /// `/dev/kmsg` cannot be read.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        lseek(&file, 0, Whence::SeekEnd).map_err(io::Error::from)?;
        Ok(Self { file })
    }

    /// The messages since the last call that report a kernel fault.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn alarms(&mut self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(found),
                Ok(length) => found.extend(alarm(&String::from_utf8_lossy(&record[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
                // Older records were overwritten; the next read continues with the oldest that remains.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The text of a record that reports a fault, after priority, sequence number, time and flags
/// (Documentation/ABI/testing/dev-kmsg).
fn alarm(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    let line = text.lines().next()?;
    ALARMS
        .iter()
        .any(|alarm| line.contains(alarm))
        .then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_kernel_is_an_alarm_and_an_ordinary_message_is_none() {
        let refcount = "4,1234,5678901,-;refcount_t: addition on 0; use-after-free.\n SUBSYSTEM=x\n";
        assert_eq!(
            alarm(refcount).as_deref(),
            Some("refcount_t: addition on 0; use-after-free.")
        );
        assert!(
            alarm("4,1,2,-;WARNING: CPU: 1 PID: 7 at lib/refcount.c:25 refcount_warn_saturate").is_some()
        );
        assert!(alarm("1,1,2,-;BUG: kernel NULL pointer dereference, address: 0").is_some());
        assert_eq!(
            alarm("6,1,2,-;TCP: request_sock_TCP: Possible SYN flooding on port 80."),
            None
        );
    }
}
