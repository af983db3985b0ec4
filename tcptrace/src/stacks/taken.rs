//! A stack as the kernel side took it, and what becomes of it. Plain data.

use crate::event::ProcessKey;
use serde::Serialize;

/// Which call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `connect`.
    Connect,
    /// `accept`.
    Accept,
    /// A read of bytes, or of the end of file.
    Read,
}

/// The registers that say where a task is and where its stack lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer; 0 where the task has no user mode.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, or whatever the program keeps in that register.
    pub fp: u64,
}

/// What the kernel side took of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The socket's cookie.
    pub cookie: u64,
    /// Who made the call.
    pub process: ProcessKey,
    /// Which call.
    pub call: Call,
    /// The registers in user mode.
    pub registers: Registers,
    /// Whether it is a 32-bit program.
    pub is_32_bit: bool,
    /// The instruction pointer, and the return addresses along the frame pointers.
    pub chain: Vec<u64>,
    /// The memory from the stack pointer upwards.
    pub stack: Vec<u8>,
}

impl Taken {
    /// The word at this address of the stack, where it was copied.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.registers.sp)?).ok()?;
        let bytes = self.stack.get(at..at.checked_add(size_of::<u64>())?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// Why a stack has no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The outermost function was reached.
    Root,
    /// What was copied ended, and the rest lies along frame pointers, as far as they go.
    FramePointers,
    /// What was copied ended, and there are no frame pointers to go on by.
    NoFramePointers,
    /// A caller that is no code: something on the way keeps no frame pointer, and has no unwind tables.
    NoTables,
    /// More frames than are kept.
    Deep,
    /// A 32-bit program.
    ThirtyTwoBit,
    /// The task has no user mode: the kernel does this for io_uring.
    NoUserMode,
    /// The process had ended before its memory map was read.
    Ended,
}

impl End {
    /// What is missing and why, where something is.
    #[must_use]
    pub const fn shortfall(self) -> Option<&'static str> {
        match self {
            Self::Root | Self::FramePointers => None,
            Self::NoFramePointers => Some(
                "outer frames are missing: the stack is deeper than the 2 KiB that are copied, and the program keeps no frame pointers (-fno-omit-frame-pointer)",
            ),
            Self::NoTables => Some(
                "outer frames are missing: code on the way keeps no frame pointers and has no unwind tables (a JVM needs -XX:+PreserveFramePointer)",
            ),
            Self::Deep => Some("outer frames are missing: no more than 96 are kept"),
            Self::ThirtyTwoBit => Some("frames are missing: stacks of 32-bit programs are not read"),
            Self::NoUserMode => Some("frames are missing: io_uring does this without the program's stack"),
            Self::Ended => Some("frames are missing: the process ended before its memory map was read"),
        }
    }
}

/// The frames of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frames {
    /// Addresses to look up, innermost first: the instruction pointer, and each return address less one, which lies in
    /// the call.
    pub addresses: Vec<u64>,
    /// Why there are no more.
    pub end: End,
}
