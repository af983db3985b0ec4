//! What was counted and measured: changes, how long states and connections lasted, and for whom. Knows no clock and
//! no output.

#[cfg(test)]
mod books_tests;
pub mod buckets;
pub mod cells;
pub mod collector;
pub mod counts;
pub mod key;
pub mod keyed;
pub mod measure;
pub mod report;
pub mod survival;
pub mod totals;

pub use counts::Stats;
