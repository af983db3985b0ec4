//! Pushes the published metrics to an OpenTelemetry collector, and log records if asked for, in a thread of its own that may
//! connect to nothing else. Metrics are cumulative, so none are queued: a request that failed is followed by one with newer
//! values. Log records wait in a bounded queue.

mod client;
mod connections;
mod outcome;
mod queue;

pub(crate) use connections::Connections;
pub(crate) use outcome::Account;
pub(crate) use queue::Queue;

use super::{Board, tls::TlsError};
use crate::{options::serve::otlp::Otlp, output::otlp::Encoder, privileges};
use client::{Client, Signal};
use outcome::Outcome;
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep, sleep_until};

/// How long to wait after the first failure; each further one doubles it, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two tries of the same log records.
const LONGEST_LOG_PAUSE: Duration = Duration::from_mins(1);

/// The longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Pushes to one collector.
pub(crate) struct Pusher {
    client: Client,
    interval: Duration,
    resource: Vec<(String, String)>,
    metrics: Arc<Account>,
    /// `None` where no log records are pushed.
    logs: Option<Logs>,
}

/// Log records, and what becomes of them.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    pub(crate) queue: Arc<Queue>,
    pub(crate) account: Arc<Account>,
}

impl Pusher {
    /// For these attributes of a resource. Reads the certificates of authorities, if they are needed.
    pub(crate) fn new(otlp: Otlp, resource: Vec<(String, String)>) -> Result<Self, TlsError> {
        Ok(Self {
            interval: otlp.interval,
            logs: otlp.logs.then(Logs::default),
            client: Client::new(otlp)?,
            resource,
            metrics: Arc::default(),
        })
    }

    /// What becomes of the requests with metrics.
    pub(crate) fn metrics(&self) -> &Arc<Account> {
        &self.metrics
    }

    /// The port of the collector.
    pub(crate) fn port(&self) -> u16 {
        let [port, _] = self.client.ports();
        port
    }

    /// The latest connections to the collector.
    pub(crate) const fn connections(&self) -> &Arc<Connections> {
        self.client.connections()
    }

    pub(crate) fn logs(&self) -> Option<&Logs> {
        self.logs.as_ref()
    }

    /// Pushes in a thread of its own for as long as the process runs, once there are metrics, which count since a wall time.
    /// To be called before the process is confined, which would deny it all connections. Fails if the thread cannot be
    /// started.
    pub(crate) fn start(self, board: Arc<Board>, began_wall_ns: u64) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Names are resolved there.
            .max_blocking_threads(1)
            .build()?;
        thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            privileges::connect_only(&self.client.ports());
            runtime.block_on(async {
                tokio::join!(
                    self.push_metrics(&board, began_wall_ns),
                    self.push_logs(began_wall_ns)
                );
            });
        })?;
        Ok(())
    }

    async fn push_metrics(&self, board: &Board, began_wall_ns: u64) {
        board.ready().await;
        let mut encoder = Encoder::new(&self.resource, began_wall_ns);
        let mut pauses = Pauses::new(self.interval);
        loop {
            let next = Instant::now() + self.interval;
            let outcome = match board.recent().await {
                Some(published) => {
                    let request = encoder.metrics(published.families(), wall_ns());
                    self.client.send(Signal::Metrics, &request).await
                }
                None => Outcome::passing("tcptrace is too busy to collect metrics"),
            };
            self.metrics
                .note(&outcome, Signal::Metrics.name(), self.client.target());
            match pauses.after(&outcome) {
                Some(pause) => sleep(pause).await,
                None => sleep_until(next).await,
            }
        }
    }

    /// Sends each batch until it is taken or refused for good.
    async fn push_logs(&self, began_wall_ns: u64) {
        let Some(Logs { queue, account }) = &self.logs else {
            return;
        };
        let encoder = Encoder::new(&self.resource, began_wall_ns);
        let mut pauses = Pauses::new(LONGEST_LOG_PAUSE);
        loop {
            let batch = queue.batch().await;
            let count = batch.len();
            if count == 0 {
                continue;
            }
            let request = encoder.logs(batch);
            loop {
                let outcome = self.client.send(Signal::Logs, &request).await;
                account.note(&outcome, Signal::Logs.name(), self.client.target());
                let Some(pause) = pauses.after(&outcome) else {
                    if matches!(outcome, Outcome::Failed { .. }) {
                        queue.drop_some(count);
                    }
                    break;
                };
                sleep(pause).await;
            }
        }
    }
}

/// How long to wait after failures that may pass: each time for twice as long, up to a limit.
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn new(longest: Duration) -> Self {
        Self {
            next: FIRST_PAUSE,
            longest: longest.max(FIRST_PAUSE),
        }
    }

    /// The pause before another try; `None` where there is none.
    fn after(&mut self, outcome: &Outcome) -> Option<Duration> {
        match outcome {
            Outcome::Failed {
                again: Some(least), ..
            } => {
                let least = (*least).min(LONGEST_PAUSE);
                let pause = spread(self.next).max(least);
                self.next = (self.next * 2).min(self.longest);
                Some(pause)
            }
            Outcome::Failed { again: None, .. } | Outcome::Taken(_) => {
                self.next = FIRST_PAUSE;
                None
            }
        }
    }
}

/// A time between half of it and all of it: collectors that were restarted are not asked by all hosts at once.
fn spread(time: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_024;
    let part = u32::try_from(random).unwrap_or(0);
    time / 2 + time / 2_048 * part
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let mut pauses = Pauses::new(Duration::from_mins(1));
        let fails = Outcome::passing("connection refused");
        for limit in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = pauses.after(&fails).expect("it is tried again");
            assert!(
                pause <= Duration::from_secs(limit) && pause * 2 >= Duration::from_secs(limit),
                "{limit}: {pause:?}"
            );
        }
        assert_eq!(pauses.after(&Outcome::Taken(None)), None);
        assert!(pauses.after(&fails).is_some_and(|pause| pause <= FIRST_PAUSE));
        let asked = Outcome::Failed {
            why: String::new(),
            again: Some(Duration::from_secs(90)),
        };
        assert_eq!(pauses.after(&asked), Some(Duration::from_secs(90)));
    }

    #[test]
    fn pauses_are_spread_over_half_of_their_length() {
        for _ in 0..1_000 {
            let wait = spread(Duration::from_secs(8));
            assert!(
                wait >= Duration::from_secs(4) && wait <= Duration::from_secs(8),
                "{wait:?}"
            );
        }
    }
}
