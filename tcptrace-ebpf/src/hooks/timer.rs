//! `tp_btf/timer_start`, `timer_cancel` and `timer_expire_entry`: the timers that drive timewait and request
//! sockets, for kernels without fentry. Every other timer costs one load and two comparisons.

use crate::{
    config::{offset, reqsk_timer_handler, tw_timer_handler},
    emit,
    sock::{self, Copied, Direct, Load as _},
    task,
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcptrace_common::{EventKind, Field, Loss, TimerStep};

#[btf_tracepoint(function = "timer_start")]
fn timer_start(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), TimerStep::Start)
}

#[btf_tracepoint(function = "timer_cancel")]
fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), TimerStep::Cancel)
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg(0), TimerStep::Expire)
}

#[inline(always)]
fn report(timer: *const u8, step: TimerStep) -> i32 {
    // SAFETY: the verifier knows `timer` as a `struct timer_list`.
    let function: u64 = unsafe { Direct::load(timer, offset(Field::TimerFunction)) };
    if function == tw_timer_handler() {
        timewait(timer, step);
    } else if function == reqsk_timer_handler() {
        request(timer, step);
    }
    0
}

#[inline(always)]
fn timewait(timer: *const u8, step: TimerStep) {
    let sock = (timer as usize - offset(Field::TwTimer)) as *const u8;
    let Some(counters) = emit::counters() else { return };
    emit::timer(
        counters,
        EventKind::TimewaitTimer,
        step,
        Loss::Timewait,
        |record| {
            let copied = Copied::of(sock);
            copied.fill(record, sock);
            record.new = copied.load(sock, offset(Field::TwSubstate));
            if matches!(step, TimerStep::Cancel) {
                task::fill(record);
            }
        },
    );
}

#[inline(always)]
pub(crate) fn request(timer: *const u8, step: TimerStep) {
    let sock = (timer as usize - offset(Field::ReqTimer)) as *const u8;
    let Some(counters) = emit::counters() else { return };
    emit::timer(counters, EventKind::RequestTimer, step, Loss::Request, |record| {
        let copied = Copied::of(sock);
        copied.fill(record, sock);
        let listener: *const u8 = copied.load(sock, offset(Field::Listener));
        record.listener = sock::stored_cookie(listener);
    });
}
