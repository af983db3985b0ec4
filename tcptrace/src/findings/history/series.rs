//! How many there were, from second to second, and how fast that grows.

use crate::{
    event::Nanos,
    findings::{Figure as _, slope::Slope},
};
use std::{collections::VecDeque, time::Duration};

/// Number of samples kept: growth is that of the last four minutes.
pub(super) const SAMPLES: usize = 256;

/// How many there were, at successive times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    samples: VecDeque<(Nanos, u64)>,
}

impl Series {
    /// Adds a sample; beyond the limit, the oldest is dropped.
    pub fn push(&mut self, now: Nanos, count: u64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, count));
    }

    /// The greatest value; 0 if there is none.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.samples.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// The latest value; 0 if there is none.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.samples.back().map_or(0, |(_, count)| *count)
    }

    /// The same with one more from each of these times on.
    #[must_use]
    pub fn with(&self, times: &[Nanos]) -> Self {
        let more = |sample: Nanos| times.iter().filter(|time| **time <= sample).count() as u64;
        let add = |(time, count): &(Nanos, u64)| (*time, count + more(*time));
        Self {
            samples: self.samples.iter().map(add).collect(),
        }
    }

    /// Growth per minute up to the latest sample; `None` where the samples are too few.
    #[must_use]
    pub fn per_minute(&self) -> Option<Slope> {
        let (first, _) = self.samples.front()?;
        let points: Vec<(f64, f64)> = self
            .samples
            .iter()
            .map(|(time, count)| {
                let seconds = Duration::from_nanos(time.since(*first).0).as_secs_f64();
                (seconds / 60.0, count.figure())
            })
            .collect();
        Slope::of_counts(&points)
    }
}
