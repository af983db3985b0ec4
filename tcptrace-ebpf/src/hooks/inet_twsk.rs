//! `fexit/inet_twsk_alloc(sk, dr, state) → tw`, `fentry/inet_twsk_kill(tw)` and `fentry/tw_timer_handler(timer)`:
//! the start of a timewait socket, its end, and whether its timer ended it.

use crate::{
    config::offset,
    emit,
    sock::{self, Direct, Load as _},
    task,
};
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tcptrace_common::{EndCause, EventKind, Field, Loss};

#[fexit(function = "inet_twsk_alloc")]
fn inet_twsk_alloc(ctx: FExitContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let state = ctx.arg::<i32>(2) as u8;
    let timewait: u64 = ctx.arg(3);
    let Some(counters) = emit::counters() else {
        return 0;
    };
    let kind = if timewait == 0 {
        EventKind::TimewaitFull
    } else {
        EventKind::TimewaitStart
    };
    emit::record(counters, kind, Loss::Timewait, |record| {
        sock::fill_ends::<Direct>(record, sk);
        record.cookie = sock::cookie(sk);
        record.sock = timewait;
        record.new = state;
    });
    0
}

#[fentry(function = "tw_timer_handler")]
fn tw_timer_handler(ctx: FEntryContext) -> i32 {
    if let Some(counters) = emit::counters() {
        counters.expiring = ctx.arg::<u64>(0) - offset(Field::TwTimer) as u64;
    }
    0
}

#[fentry(function = "inet_twsk_kill")]
fn inet_twsk_kill(ctx: FEntryContext) -> i32 {
    let timewait: *const u8 = ctx.arg(0);
    let Some(counters) = emit::counters() else {
        return 0;
    };
    let cause = if counters.expiring == timewait as u64 {
        counters.expiring = 0;
        EndCause::Expired as u8
    } else if counters.segment == timewait as u64 {
        counters.segment = 0;
        counters.segment_how as u8
    } else {
        EndCause::Other as u8
    };
    emit::record(counters, EventKind::TimewaitEnd, Loss::Timewait, |record| {
        sock::fill_ends::<Direct>(record, timewait);
        record.cookie = sock::stored_cookie(timewait);
        record.detail = cause;
        // SAFETY: the verifier knows `timewait` as a `struct inet_timewait_sock`.
        record.new = unsafe { Direct::load(timewait, offset(Field::TwSubstate)) };
        if cause == EndCause::Other as u8 {
            task::fill(record);
        }
    });
    0
}
