//! The only way out: counts, reserves a record, fills it, submits it. Owns the maps.

use crate::{config, zeroes};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use core::cell::UnsafeCell;
use tcptrace_common::{Counters, EventKind, Hit, Loss, RECORD_VERSION, Record, StackRecord, TimerStep};

/// The loader sets the real size.
const BUFFER_BYTES: u32 = 8 << 20;

/// One record in this many, on each CPU, queries the buffer's fill level.
const FILL_CHECK_MASK: u64 = 31;

#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(BUFFER_BYTES, 0);

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Stacks are twenty times as large as records, and must not push them out. The loader sets the real size.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(BUFFER_BYTES, 0);

/// Changes with every record that finds the buffer full, and only then, so that reading it is free.
#[unsafe(no_mangle)]
static LOST: Shared = Shared(UnsafeCell::new(0));

/// A word that all CPUs read and write as one.
struct Shared(UnsafeCell<u64>);

// SAFETY: aligned words are read and written whole, and any value is valid.
unsafe impl Sync for Shared {}

impl Shared {
    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: the pointer is to a live static; volatile because other CPUs write it.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(value) }
    }
}

/// This CPU's counters. The kernel never returns null for index 0, but the verifier must see the check.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the map lives as long as the program, and only this CPU touches its slot. A program that
    // interrupts another one here can lose a count, never corrupt one: each is a single word.
    COUNTERS.get_ptr_mut(0).map(|counters| unsafe { &mut *counters })
}

/// Reserves a record of `kind`, lets `fill` complete it and submits it; a full buffer is counted as `loss`.
#[inline(always)]
pub(crate) fn record(counters: &mut Counters, kind: EventKind, loss: Loss, fill: impl FnOnce(&mut Record)) {
    hit(counters, Hit::of(kind), loss, fill);
}

/// The same for a timer.
#[inline(always)]
pub(crate) fn timer(
    counters: &mut Counters,
    kind: EventKind,
    step: TimerStep,
    loss: Loss,
    fill: impl FnOnce(&mut Record),
) {
    hit(counters, Hit::timer(kind, step), loss, |record| {
        record.detail = step as u8;
        fill(record);
    });
}

#[inline(always)]
fn hit(counters: &mut Counters, hit: Hit, loss: Loss, fill: impl FnOnce(&mut Record)) {
    *hit.counter(&mut counters.hits) += 1;
    let Some(mut entry) = RECORDS.reserve::<Record>(0) else {
        counters.lost[loss as usize] += 1;
        // Two CPUs at once may add one instead of two: what matters is that the number changes.
        LOST.set(LOST.get() + 1);
        return;
    };
    // SAFETY: all-zero bytes are a valid `Record`.
    let record = unsafe { zeroes::fill(&mut entry) };
    // SAFETY: the helper has no preconditions.
    record.time_ns = unsafe { bpf_ktime_get_ns() };
    record.kind = hit.kind as u8;
    record.version = RECORD_VERSION;
    record.lost = LOST.get() as u32;
    fill(record);
    counters.reserved += 1;
    let wake = counters.reserved & FILL_CHECK_MASK == 0
        && RECORDS.query(u64::from(BPF_RB_AVAIL_DATA)) >= config::wake_bytes();
    // 0: the kernel wakes the reader for the first record after it has read everything.
    let wake_flag = if wake { BPF_RB_FORCE_WAKEUP } else { 0 };
    entry.submit(u64::from(wake_flag));
}

/// Space for a stack, uninitialised; if there is none, that is counted.
#[inline(always)]
pub(crate) fn stack() -> Option<RingBufEntry<StackRecord>> {
    let entry = STACKS.reserve::<StackRecord>(0);
    if entry.is_none()
        && let Some(counters) = counters()
    {
        counters.lost_stacks += 1;
    }
    entry
}

/// Submits a stack without a wake-up: its reader polls every few milliseconds.
#[inline(always)]
pub(crate) fn submit_stack(entry: RingBufEntry<StackRecord>) {
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
