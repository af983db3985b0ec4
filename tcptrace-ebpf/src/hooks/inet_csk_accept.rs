//! `fexit/inet_csk_accept(…) → sk`: the task that took a connection from the accept queue.

use crate::{
    config, emit,
    sock::{self, Direct},
    task,
};
use aya_ebpf::{macros::fexit, programs::FExitContext};
use tcptrace_common::{Loss, kind};

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept(ctx: FExitContext) -> i32 {
    // Four arguments until Linux 6.9, two since; the index is a constant to the verifier.
    let sk: *const u8 = if config::accept_return_index() == 2 {
        ctx.arg(2)
    } else {
        ctx.arg(4)
    };
    if sk.is_null() {
        return 0;
    }
    let Some(counters) = emit::counters() else {
        return 0;
    };
    emit::record(counters, kind::ACCEPT, Loss::Other, |record| {
        sock::fill_ends::<Direct>(record, sk);
        record.cookie = sock::cookie(sk);
        task::fill(record);
    });
    0
}
