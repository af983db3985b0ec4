//! Network namespaces of their own: what is in them ends with them.

use crate::command;
use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use std::{process::Command, thread};

/// Runs `body` on a thread in a new network namespace whose loopback interface is up.
pub(crate) fn in_namespace<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
            command::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
            body()
        });
        thread.join().expect("the body does not panic")
    })
}
