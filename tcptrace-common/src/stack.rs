//! The user stack of a system call on a socket: registers, the chain of frame pointers as the kernel walks it, and a
//! copy of the top of the stack, from which userspace finds the frames that keep none.

/// Layout version of [`StackRecord`].
pub const STACK_VERSION: u8 = 1;

/// Return addresses that the kernel's walk along frame pointers gives at most.
pub const STACK_CHAIN: usize = 64;

/// Bytes of the stack that are copied at most.
pub const STACK_BYTES: usize = 2048;

/// What the task was doing with the socket.
pub mod stack_kind {
    /// `connect`, or the `sendmsg` that connects (TCP Fast Open).
    pub const CONNECT: u8 = 1;
    /// `accept` or `accept4`.
    pub const ACCEPT: u8 = 2;
    /// A read, of bytes or of the end of file.
    pub const READ: u8 = 3;
}

/// One stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackRecord {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// `start_boottime` of the thread group's leader, nanoseconds.
    pub start_ns: u64,
    /// Instruction pointer in user mode; 0 where the task has no user mode, as io_uring's workers.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, or whatever the program keeps in that register.
    pub fp: u64,
    /// Thread group of the running task.
    pub tgid: u32,
    /// Bytes of [`Self::chain`] that are filled.
    pub chain_bytes: u16,
    /// Bytes of [`Self::stack`] that are filled.
    pub stack_bytes: u16,
    /// One of [`stack_kind`].
    pub kind: u8,
    /// [`STACK_VERSION`].
    pub version: u8,
    /// The code segment in user mode.
    pub cs: u16,
    /// Keeps what follows aligned.
    pub padding: u32,
    /// The instruction pointer, and the return addresses that lie along the frame pointers.
    pub chain: [u64; STACK_CHAIN],
    /// The memory from `sp` upwards.
    pub stack: [u8; STACK_BYTES],
}

const _: () =
    assert!(size_of::<StackRecord>() == 64 + 8 * STACK_CHAIN + STACK_BYTES && align_of::<StackRecord>() == 8);
