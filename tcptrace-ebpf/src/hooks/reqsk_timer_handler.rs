//! `fentry` and `fexit` of `reqsk_timer_handler(timer)`: a SYN-ACK was not answered in time. Where the timer is
//! pending again afterwards the SYN-ACK was sent once more; where it is not, the request was given up.

use super::timer;
use crate::{
    config::offset,
    sock::{Load as _, Probe},
};
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tcptrace_common::{Field, kind};

#[fentry(function = "reqsk_timer_handler")]
fn reqsk_timer_handler_entry(ctx: FEntryContext) -> i32 {
    timer::request(ctx.arg(0), kind::REQUEST_TIMER_EXPIRE);
    0
}

#[fexit(function = "reqsk_timer_handler")]
fn reqsk_timer_handler_exit(ctx: FExitContext) -> i32 {
    let timer: *const u8 = ctx.arg(0);
    // SAFETY: `Probe` survives any address; the second word of a `hlist_node` is `pprev`.
    let pprev: u64 = unsafe { Probe::load(timer, offset(Field::TimerEntry) + 8) };
    if pprev != 0 {
        timer::request(timer, kind::REQUEST_TIMER_START);
    }
    0
}
