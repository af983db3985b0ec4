//! The signals that end a run cleanly: SIGINT, SIGTERM, SIGQUIT, and SIGHUP unless it is ignored, as under nohup(1).

use super::Failure;
use anyhow::Context as _;
use nix::errno::Errno;
use std::{
    future::pending,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who is asked to end waits no longer than this for a reader who takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

static WAS_CAUGHT: AtomicBool = AtomicBool::new(false);

/// Timeout for a reader that reads nothing: none until a signal has requested the end.
pub(crate) fn patience() -> Option<Duration> {
    WAS_CAUGHT.load(Ordering::Relaxed).then_some(PATIENCE)
}

/// Ignores SIGUSR1, which requests a file, until a command waits for it: without anything to write, it must not end
/// the run.
pub(crate) fn ignore_dump() {
    // SAFETY: an ignored signal runs no code of ours.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
}

/// Those signals, caught as long as this lives. After it they end the process as if nobody had caught them, so that it
/// can be ended while it waits for a reader; they cannot be caught again.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hang_up: Option<Signal>,
}

impl Stop {
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            quit: catch(SignalKind::quit())?,
            hang_up: (!is_ignored(libc::SIGHUP))
                .then(|| catch(SignalKind::hangup()))
                .transpose()?,
        })
    }

    pub(crate) async fn recv(&mut self) {
        let Self {
            interrupt,
            terminate,
            quit,
            hang_up,
        } = self;
        let hung_up = async {
            match hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = hung_up => {}
        }
        WAS_CAUGHT.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        let hang_up = self.hang_up.is_some().then_some(libc::SIGHUP);
        for number in [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT]
            .into_iter()
            .chain(hang_up)
        {
            // SAFETY: the default action runs no code of ours.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
}

fn is_ignored(number: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed, and the pointer is to one sigaction, which is filled where the call succeeds.
    unsafe {
        let result = libc::sigaction(number, ptr::null(), action.as_mut_ptr());
        Errno::result(result).is_ok() && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
