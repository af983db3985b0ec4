//! What tracing costs, as shares of one CPU: this process by its own account, the programs in the kernel by the
//! kernel's, which is asked to count only now and then because counting costs two readings of a clock for each run.

use super::session::Session;
use crate::{event::Nanos, summary::Usage, view::Share};
use aya::sys::{Stats, enable_stats};
use nix::sys::resource::{UsageWho, getrusage};
use std::{os::fd::OwnedFd, time::Duration};

/// One frame in this many is measured in the kernel.
const COUNT_EVERY: u64 = 10;

/// Remembers the readings before.
#[derive(Debug)]
pub(super) struct Meter {
    at: Nanos,
    here: Duration,
    /// Open while the kernel counts, of all programs on this machine; with the time in ours when that began.
    counting: Option<(OwnedFd, Duration)>,
    frames: u64,
    share: Share,
}

impl Meter {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            at: now,
            here: Duration::from_nanos(used().cpu_ns),
            counting: None,
            frames: 0,
            share: Share::default(),
        }
    }

    /// The shares until `now`, which is a frame later.
    pub(super) fn read(&mut self, session: &Session, now: Nanos) -> Share {
        let span = now.since(self.at);
        let usage = used();
        let here = Duration::from_nanos(usage.cpu_ns);
        self.share.here = Some(share(here.saturating_sub(self.here), span));
        self.share.memory = Some(usage.peak_memory_bytes);
        if let Some((_, before)) = self.counting.take() {
            let used = session.kernel_time().map(|after| after.saturating_sub(before));
            self.share.kernel = used.map(|used| share(used, span));
        }
        if self.frames.is_multiple_of(COUNT_EVERY) {
            self.counting = enable_stats(Stats::RunTime).ok().zip(session.kernel_time());
        }
        self.frames += 1;
        self.at = now;
        self.here = here;
        self.share
    }
}

fn share(used: Duration, span: Nanos) -> f64 {
    used.as_secs_f64() / Duration::from_nanos(span.0.max(1)).as_secs_f64()
}

/// What this process has used, all its threads.
pub(super) fn used() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Usage::default();
    };
    let cpu: Duration = [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            Duration::from_secs(time.tv_sec().unsigned_abs())
                + Duration::from_micros(time.tv_usec().unsigned_abs())
        })
        .sum();
    Usage {
        cpu_ns: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX),
        // In kilobytes: getrusage(2).
        peak_memory_bytes: usage.max_rss().unsigned_abs() << 10,
    }
}
