//! The user stack of a system call on a socket, as the kernel side copied it.

use super::{DecodeError, read};
use crate::event::ProcessKey;
use tcptrace_common::{Call, STACK_VERSION, StackRecord};

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
    /// The system call that was traced.
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

/// The code segment of 32-bit programs on x86-64 (`__USER32_CS` of `arch/x86/include/asm/segment.h`).
const USER32_CS: u16 = 0x23;

/// Reads one stack.
///
/// # Errors
/// If the bytes are not a stack of this version with known tags and lengths.
pub fn stack(bytes: &[u8]) -> Result<Taken, DecodeError> {
    let record: StackRecord = read(bytes)?;
    if record.version != STACK_VERSION {
        return Err(DecodeError::Version(record.version));
    }
    let call = Call::try_from(record.kind).map_err(|value| DecodeError::Tag {
        what: "call",
        value: value.into(),
    })?;
    let length = |what, value: u16| DecodeError::Tag { what, value };
    let chain = record
        .chain
        .get(..usize::from(record.chain_bytes) / size_of::<u64>())
        .ok_or(length("length of a chain", record.chain_bytes))?;
    let stack = record
        .stack
        .get(..usize::from(record.stack_bytes))
        .ok_or(length("length of a stack", record.stack_bytes))?;
    Ok(Taken {
        cookie: record.cookie,
        process: ProcessKey {
            pid: record.tgid,
            start_ns: record.start_ns,
        },
        call,
        registers: Registers {
            ip: record.ip,
            sp: record.sp,
            fp: record.fp,
        },
        is_32_bit: record.cs == USER32_CS,
        chain: chain.to_vec(),
        stack: stack.to_vec(),
    })
}
