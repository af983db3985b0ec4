//! The user stack of a system call on a socket: registers, the chain of frame pointers as the kernel walks it, and a
//! copy of the top of the stack, from which userspace finds frames without a frame pointer.

/// Layout version of [`StackRecord`].
pub const STACK_VERSION: u8 = 1;

/// Maximum number of return addresses from the kernel's walk of frame pointers.
pub const STACK_CHAIN: usize = 64;

/// Maximum number of bytes copied from the stack.
pub const STACK_BYTES: usize = 2048;

/// The user stack of one system call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackRecord {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// `start_boottime` of the thread group's leader, nanoseconds.
    pub start_ns: u64,
    /// Instruction pointer in user mode; 0 if the task has no user mode, like io_uring workers.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, or another value if the program uses that register otherwise.
    pub fp: u64,
    /// Thread group of the current task.
    pub tgid: u32,
    /// Bytes of [`Self::chain`] that are filled.
    pub chain_bytes: u16,
    /// Bytes of [`Self::stack`] that are filled.
    pub stack_bytes: u16,
    /// A [`Call`](crate::Call).
    pub kind: u8,
    /// [`STACK_VERSION`].
    pub version: u8,
    /// The code segment in user mode.
    pub cs: u16,
    /// Padding, for alignment.
    pub padding: u32,
    /// The instruction pointer, and the return addresses found by frame pointers.
    pub chain: [u64; STACK_CHAIN],
    /// The memory from `sp` upwards.
    pub stack: [u8; STACK_BYTES],
}

const _: () =
    assert!(size_of::<StackRecord>() == 64 + 8 * STACK_CHAIN + STACK_BYTES && align_of::<StackRecord>() == 8);
