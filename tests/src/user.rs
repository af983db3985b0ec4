//! Runs the binary as an unprivileged user with exactly some capabilities, as a service manager does, or file
//! capabilities.

use crate::binary;
use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    errno::Errno,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// The user and group `nobody`.
pub const NOBODY: u32 = 65_534;

/// A folder of that user, with a copy of the binary: the build folder may not be accessible to other users.
pub struct Home(TempDir);

impl Home {
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        fs::copy(binary::path(), folder.path().join("tcptrace")).expect("the binary can be copied");
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root gives it away");
        Self(folder)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `tcptrace` with its arguments, as that user, with these capabilities and no others.
    #[must_use]
    pub fn tcptrace(&self, capabilities: &[Capability], arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path().join("tcptrace"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let wanted: CapsHashSet = capabilities.iter().copied().collect();
        // SAFETY: the child only makes system calls, on values prepared before.
        unsafe { command.pre_exec(move || become_nobody(&wanted)) };
        command
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

fn become_nobody(wanted: &CapsHashSet) -> io::Result<()> {
    let refused = |_| io::Error::from(Errno::EPERM);
    caps::securebits::set_keepcaps(true).map_err(refused)?;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    for set in [CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient] {
        caps::set(None, set, wanted).map_err(refused)?;
    }
    Ok(())
}
