//! Connections: the rules of their states, and the table that holds them.

pub mod audit;
pub mod blindspots;
pub mod change;
mod endpoint_index;
pub mod holders;
pub mod kernel_age;
mod key_index;
pub mod lifetime;
mod losses;
pub mod machine;
mod recent;
pub mod reopenable;
pub mod row;
pub mod sides;
pub mod since;
pub mod state;
pub mod table;
#[cfg(test)]
pub(crate) mod workload;
