//! `fentry` and `fexit` of `reqsk_timer_handler(timer)`: a SYN-ACK was not answered in time. If the timer is
//! pending again afterwards, the SYN-ACK was retransmitted; otherwise the request was dropped.

use super::timer;
use crate::{
    config::offset,
    sock::{Load as _, Probe},
};
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tcptrace_common::{Field, TimerStep};

#[fentry(function = "reqsk_timer_handler")]
fn reqsk_timer_handler_entry(ctx: FEntryContext) -> i32 {
    timer::request(ctx.arg(0), TimerStep::Expire);
    0
}

#[fexit(function = "reqsk_timer_handler")]
fn reqsk_timer_handler_exit(ctx: FExitContext) -> i32 {
    let timer: *const u8 = ctx.arg(0);
    // SAFETY: `Probe` survives any address; the second word of a `hlist_node` is `pprev`.
    let pprev: u64 = unsafe { Probe::load(timer, offset(Field::TimerEntry) + 8) };
    if pprev != 0 {
        timer::request(timer, TimerStep::Start);
    }
    0
}
