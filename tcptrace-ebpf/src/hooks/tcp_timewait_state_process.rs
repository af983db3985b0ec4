//! `fentry` and `fexit` of `tcp_timewait_state_process(tw, skb, th, …) → status`: each segment that a timewait
//! socket handles, and its effect.

use super::{returned::returned, segment};
use crate::{
    config::{offset, timewait_process_arguments},
    emit,
    sock::{self, Direct, Load as _},
};
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tcptrace_common::{EndCause, EventKind, Field, Loss, flag};

/// `TCP_TW_RST` and `TCP_TW_SYN` of `enum tcp_tw_status`, `include/net/tcp.h`.
const STATUS_RST: u32 = 1;
const STATUS_SYN: u32 = 3;

#[fentry(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process_entry(ctx: FEntryContext) -> i32 {
    if let Some(counters) = emit::counters() {
        counters.segment = ctx.arg(0);
        let flags = segment::flags(ctx.arg(2));
        counters.segment_how = if flags & flag::RESET != 0 {
            EndCause::Reset
        } else {
            EndCause::Other
        } as u64;
    }
    0
}

#[fexit(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process_exit(ctx: FExitContext) -> i32 {
    let timewait: *const u8 = ctx.arg(0);
    let Some(counters) = emit::counters() else {
        return 0;
    };
    let status = returned(&ctx, timewait_process_arguments) as u32;
    match status {
        STATUS_SYN => counters.segment_how = EndCause::ReusedBySyn as u64,
        STATUS_RST => counters.segment_how = EndCause::AnsweredByReset as u64,
        _ => counters.segment = 0,
    }
    emit::record(counters, EventKind::TimewaitSegment, Loss::Timewait, |record| {
        sock::fill_ends::<Direct>(record, timewait);
        record.cookie = sock::stored_cookie(timewait);
        record.flags = segment::flags(ctx.arg(2));
        // SAFETY: the verifier knows `timewait` as a `struct inet_timewait_sock`.
        record.new = unsafe { Direct::load(timewait, offset(Field::TwSubstate)) };
    });
    0
}
