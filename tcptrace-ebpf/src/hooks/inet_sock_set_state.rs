//! `tp_btf/inet_sock_set_state(sk, oldstate, newstate)`: every transition of a full socket, attached twice so that
//! none is skipped.

use crate::{
    config, emit,
    sock::{self, Direct, IPPROTO_TCP, Load},
    task,
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tcptrace_common::{Counters, EventKind, Field, Loss, REPORTED, flag, state, transition_index};

/// `SOCK_DEAD` and `SOCK_DONE` of `enum sock_flags`, `include/net/sock.h`.
const SOCK_DEAD: u64 = 1 << 0;
const SOCK_DONE: u64 = 1 << 1;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if let Some(counters) = emit::counters() {
        set(&mut counters.first, 1);
        // The second program does not clear the mark of a transition that interrupts it.
        if counters.again == 0 {
            let (slot, mark) = mark(&ctx, &mut counters.numbers[0]);
            let slot = if counters.reported[slot] == 0 || counters.reported[slot] == mark {
                slot
            } else {
                slot ^ 1
            };
            counters.reported[slot] = mark;
        }
        report(&ctx, counters);
        set(&mut counters.first, 0);
    }
    0
}

/// The kernel skips a program that is running on this CPU already, so a transition in a softirq that interrupts
/// the one above is not reported by it (`__bpf_trace_run`, `prog->active`). This second program, attached after
/// it, reports what the first one did not.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_again(ctx: BtfTracePointContext) -> i32 {
    if let Some(counters) = emit::counters() {
        set(&mut counters.again, 1);
        let (slot, mark) = mark(&ctx, &mut counters.numbers[1]);
        let mut is_marked = false;
        for slot in [slot, slot ^ 1] {
            if counters.reported[slot] == mark {
                counters.reported[slot] = 0;
                is_marked = true;
            }
        }
        // If this interrupts the first program, that was skipped. A mark is an old one then: a softirq between the start
        // or the end of the second program and its flag leaves its marks.
        if counters.first != 0 || !is_marked {
            report(&ctx, counters);
        }
        set(&mut counters.again, 0);
    }
    0
}

/// Notes that a program is running on this CPU, or that it has ended.
#[inline(always)]
fn set(flag: &mut u64, running: u64) {
    // SAFETY: the word is this CPU's own; volatile, because a program that interrupts this one reads it.
    unsafe { (&raw mut *flag).write_volatile(running) };
}

/// Identifies this transition among others in progress on this CPU, and the slot of its mark: that one or, if
/// the interrupted transition has that slot, its neighbour. Sockets are aligned to at least 64 bytes,
/// so the states fit below their address; they have the same few offsets in each slab, so the slot also depends on the
/// slab's address.
#[inline(always)]
fn mark(ctx: &BtfTracePointContext, number: &mut u64) -> (usize, u64) {
    // The verifier forbids arithmetic on a pointer; what is read back from a map is a number to it.
    // SAFETY: the word was just written, and is this program's own; volatile keeps it from being optimised away.
    let sk = unsafe {
        (&raw mut *number).write_volatile(ctx.arg(0));
        (&raw const *number).read_volatile()
    };
    let states = (ctx.arg::<u64>(1) << 4 | ctx.arg::<u64>(2)) & 0xff;
    ((sk >> 7 ^ sk >> 15) as usize & (REPORTED - 1), sk ^ states)
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, counters: &mut Counters) {
    let sk: *const u8 = ctx.arg(0);
    let old = ctx.arg::<i32>(1) as u8;
    let new = ctx.arg::<i32>(2) as u8;
    // SAFETY: the verifier knows `sk` as a `struct sock`.
    let protocol: u16 = unsafe { Direct::load(sk, config::offset(Field::Protocol)) };
    if protocol != IPPROTO_TCP && config::all_protocols() == 0 {
        return;
    }
    if protocol == IPPROTO_TCP {
        counters.transitions[transition_index(old, new)] += 1;
    }
    emit::record(counters, EventKind::State, Loss::Transition, |record| {
        record.old = old;
        record.new = new;
        record.protocol = protocol;
        sock::fill_ends::<Direct>(record, sk);
        // A child has no cookie of its own yet, `inet_csk_clone_lock` gives it the request's after this:
        // a request now would assign one that is overwritten.
        if old != state::LISTEN || new != state::SYN_RECV {
            record.cookie = sock::cookie(sk);
        }
        // SAFETY: as above.
        unsafe {
            record.error = Direct::load(sk, config::offset(Field::Error));
            let bits: u64 = Direct::load(sk, config::offset(Field::SkFlags));
            if bits & SOCK_DEAD != 0 {
                record.flags |= flag::ORPHAN;
            }
            if bits & SOCK_DONE != 0 {
                record.flags |= flag::FIN_RECEIVED;
            }
        }
        if sock::is_kernels_own(sk) {
            record.flags |= flag::KERNEL_SOCKET;
        }
        if new == state::CLOSE {
            sock::fill_remains(record, sk);
        }
        if task::makes(old, new) || is_closed_by_the_owner(sk, old, new) {
            task::fill(record);
        }
    });
    debug!(ctx, "state {} -> {}", old, new);
}

/// Whether `close` causes this end, which no state shows: it has shut down both directions before, which a RST and a
/// timeout do after (`__tcp_close`, `tcp_done_with_error`).
#[inline(always)]
fn is_closed_by_the_owner(sk: *const u8, old: u8, new: u8) -> bool {
    const BOTH: u8 = 3;
    let may_be = new == state::CLOSE
        && (old == state::ESTABLISHED
            || old == state::CLOSE_WAIT
            || old == state::SYN_SENT
            || old == state::LISTEN);
    // SAFETY: the verifier knows `sk` as a `struct sock`.
    may_be
        && config::has(Field::Shutdown)
        && unsafe { Direct::load::<u8>(sk, config::offset(Field::Shutdown)) } == BOTH
}
