//! Counts and durations: transitions, time in each state, lifetimes, in total and per key. Knows no clock and
//! no output.

pub mod bins;
#[cfg(test)]
mod books_tests;
pub mod buckets;
pub mod counts;
pub mod key;
pub mod measure;
pub mod report;
pub mod survival;
pub mod top_k;
pub mod totals;

pub use counts::Stats;
