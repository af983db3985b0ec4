//! A program on a terminal that can be closed.

use nix::{errno::Errno, unistd::setsid};
use std::{
    fs::File,
    io::Read as _,
    mem,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    ptr,
};

/// The other side of the terminal. Dropping it closes the terminal.
pub struct Pty {
    master: File,
    read: Vec<u8>,
}

impl Pty {
    /// Starts the command on a new terminal. If the terminal `is_controlling`, closing it sends SIGHUP.
    pub fn spawn(command: &mut Command, is_controlling: bool) -> (Self, Child) {
        let (mut master, mut slave) = (-1, -1);
        let size = libc::winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: both numbers and the size outlive the call; the name and the settings may be null.
        let result = unsafe {
            libc::openpty(
                &raw mut master,
                &raw mut slave,
                ptr::null_mut(),
                ptr::null(),
                &raw const size,
            )
        };
        Errno::result(result).expect("a pseudoterminal can be had");
        // SAFETY: the call has just opened both, and nothing else owns them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let copy = || Stdio::from(slave.try_clone().expect("a descriptor can be had"));
        command.stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: both calls are safe between fork and exec (signal-safety(7)), and take numbers only.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                if is_controlling {
                    Errno::result(libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0))?;
                }
                // The terminal must close when the test drops it.
                libc::close_range(3, libc::c_uint::MAX, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("the command can be started");
        // The command still has the other side open.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        (
            Self {
                master,
                read: Vec::new(),
            },
            child,
        )
    }

    /// Reads until the program has written this text.
    pub fn read_until(&mut self, text: &str) {
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let count = self.master.read(&mut chunk).unwrap_or(0);
            assert!(
                count > 0,
                "it ended before: {:?}",
                String::from_utf8_lossy(&self.read)
            );
            self.read.extend_from_slice(&chunk[..count]);
        }
    }

    /// Whether the terminal is in noncanonical mode.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        // SAFETY: a termios of zeros is one, and outlives the call, which fills it.
        let settings = unsafe {
            let mut settings = mem::zeroed::<libc::termios>();
            let result = libc::tcgetattr(self.master.as_raw_fd(), &raw mut settings);
            Errno::result(result).expect("it is a terminal");
            settings
        };
        settings.c_lflag & libc::ICANON == 0
    }

    /// All output so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}
