//! `tp_btf/kfree_skb(skb, location, reason, rx_sk)`: every segment that a timewait socket handled is freed with
//! that socket as `rx_sk` (`tcp_v4_rcv` and `tcp_v6_rcv`, Linux 6.11 on), after the substate was written.

use super::segment;
use crate::{
    config::offset,
    emit,
    sock::{self, Direct, Load, Probe},
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcptrace_common::{EventKind, Field, Loss, state};

#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let sock: *const u8 = ctx.arg(3);
    if sock.is_null() {
        return 0;
    }
    // SAFETY: the verifier knows `sock` as a `struct sock`, with which a timewait socket begins.
    let sock_state: u8 = unsafe { Direct::load(sock, offset(Field::State)) };
    if sock_state != state::TIME_WAIT {
        return 0;
    }
    let skb: *const u8 = ctx.arg(0);
    let Some(counters) = emit::counters() else {
        return 0;
    };
    emit::record(counters, EventKind::TimewaitSegment, Loss::Timewait, |record| {
        sock::fill_ends::<Direct>(record, sock);
        record.cookie = sock::stored_cookie(sock);
        // SAFETY: `skb` is a `struct sk_buff`; what it points to is read by `Probe`.
        unsafe {
            record.new = Probe::load(sock, offset(Field::TwSubstate));
            let head: u64 = Direct::load(skb, offset(Field::SkbHead));
            let transport: u16 = Direct::load(skb, offset(Field::SkbTransport));
            record.flags = segment::flags((head + u64::from(transport)) as *const u8);
        }
    });
    0
}
