//! Connections: the rules of their states, and the table that holds them.

pub mod audit;
mod ends_index;
pub mod hidden;
pub mod kept_age;
mod key_index;
pub mod lifetime;
pub mod machine;
pub mod reopenable;
pub mod since;
pub mod table;
#[cfg(test)]
pub(crate) mod table_tests;
