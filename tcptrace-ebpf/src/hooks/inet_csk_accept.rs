//! `fexit/inet_csk_accept(…) → sk`: the task that took a connection from the accept queue.

use super::returned::returned;
use crate::{
    config, emit,
    sock::{self, Direct},
    task,
};
use aya_ebpf::{macros::fexit, programs::FExitContext};
use tcptrace_common::{EventKind, Loss};

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept(ctx: FExitContext) -> i32 {
    let sk = returned(&ctx, config::accept_arguments) as *const u8;
    if sk.is_null() {
        return 0;
    }
    let Some(counters) = emit::counters() else {
        return 0;
    };
    emit::record(counters, EventKind::Accept, Loss::Other, |record| {
        sock::fill_ends::<Direct>(record, sk);
        record.cookie = sock::cookie(sk);
        task::fill(record);
    });
    0
}
