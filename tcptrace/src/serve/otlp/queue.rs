//! The bounded queue of log records between the thread that traces and the one that pushes.

use crate::output::otlp::Record;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Records that wait, at most: at 1.2 KiB each some 80 MiB.
const MOST: usize = 65_536;

/// Records of one request, at most: some 2.5 MiB; gRPC takes 4 MiB by default.
const BATCH: usize = 2_048;

/// How long a record waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Filled by the thread that traces, with one lock for all records of a drain.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    records: Mutex<Vec<Record>>,
    is_batch: Notify,
    dropped: AtomicU64,
}

impl Queue {
    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        MOST.saturating_sub(self.lock().len())
    }

    /// Adds records; what does not fit is dropped, the newest first.
    pub(crate) fn add(&self, mut records: Vec<Record>) {
        let mut waiting = self.lock();
        let room = MOST.saturating_sub(waiting.len());
        if records.len() > room {
            self.drop_some(records.len() - room);
            records.truncate(room);
        }
        waiting.append(&mut records);
        if waiting.len() >= BATCH {
            self.is_batch.notify_one();
        }
    }

    /// Counts records that were dropped.
    pub(crate) fn drop_some(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The oldest records, once there are as many as a request takes, or a while has passed; there may be none.
    pub(super) async fn batch(&self) -> Vec<Record> {
        // Whichever comes first.
        let _ = timeout(PATIENCE, self.is_batch.notified()).await;
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        let batch = waiting.drain(..count).collect();
        if waiting.len() >= BATCH {
            self.is_batch.notify_one();
        }
        batch
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::default();
        queue.add(vec![Record::default(); MOST - 1]);
        assert_eq!(queue.room(), 1);
        queue.add(vec![Record::default(); 3]);
        assert_eq!((queue.room(), queue.dropped()), (0, 2));
        let mut taken = 0;
        while taken < MOST {
            let batch = queue.batch().await.len();
            assert!(batch > 0 && batch <= BATCH);
            taken += batch;
        }
        assert_eq!((queue.batch().await.len(), queue.room()), (0, MOST));
    }
}
