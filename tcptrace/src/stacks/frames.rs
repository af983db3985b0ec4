//! The frames of a stack. Plain data.

use serde::Serialize;

/// Why a stack has no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// The outermost function was reached.
    Root,
    /// The copied part of the stack ended, and the rest was found by frame pointers.
    FramePointers,
    /// The copied part of the stack ended, and there are no frame pointers to continue with.
    NoFramePointers,
    /// A return address is not in code: a caller has neither a frame pointer nor unwind tables.
    #[serde(rename = "no-unwind-tables")]
    NoTables,
    /// There are more frames than are recorded.
    #[serde(rename = "too-deep")]
    Deep,
    /// A 32-bit program.
    #[serde(rename = "32-bit")]
    ThirtyTwoBit,
    /// The task has no user mode: an io_uring worker.
    #[serde(rename = "no-user-stack")]
    NoUserMode,
    /// The process had ended before its memory map was read.
    #[serde(rename = "process-exited")]
    Ended,
}

impl End {
    /// A sentence on what is missing and why; `None` if the stack is complete.
    pub(crate) const fn limitation(self) -> Option<&'static str> {
        match self {
            Self::Root | Self::FramePointers => None,
            Self::NoFramePointers => Some(
                "outer frames are missing: the stack is larger than the 2 KiB that are copied, and the program has no frame pointers (-fno-omit-frame-pointer)",
            ),
            Self::NoTables => Some(
                "outer frames are missing: a caller has neither frame pointers nor unwind tables (a JVM needs -XX:+PreserveFramePointer)",
            ),
            Self::Deep => Some("outer frames are missing: at most 96 are recorded"),
            Self::ThirtyTwoBit => Some("frames are missing: stacks of 32-bit programs are not read"),
            Self::NoUserMode => {
                Some("frames are missing: io_uring makes this call without the program's stack")
            }
            Self::Ended => Some("frames are missing: the process ended before its memory map was read"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frames {
    /// Addresses to look up, innermost first: the instruction pointer, and each return address less one, which lies in
    /// the call.
    pub(crate) addresses: Vec<u64>,
    /// Why there are no more.
    pub(crate) end: End,
}
