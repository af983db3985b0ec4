//! `tracepoint/sock/inet_sock_set_state`, for kernels without BTF: slower, and without cookie and
//! namespace. Its record's layout is read from the event's `format` file.

use crate::{
    config::{all_protocols, classic_offset},
    emit,
    sock::{AF_INET, IPPROTO_TCP},
    task,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::tracepoint,
    programs::TracePointContext,
};
use tcptrace_common::{EventKind, Loss, flag, transition_index};

/// The field's value, or zeroes.
#[inline(always)]
fn read<T: Copy>(ctx: &TracePointContext, index: usize) -> T {
    // SAFETY: the helper survives any address, and all callers read integers and byte arrays.
    unsafe {
        let address = ctx
            .as_ptr()
            .cast::<u8>()
            .wrapping_add(classic_offset(index))
            .cast::<T>();
        bpf_probe_read_kernel(address).unwrap_or(core::mem::zeroed())
    }
}

#[tracepoint]
fn inet_sock_set_state_classic(ctx: TracePointContext) -> u32 {
    let old = read::<i32>(&ctx, 0) as u8;
    let new = read::<i32>(&ctx, 1) as u8;
    let protocol: u16 = read(&ctx, 5);
    if protocol != IPPROTO_TCP && all_protocols() == 0 {
        return 0;
    }
    let Some(counters) = emit::counters() else {
        return 0;
    };
    if protocol == IPPROTO_TCP {
        counters.transitions[transition_index(old, new)] += 1;
    }
    emit::record(counters, EventKind::State, Loss::Transition, |record| {
        record.old = old;
        record.new = new;
        record.protocol = protocol;
        record.local_port = read(&ctx, 2);
        record.remote_port = read(&ctx, 3);
        record.family = read(&ctx, 4);
        // The tracepoint fills the fields of IPv6 for IPv4 too, mapped, as `ss` never shows it.
        if record.family == AF_INET {
            record.local_addr[..4].copy_from_slice(&read::<[u8; 4]>(&ctx, 6));
            record.remote_addr[..4].copy_from_slice(&read::<[u8; 4]>(&ctx, 7));
        } else {
            record.local_addr = read(&ctx, 8);
            record.remote_addr = read(&ctx, 9);
        }
        record.sock = read(&ctx, 10);
        if task::makes(old, new) {
            record.flags |= flag::TASK;
            record.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
            record.comm = bpf_get_current_comm().unwrap_or_default();
        }
    });
    0
}
