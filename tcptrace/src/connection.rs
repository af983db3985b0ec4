//! Connections: the rules of their states, and the table that holds them.

pub(crate) mod audit;
pub(crate) mod blindspots;
pub(crate) mod change;
mod end_evidence;
mod endpoint_index;
pub(crate) mod handshake;
pub(crate) mod holders;
pub(crate) mod kernel_age;
mod key_index;
pub(crate) mod lifetime;
mod losses;
pub(crate) mod machine;
mod recent;
pub(crate) mod reopenable;
pub(crate) mod row;
pub(crate) mod sides;
pub(crate) mod since;
pub(crate) mod state;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod workload;
