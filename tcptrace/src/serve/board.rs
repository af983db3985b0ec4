//! Where the thread that traces puts metrics, and HTTP takes them from. Neither waits for the other's work: one asks, the
//! other publishes when it gets to it, and all who ask meanwhile get the same.

use super::gzip;
use crate::{metrics::Family, output::exposition::Exposition};
use bytes::Bytes;
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// Metrics as old as this are recent: of hundreds of scrapes a second, one asks for newer ones.
const RECENT: Duration = Duration::from_secs(1);

/// How long one waits for newer ones: less than Prometheus's default timeout of 10 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long the thread that traces may be busy and still be healthy. It wakes up every 250 ms at least, and reads of a
/// million sockets take seconds.
const HEALTHY: Duration = Duration::from_secs(30);

/// The metrics of one moment, and their forms once somebody has asked for them.
#[derive(Debug)]
pub(crate) struct Published {
    families: Vec<Family>,
    made: Instant,
    forms: [[OnceLock<Bytes>; 2]; Exposition::ALL.len()],
}

impl Published {
    fn new(families: Vec<Family>) -> Self {
        Self {
            families,
            made: Instant::now(),
            forms: Default::default(),
        }
    }

    fn is_recent(&self) -> bool {
        self.made.elapsed() < RECENT
    }

    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    /// The metrics in this form, and whether they are compressed by gzip. Written by the first who asks.
    pub(crate) fn form(&self, form: Exposition, is_compressed: bool) -> Bytes {
        let [plain, compressed] = &self.forms[form as usize];
        let plain = plain.get_or_init(|| form.write(&self.families).into());
        if is_compressed {
            compressed.get_or_init(|| gzip(plain).into()).clone()
        } else {
            plain.clone()
        }
    }
}

/// The latest metrics.
#[derive(Debug)]
pub(crate) struct Board {
    latest: watch::Sender<Option<Arc<Published>>>,
    wanted: Notify,
    /// When the thread that traces was last there.
    alive: watch::Sender<Instant>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            latest: watch::Sender::new(None),
            wanted: Notify::new(),
            alive: watch::Sender::new(Instant::now()),
        }
    }

    /// Publishes metrics.
    pub(crate) fn publish(&self, families: Vec<Family>) {
        self.latest.send_replace(Some(Arc::new(Published::new(families))));
    }

    /// Waits until somebody wants newer metrics. Whoever asked while the latest were being made has those.
    pub(crate) async fn wanted(&self) {
        loop {
            self.wanted.notified().await;
            if self
                .latest
                .borrow()
                .as_deref()
                .is_none_or(|latest| !latest.is_recent())
            {
                return;
            }
        }
    }

    /// Notes that the thread that traces is not stuck.
    pub(crate) fn note_alive(&self) {
        self.alive.send_replace(Instant::now());
    }

    /// Waits until there are metrics.
    pub(crate) async fn ready(&self) {
        let mut latest = self.latest.subscribe();
        // It fails where the sender is gone, which is in this board.
        let _ = latest.wait_for(Option::is_some).await;
    }

    /// Whether there are metrics: the hooks are attached and the first snapshot was taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.latest.borrow().is_some()
    }

    /// Whether the thread that traces was there lately.
    pub(crate) fn is_healthy(&self) -> bool {
        self.alive.borrow().elapsed() < HEALTHY
    }

    /// Recent metrics, newer ones if need be; `None` if they do not come in time.
    pub(crate) async fn recent(&self) -> Option<Arc<Published>> {
        let mut latest = self.latest.subscribe();
        if let Some(published) = &*latest.borrow_and_update()
            && published.is_recent()
        {
            return Some(Arc::clone(published));
        }
        self.wanted.notify_one();
        let changed = timeout(PATIENCE, latest.changed()).await;
        changed.ok()?.ok()?;
        latest.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalogue::SCANS;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn all_who_ask_at_a_time_get_the_same_metrics() {
        let board = Board::new();
        assert!(!board.is_ready());
        let ask = || board.recent();
        let publish = async {
            board.wanted().await;
            board.publish(vec![Family::single(&SCANS, 7)]);
        };
        let (first, second, ()) = tokio::join!(ask(), ask(), publish);
        let (first, second) = (first.expect("it was published"), second.expect("likewise"));
        assert!(Arc::ptr_eq(&first, &second) && board.is_ready());
        // Recent ones are taken as they are.
        let third = board.recent().await.expect("there are some");
        assert!(Arc::ptr_eq(&first, &third));
        // Who had asked for them does not want others.
        board.wanted.notify_one();
        let wanted = timeout(PATIENCE, board.wanted());
        assert!(wanted.await.is_err());
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn who_asks_in_vain_gets_none() {
        assert!(Board::new().recent().await.is_none());
    }

    #[test]
    fn a_form_is_written_once() {
        let published = Published::new(vec![Family::single(&SCANS, 7)]);
        let form = |is_compressed| published.form(Exposition::OpenMetrics, is_compressed);
        assert_eq!(form(false).as_ptr(), form(false).as_ptr());
        assert!(form(false).ends_with(b"tcptrace_scans_total 7\n# EOF\n"));
        assert_eq!(form(true)[..2], [0x1f, 0x8b]);
    }
}
