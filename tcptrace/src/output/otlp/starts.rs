//! Since when the value of a cumulative series counts. A series whose key went away and came back begins anew, which OTLP
//! shows by a later start.

use crate::metrics::{Label, Sample, Value};
use hashbrown::HashMap;

/// What the kernel counts for each network namespace begins with. Since when is not known: it began before.
const OF_KERNEL: &str = "tcptrace_netns_";

/// Name and labels.
type Key = (&'static str, Vec<Label>);

#[derive(Debug)]
pub(super) struct Starts {
    /// When all began; wall time in nanoseconds.
    began: u64,
    /// The time of the request before; `None` if there was none.
    before: Option<u64>,
    /// Start and latest value of the series of the request before and of this one.
    series: [HashMap<Key, (u64, f64)>; 2],
}

impl Starts {
    pub(super) fn new(began: u64) -> Self {
        Self {
            began,
            before: None,
            series: Default::default(),
        }
    }

    pub(super) const fn began(&self) -> u64 {
        self.began
    }

    /// The start of a series at `time`; 0, which stands for an unknown one in OTLP, of the kernel's counters.
    pub(super) fn of(&mut self, name: &'static str, sample: &Sample, time: u64) -> u64 {
        if name.starts_with(OF_KERNEL) {
            return 0;
        }
        let [before, now] = &mut self.series;
        let key = (name, sample.labels.clone());
        let value = size(&sample.value);
        let start = match (before.get(&key), self.before) {
            (Some((start, latest)), _) if value >= *latest => *start,
            (_, Some(request)) => request,
            (_, None) => self.began,
        };
        let start = start.min(time);
        now.insert(key, (start, value));
        start
    }

    /// Ends the request of `time`: what was not in it has ended.
    pub(super) fn finish(&mut self, time: u64) {
        self.series.swap(0, 1);
        self.series[1].clear();
        self.before = Some(time);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "values are compared with earlier ones alone"
)]
fn size(value: &Value) -> f64 {
    match value {
        Value::Integer(count) => *count as f64,
        Value::Real(value) => *value,
        Value::Distribution(distribution) => distribution.count() as f64,
    }
}
