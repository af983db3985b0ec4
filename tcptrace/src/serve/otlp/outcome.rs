//! What becomes of requests, counted for metrics and reported once.

use crate::{metrics::Exports, output::otlp::Rejected};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a collector answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took the request, but for what it rejected.
    Taken(Option<Rejected>),
    /// It did not, or could not be reached.
    Failed {
        why: String,
        /// The least time to wait for another try; `None` if there is none.
        again: Option<Duration>,
    },
}

impl Outcome {
    /// A failure that may pass.
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Failed {
            why: why.into(),
            again: Some(Duration::ZERO),
        }
    }
}

/// Requests and what was rejected, shared by the thread that pushes and the one that reports it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    succeeded: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    is_failing: bool,
    is_rejecting: bool,
    pending: Vec<String>,
}

impl Account {
    pub(crate) fn exports(&self) -> Exports {
        Exports {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// What the user has not been told: failures when they begin and when they have ended.
    pub(crate) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.report().pending)
    }

    pub(super) fn note(&self, outcome: &Outcome, what: &str, target: &str) {
        let mut report = self.report();
        match outcome {
            Outcome::Taken(rejected) => {
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut report.is_failing) {
                    report.pending.push(format!("{what} are taken by {target} again"));
                }
                let Some(Rejected { count, reason }) = rejected else {
                    report.is_rejecting = false;
                    return;
                };
                self.rejected.fetch_add(*count, Ordering::Relaxed);
                if !std::mem::replace(&mut report.is_rejecting, true) {
                    report.pending.push(format!(
                        "{target} rejects {count} of the {what}: {reason}; tcptrace_otlp_rejected_items counts them"
                    ));
                }
            }
            Outcome::Failed { why, .. } => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut report.is_failing, true) {
                    report.pending.push(format!(
                        "{what} cannot be pushed to {target}: {why}; pushes go on, and tcptrace_otlp_exports counts them"
                    ));
                }
            }
        }
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_messages_once_when_it_begins_and_once_when_it_ends() {
        let account = Account::default();
        let mut messages = Vec::new();
        let fails = Outcome::passing("connection refused");
        let rejects = Outcome::Taken(Some(Rejected {
            count: 3,
            reason: "too old".to_owned(),
        }));
        for outcome in [
            &Outcome::Taken(None),
            &fails,
            &fails,
            &rejects,
            &rejects,
            &Outcome::Taken(None),
        ] {
            account.note(outcome, "metrics", "http://otel:4318");
            messages.extend(account.take_messages());
        }
        assert_eq!(messages.len(), 3, "{messages:#?}");
        assert!(
            messages[0].contains("connection refused")
                && messages[1].ends_with("again")
                && messages[2].contains("too old")
        );
        let exports = Exports {
            succeeded: 4,
            failed: 2,
            rejected: 6,
        };
        assert_eq!(account.exports(), exports);
    }
}
