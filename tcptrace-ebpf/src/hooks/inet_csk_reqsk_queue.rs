//! `fentry` of `inet_csk_reqsk_queue_hash_add(sk, req, …)`, `inet_csk_reqsk_queue_drop(sk, req)` and
//! `inet_csk_reqsk_queue_drop_and_put(sk, req)`: the start of a request socket, and its end by a segment.

use crate::{
    emit,
    sock::{self, Direct},
};
use aya_ebpf::{macros::fentry, programs::FEntryContext};
use tcptrace_common::{EndCause, EventKind, Loss};

#[fentry(function = "inet_csk_reqsk_queue_hash_add")]
fn inet_csk_reqsk_queue_hash_add(ctx: FEntryContext) -> i32 {
    report(&ctx, EventKind::RequestStart)
}

#[fentry(function = "inet_csk_reqsk_queue_drop")]
fn inet_csk_reqsk_queue_drop(ctx: FEntryContext) -> i32 {
    report(&ctx, EventKind::RequestEnd)
}

#[fentry(function = "inet_csk_reqsk_queue_drop_and_put")]
fn inet_csk_reqsk_queue_drop_and_put(ctx: FEntryContext) -> i32 {
    report(&ctx, EventKind::RequestEnd)
}

#[inline(always)]
fn report(ctx: &FEntryContext, kind: EventKind) -> i32 {
    let listener: *const u8 = ctx.arg(0);
    let request: *const u8 = ctx.arg(1);
    let Some(counters) = emit::counters() else {
        return 0;
    };
    emit::record(counters, kind, Loss::Request, |record| {
        sock::fill_ends::<Direct>(record, request);
        record.cookie = sock::stored_cookie(request);
        record.listener = sock::stored_cookie(listener);
        record.detail = EndCause::Reset as u8;
    });
    0
}
