//! `fentry` and `fexit` of `tcp_timewait_state_process(tw, skb, th, …) → status`: each segment that a timewait
//! sock handles, and what it does to it.

use super::returned::returned;
use crate::{
    config::{offset, timewait_process_arguments},
    emit,
    sock::{self, Direct, Load as _, Probe},
};
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tcptrace_common::{Field, Loss, how, kind};

/// Offset of the flags in a TCP header, RFC 9293 section 3.1, and RST among them.
const TCP_FLAGS: usize = 13;
const RST: u8 = 0x04;

/// `TCP_TW_RST` and `TCP_TW_SYN` of `enum tcp_tw_status`, `include/net/tcp.h`.
const STATUS_RST: u32 = 1;
const STATUS_SYN: u32 = 3;

#[fentry(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process_entry(ctx: FEntryContext) -> i32 {
    if let Some(counters) = emit::counters() {
        counters.segment = ctx.arg(0);
        // SAFETY: `Probe` survives any address.
        let flags: u8 = unsafe { Probe::load(ctx.arg(2), TCP_FLAGS) };
        counters.segment_how = u64::from(if flags & RST != 0 { how::RESET } else { how::OTHER });
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
        STATUS_SYN => counters.segment_how = u64::from(how::REUSED_BY_SYN),
        STATUS_RST => counters.segment_how = u64::from(how::ANSWERED_BY_RESET),
        _ => counters.segment = 0,
    }
    emit::record(counters, kind::TIMEWAIT_SEGMENT, Loss::Timewait, |record| {
        sock::fill_ends::<Direct>(record, timewait);
        record.cookie = sock::stored_cookie(timewait);
        // SAFETY: the verifier knows `timewait` as a `struct inet_timewait_sock`; `Probe` survives any address.
        unsafe {
            record.new = Direct::load(timewait, offset(Field::TwSubstate));
            record.detail = Probe::load(ctx.arg(2), TCP_FLAGS);
        }
    });
    0
}
