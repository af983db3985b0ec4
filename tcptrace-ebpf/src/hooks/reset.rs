//! `tp_btf/tcp_receive_reset(sk)` and `tp_btf/tcp_send_reset(sk, skb, reason)`: why a connection ended.

use crate::{
    config, emit,
    sock::{self, Direct},
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcptrace_common::{EventKind, Loss};

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    report(EventKind::ResetReceived, ctx.arg(0), 0);
    0
}

#[btf_tracepoint(function = "tcp_send_reset")]
fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    // The verifier rejects an argument that the kernel's tracepoint does not have, unless the branch is never taken.
    let reason = if config::has_reset_reason() != 0 {
        ctx.arg::<u32>(2) as u16
    } else {
        0
    };
    report(EventKind::ResetSent, ctx.arg(0), reason);
    0
}

/// A reset for a segment without a socket has none.
#[inline(always)]
fn report(kind: EventKind, sk: *const u8, reason: u16) {
    if sk.is_null() {
        return;
    }
    let Some(counters) = emit::counters() else { return };
    emit::record(counters, kind, Loss::Other, |record| {
        sock::fill_ends::<Direct>(record, sk);
        record.cookie = sock::cookie(sk);
        record.reason = reason;
    });
}
