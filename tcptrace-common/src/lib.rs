//! The bytes that cross from the kernel side to userspace: one record, one counter block, one table of field
//! offsets. Integers only; what they mean is decided in `tcptrace::decode`.
#![no_std]

mod counters;
mod fields;
mod record;
mod row;
mod stack;

pub use counters::{Counters, Loss, REPORTED, STATES, transition_index};
pub use fields::{ABSENT, Field};
pub use record::{RECORD_VERSION, Record, flag, how, kind};
pub use row::{HOLDER_VERSION, HolderRow, ROW_VERSION, SockRow, row_kind};
pub use stack::{STACK_BYTES, STACK_CHAIN, STACK_VERSION, StackRecord, stack_kind};

/// The kernel's numbers for TCP states, `enum` in `include/net/tcp_states.h`.
pub mod state {
    /// `TCP_ESTABLISHED`
    pub const ESTABLISHED: u8 = 1;
    /// `TCP_SYN_SENT`
    pub const SYN_SENT: u8 = 2;
    /// `TCP_SYN_RECV`
    pub const SYN_RECV: u8 = 3;
    /// `TCP_FIN_WAIT1`
    pub const FIN_WAIT1: u8 = 4;
    /// `TCP_FIN_WAIT2`
    pub const FIN_WAIT2: u8 = 5;
    /// `TCP_TIME_WAIT`
    pub const TIME_WAIT: u8 = 6;
    /// `TCP_CLOSE`
    pub const CLOSE: u8 = 7;
    /// `TCP_CLOSE_WAIT`
    pub const CLOSE_WAIT: u8 = 8;
    /// `TCP_LAST_ACK`
    pub const LAST_ACK: u8 = 9;
    /// `TCP_LISTEN`
    pub const LISTEN: u8 = 10;
    /// `TCP_CLOSING`
    pub const CLOSING: u8 = 11;
    /// `TCP_NEW_SYN_RECV`: a request sock; shown as SYN_RECV.
    pub const NEW_SYN_RECV: u8 = 12;
}
