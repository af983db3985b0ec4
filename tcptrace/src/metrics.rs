//! The metrics of a moment as plain data: families with a name, a type, a unit and samples. Computed from the engine, the
//! counts of `serve` and the latest evaluation; outputs write it. Knows no format, no clock and no file.

pub(crate) mod budget;
pub(crate) mod catalogue;
mod collect;
pub(crate) mod counts;
pub(crate) mod distribution;
mod durations;
mod evaluation;
mod keyed;
mod listeners;
mod netns_counters;
mod own;
mod populations;
#[cfg(test)]
mod tests;

pub(crate) use collect::{Source, collect};
pub(crate) use evaluation::{Evaluation, Totals};
pub(crate) use own::{Exports, Own};

use distribution::Distribution;
use std::borrow::Cow;

/// How the values of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows while the process runs; its samples' names end in `_total`.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Durations that have ended, by bucket.
    Histogram,
}

impl Kind {
    /// The word of the text formats.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The base unit of a family's values, which its name ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Ratio,
}

impl Unit {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// What a family is: the same in every collection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Without `_total`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<Unit>,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// The value of a label.
pub(crate) type Label = Cow<'static, str>;

/// What is measured of a family by one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(u64),
    Real(f64),
    Distribution(Distribution),
}

impl Value {
    /// How many series it has in the text formats.
    fn series(&self) -> usize {
        match self {
            Self::Integer(_) | Self::Real(_) => 1,
            Self::Distribution(_) => distribution::SERIES,
        }
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Integer(count)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// One set of labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// In the order of [`Description::labels`].
    pub(crate) labels: Vec<Label>,
    pub(crate) value: Value,
}

/// A description and its samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) what: &'static Description,
    pub(crate) samples: Vec<Sample>,
}

impl Family {
    /// One without samples.
    pub(crate) const fn new(what: &'static Description) -> Self {
        Self {
            what,
            samples: Vec::new(),
        }
    }

    /// One with a single sample without labels.
    pub(crate) fn single(what: &'static Description, value: impl Into<Value>) -> Self {
        let mut family = Self::new(what);
        family.add([], value);
        family
    }

    /// Adds a sample, with a value for each label of the description.
    pub(crate) fn add(&mut self, labels: impl IntoIterator<Item = Label>, value: impl Into<Value>) {
        let labels: Vec<Label> = labels.into_iter().collect();
        debug_assert_eq!(labels.len(), self.what.labels.len(), "{}", self.what.name);
        self.samples.push(Sample {
            labels,
            value: value.into(),
        });
    }

    /// How many series it has in the text formats.
    pub(crate) fn series(&self) -> usize {
        self.samples.iter().map(|sample| sample.value.series()).sum()
    }
}

/// The sum of all families' series.
pub(crate) fn series(families: &[Family]) -> usize {
    families.iter().map(Family::series).sum()
}

/// Nanoseconds in seconds.
pub(crate) fn seconds(span: crate::event::Nanos) -> f64 {
    std::time::Duration::from_nanos(span.0).as_secs_f64()
}
