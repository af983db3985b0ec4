//! Counts and durations: transitions, time in each state, lifetimes, in total and per key. Knows no clock and
//! no output.

pub mod bins;
#[cfg(test)]
mod books_tests;
pub(crate) mod buckets;
pub(crate) mod counts;
pub mod key;
pub mod measure;
pub(crate) mod report;
pub(crate) mod survival;
pub(crate) mod top_k;
pub mod totals;

pub(crate) use counts::Stats;
