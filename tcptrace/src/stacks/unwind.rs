//! Unwinds the copied part of a stack: by the unwind tables of the mapped files, else by frame pointers, and beyond the
//! copy by the kernel's own walk of frame pointers.

use super::modules::{self, Files};
use crate::{
    decode::Taken,
    event::{Nanos, ProcessKey},
    stacks::frames::{End, Frames},
};
use framehop::{
    Error, FrameAddress, MayAllocateDuringUnwind, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use hashbrown::HashMap;
use std::{ops::Range, sync::Arc};

/// Frames that are kept of a stack.
pub(crate) const FRAMES: usize = 96;

/// Processes of which the code is known; beyond, those of all are dropped and read again.
const PROCESSES: usize = 256;

/// Code may be mapped at any time: a map is read again where an address is in none, at most this often.
const READ_EVERY: Nanos = Nanos::from_secs(1);

struct Code {
    unwinder: UnwinderX86_64<Arc<[u8]>>,
    executable: Vec<Range<u64>>,
    read: Nanos,
}

impl Code {
    fn read(process: ProcessKey, files: &mut Files, now: Nanos) -> Self {
        let mut unwinder = UnwinderX86_64::new();
        let mappings = modules::executable(process.pid);
        for mapping in &mappings {
            if let Some(module) = files.module(process.pid, mapping) {
                unwinder.add_module(module);
            }
        }
        Self {
            unwinder,
            executable: mappings.into_iter().map(|mapping| mapping.range).collect(),
            read: now,
        }
    }

    fn holds(&self, address: u64) -> bool {
        holds(&self.executable, address)
    }
}

/// Whether one of the ranges, which are in order, holds the address.
fn holds(ranges: &[Range<u64>], address: u64) -> bool {
    let after = ranges.partition_point(|range| range.end <= address);
    ranges.get(after).is_some_and(|range| range.contains(&address))
}

/// Unwinds the stacks of many processes.
#[derive(Default)]
pub(crate) struct Unwinders {
    files: Files,
    processes: HashMap<ProcessKey, Code>,
    cache: CacheX86_64<MayAllocateDuringUnwind>,
}

impl Unwinders {
    /// The frames of a stack that was just taken.
    pub(crate) fn frames(&mut self, taken: &Taken, now: Nanos) -> Frames {
        let nothing = |end| Frames {
            addresses: Vec::new(),
            end,
        };
        if taken.is_32_bit {
            return nothing(End::ThirtyTwoBit);
        }
        let ip = taken.registers.ip;
        if ip == 0 {
            return nothing(End::NoUserMode);
        }
        let Self {
            files,
            processes,
            cache,
        } = self;
        let is_new = !processes.contains_key(&taken.process);
        if is_new && (processes.len() >= PROCESSES || files.is_full()) {
            processes.clear();
            *files = Files::default();
        }
        let code = processes
            .entry(taken.process)
            .or_insert_with(|| Code::read(taken.process, files, now));
        let mut frames = unwind(code, taken, cache);
        if !has_all(code, &frames) && now.since(code.read) >= READ_EVERY {
            *code = Code::read(taken.process, files, now);
            frames = unwind(code, taken, cache);
        }
        if code.executable.is_empty() {
            return nothing(End::Ended);
        }
        frames
    }
}

fn has_all(code: &Code, frames: &Frames) -> bool {
    frames.end != End::NoTables && frames.addresses.iter().all(|address| code.holds(*address))
}

fn unwind(code: &Code, taken: &Taken, cache: &mut CacheX86_64<MayAllocateDuringUnwind>) -> Frames {
    let registers = taken.registers;
    let mut read = |address| taken.word(address).ok_or(());
    let mut walk = code.unwinder.iter_frames(
        registers.ip,
        UnwindRegsX86_64::new(registers.ip, registers.sp, registers.fp),
        cache,
        &mut read,
    );
    let mut found: Vec<FrameAddress> = Vec::new();
    let end = loop {
        if found.len() == FRAMES {
            break End::Deep;
        }
        match walk.next() {
            Ok(Some(frame)) if code.holds(frame.address_for_lookup()) => found.push(frame),
            Ok(Some(_)) => break End::NoTables,
            Ok(None) | Err(Error::ReturnAddressIsNull) => break End::Root,
            Err(Error::CouldNotReadStack(_)) => break End::NoFramePointers,
            Err(
                Error::FramepointerUnwindingMovedBackwards | Error::DidNotAdvance | Error::IntegerOverflow,
            ) => break End::NoTables,
        }
    };
    let mut addresses: Vec<u64> = found.iter().map(|frame| frame.address_for_lookup()).collect();
    let rest = if end == End::NoFramePointers {
        let last = found.last().map(|frame| frame.address());
        beyond(last, &taken.chain, &code.executable)
    } else {
        &[]
    };
    addresses.extend(rest.iter().map(|address| address.wrapping_sub(1)));
    addresses.truncate(FRAMES);
    let end = if rest.is_empty() { end } else { End::FramePointers };
    Frames { addresses, end }
}

/// What the kernel's walk along frame pointers has after `last`, as far as it is code.
fn beyond<'a>(last: Option<u64>, chain: &'a [u64], executable: &[Range<u64>]) -> &'a [u64] {
    let Some(at) = chain.iter().position(|address| Some(*address) == last) else {
        return &[];
    };
    let rest = &chain[at + 1..];
    let code = rest.iter().take_while(|address| holds(executable, **address));
    &rest[..code.count()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Registers;
    use tcptrace_common::Call;

    const CODE: Range<u64> = 0x1000..0x2000;

    /// Code that no file is behind: frame pointers only.
    fn code() -> Code {
        Code {
            unwinder: UnwinderX86_64::new(),
            executable: vec![CODE],
            read: Nanos(0),
        }
    }

    /// A stack at 0x8000, whose frame pointer is `fp`.
    fn taken(fp: u64, words: &[u64], chain: &[u64]) -> Taken {
        Taken {
            cookie: 1,
            process: ProcessKey::new(1, 1),
            call: Call::Connect,
            registers: Registers {
                ip: 0x1100,
                sp: 0x8000,
                fp,
            },
            is_32_bit: false,
            chain: chain.to_vec(),
            stack: words.iter().flat_map(|word| word.to_ne_bytes()).collect(),
        }
    }

    fn frames(taken: &Taken) -> Frames {
        unwind(&code(), taken, &mut CacheX86_64::default())
    }

    #[test]
    fn frame_pointers_lead_to_the_outermost_function() {
        let stack = taken(0x8000, &[0x8010, 0x1200, 0, 0x1300], &[]);
        let found = frames(&stack);
        assert_eq!(found.addresses, [0x1100, 0x11ff, 0x12ff]);
        assert_eq!(found.end, End::Root);
    }

    #[test]
    fn beyond_what_was_copied_the_kernel_s_walk_goes_on() {
        let stack = taken(
            0x8000,
            &[0x9000, 0x1200],
            &[0x1100, 0x1200, 0x1300, 0x1400, 0xdead],
        );
        let found = frames(&stack);
        assert_eq!(
            found.addresses,
            [0x1100, 0x11ff, 0x12ff, 0x13ff],
            "0xdead is no code"
        );
        assert_eq!(found.end, End::FramePointers);
    }

    #[test]
    fn a_walk_that_does_not_meet_the_frames_is_not_believed() {
        let stack = taken(0x8000, &[0x9000, 0x1200], &[0x1100, 0x1500, 0x1600]);
        let found = frames(&stack);
        assert_eq!(found.addresses, [0x1100, 0x11ff]);
        assert_eq!(found.end, End::NoFramePointers);
        assert!(found.end.limitation().is_some());
    }

    #[test]
    fn an_address_that_is_no_code_ends_the_stack() {
        let stack = taken(0x8000, &[0x8010, 0x4242, 0, 0x1300], &[]);
        let found = frames(&stack);
        assert_eq!(found.addresses, [0x1100]);
        assert_eq!(found.end, End::NoTables);
    }

    #[test]
    fn a_task_without_user_mode_and_a_32_bit_program_have_no_frames() {
        let mut stack = taken(0x8000, &[], &[]);
        stack.registers.ip = 0;
        let mut unwinders = Unwinders::default();
        assert_eq!(unwinders.frames(&stack, Nanos(0)).end, End::NoUserMode);
        stack.is_32_bit = true;
        assert_eq!(unwinders.frames(&stack, Nanos(0)).end, End::ThirtyTwoBit);
    }
}
