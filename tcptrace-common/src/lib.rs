//! The data shared by kernel side and userspace: records, counters, and the table of field
//! offsets. Integers only, which `tcptrace::decode` interprets.
#![no_std]

mod counters;
mod fields;
mod record;
mod row;
mod stack;
mod vocabulary;

pub use counters::{Counters, Hit, Hits, Loss, REPORTED, STATES, transition_index};
pub use fields::{ABSENT, Field};
pub use record::{RECORD_VERSION, Record, flag};
pub use row::{HOLDER_VERSION, HolderRow, NetworkRow, OptionsRow, ROW_VERSION, SockRow, known, option};
pub use stack::{STACK_BYTES, STACK_CHAIN, STACK_VERSION, StackRecord};
pub use vocabulary::{Call, EndCause, EventKind, SockKind, TimerStep};

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
    /// `TCP_NEW_SYN_RECV`: a request socket; shown as SYN_RECV.
    pub const NEW_SYN_RECV: u8 = 12;
}
