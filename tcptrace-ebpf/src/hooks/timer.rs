//! `tp_btf/timer_start`, `timer_cancel` and `timer_expire_entry`: the timers that drive timewait and request
//! socks, for kernels that allow no fentry. Every other timer costs one load and two comparisons.

use crate::{
    config::{offset, reqsk_timer_handler, tw_timer_handler},
    emit,
    sock::{self, Direct, Load, Probe},
    task,
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcptrace_common::{Field, Loss, kind};

#[btf_tracepoint(function = "timer_start")]
fn timer_start(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), kind::TIMEWAIT_TIMER_START, kind::REQUEST_TIMER_START)
}

#[btf_tracepoint(function = "timer_cancel")]
fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    report(
        ctx.arg(0),
        kind::TIMEWAIT_TIMER_CANCEL,
        kind::REQUEST_TIMER_CANCEL,
    )
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    report(
        ctx.arg(0),
        kind::TIMEWAIT_TIMER_EXPIRE,
        kind::REQUEST_TIMER_EXPIRE,
    )
}

#[inline(always)]
fn report(timer: *const u8, timewait_kind: u8, request_kind: u8) -> i32 {
    // SAFETY: the verifier knows `timer` as a `struct timer_list`.
    let function: u64 = unsafe { Direct::load(timer, offset(Field::TimerFunction)) };
    if function == tw_timer_handler() {
        timewait(timer, timewait_kind);
    } else if function == reqsk_timer_handler() {
        request(timer, request_kind);
    }
    0
}

#[inline(always)]
fn timewait(timer: *const u8, kind: u8) {
    let sock = (timer as usize - offset(Field::TwTimer)) as *const u8;
    let Some(counters) = emit::counters() else { return };
    emit::record(counters, kind, Loss::Timewait, |record| {
        sock::fill_ends::<Probe>(record, sock);
        record.cookie = sock::stored_cookie(sock);
        // SAFETY: `Probe` survives any address.
        record.new = unsafe { Probe::load(sock, offset(Field::TwSubstate)) };
        if kind == kind::TIMEWAIT_TIMER_CANCEL {
            task::fill(record);
        }
    });
}

#[inline(always)]
pub(crate) fn request(timer: *const u8, kind: u8) {
    let sock = (timer as usize - offset(Field::ReqTimer)) as *const u8;
    let Some(counters) = emit::counters() else { return };
    emit::record(counters, kind, Loss::Request, |record| {
        sock::fill_ends::<Probe>(record, sock);
        record.cookie = sock::stored_cookie(sock);
        // SAFETY: as above.
        let listener: *const u8 = unsafe { Probe::load(sock, offset(Field::Listener)) };
        record.listener = sock::stored_cookie(listener);
    });
}
