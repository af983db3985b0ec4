//! The one thread that inspects other processes. Landlock denies that to the threads that it confines: what
//! `/proc/PID` has under `fd`, `ns`, `maps`, `map_files` and `root` takes the right to trace the process (ptrace(2)),
//! and `hook_ptrace_access_check` (Linux 6.18) refuses it across the border of a domain. So this thread stays outside.
//! A filter of its system calls lets it read and nothing else. It hands over what it finds.

use super::{capabilities, read_only};
use caps::{Capability, CapsHashSet, errors::CapsError};
use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::{
        OnceLock,
        mpsc::{Sender, channel, sync_channel},
    },
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// Of the process, as its privileges are.
static SCOUT: OnceLock<Sender<Job>> = OnceLock::new();

thread_local! {
    static IS_SCOUT: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
pub(super) struct Started {
    /// The capabilities that it holds.
    pub(super) held: CapsHashSet,
    /// Why its system calls are not filtered, if they are not.
    pub(super) unfiltered: Option<seccompiler::Error>,
}

/// Starts it, with these of the capabilities that the caller has.
pub(super) fn start(wanted: Vec<Capability>) -> Result<Started, CapsError> {
    let (jobs, queue) = channel::<Job>();
    let (ready, is_ready) = sync_channel(1);
    thread::Builder::new()
        .name("scout".to_owned())
        .spawn(move || {
            IS_SCOUT.set(true);
            let held = capabilities::use_only(&wanted);
            let held = held.and_then(|held| capabilities::seal().map(|()| held));
            let started = held.map(|held| Started {
                held,
                unfiltered: read_only::confine().err(),
            });
            if ready.send(started).is_ok() {
                for job in queue {
                    job();
                }
            }
        })
        .map_err(|error| CapsError::from(error.to_string()))?;
    let started = is_ready
        .recv()
        .map_err(|error| CapsError::from(error.to_string()))??;
    // A second one would be equivalent; the first continues.
    let _ = SCOUT.set(jobs);
    Ok(started)
}

/// Lets the scout answer, or answers in the calling thread where that is the scout, or there is none.
pub fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(scout) = SCOUT.get().filter(|_| !IS_SCOUT.get()) else {
        return question();
    };
    let (sender, answer) = sync_channel(1);
    let job: Job = Box::new(move || {
        let _ = sender.send(panic::catch_unwind(AssertUnwindSafe(question)));
    });
    scout.send(job).expect("the scout lives as long as the process");
    match answer.recv().expect("the scout answers every question") {
        Ok(answer) => answer,
        Err(panic) => panic::resume_unwind(panic),
    }
}
