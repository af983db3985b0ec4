//! The user stacks of `connect`, `accept` and reads, for `--stacks` only: without it, none of these is loaded.

use super::returned::returned;
use crate::{
    config::{self, offset},
    emit,
    sock::{self, AF_INET, AF_INET6, Direct, IPPROTO_TCP, Load, Probe},
    task::PF_KTHREAD,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_USER_STACK,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_get_stack, bpf_ktime_get_ns, bpf_probe_read_user, bpf_task_pt_regs,
    },
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use core::ffi::c_void;
use tcptrace_common::{Call, Field, STACK_BYTES, STACK_CHAIN, STACK_VERSION, state};

/// `__USER_CS` of `arch/x86/include/asm/segment.h`.
const USER_CS: u16 = 0x33;
/// `__NR_accept` and `__NR_accept4` of x86-64.
const ACCEPT: u64 = 43;
const ACCEPT4: u64 = 288;
/// `MSG_PEEK` of `include/linux/socket.h`.
const MSG_PEEK: i32 = 2;

/// `tp_btf/inet_sock_set_state(sk, oldstate, newstate)`: `connect` is CLOSE to SYN_SENT, in the task that calls it.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn stack_connect(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    // SAFETY: the verifier knows `sk` as a `struct sock`.
    let is_tcp = unsafe { Direct::load::<u16>(sk, offset(Field::Protocol)) } == IPPROTO_TCP;
    if is_tcp && old == i32::from(state::CLOSE) && new == i32::from(state::SYN_SENT) {
        report(ctx.as_ptr(), Call::Connect, sock::cookie(sk));
    }
    0
}

/// `fexit/inet_csk_accept(…) → sk`.
#[fexit(function = "inet_csk_accept")]
fn stack_accept(ctx: FExitContext) -> i32 {
    let sk = returned(&ctx, config::accept_arguments) as *const u8;
    if !sk.is_null() {
        report(ctx.as_ptr(), Call::Accept, sock::cookie(sk));
    }
    0
}

/// `tp_btf/sys_exit(regs, ret)`, if trampolines are rejected: the file descriptor that `accept` returns identifies the
/// socket.
#[btf_tracepoint(function = "sys_exit")]
fn stack_accept_syscall(ctx: BtfTracePointContext) -> i32 {
    let regs: *const u8 = ctx.arg(0);
    let descriptor: i64 = ctx.arg(1);
    // SAFETY: the verifier knows `regs` as a `struct pt_regs`.
    let (number, segment) = unsafe {
        (
            Direct::load::<u64>(regs, offset(Field::RegsOrigAx)),
            Direct::load::<u16>(regs, offset(Field::RegsCs)),
        )
    };
    if (number == ACCEPT || number == ACCEPT4)
        && segment == USER_CS
        && descriptor >= 0
        && let Some(cookie) = cookie_of_file(descriptor as usize)
    {
        report(ctx.as_ptr(), Call::Accept, cookie);
    }
    0
}

/// `tp_btf/sock_recv_length(sk, ret, flags)`: a read of bytes, or of the end of file.
#[btf_tracepoint(function = "sock_recv_length")]
fn stack_read(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let length: i32 = ctx.arg(1);
    let flags: i32 = ctx.arg(2);
    if length < 0 || flags & MSG_PEEK != 0 {
        return 0;
    }
    // SAFETY: the verifier knows `sk` as a `struct sock`.
    let (family, protocol) = unsafe {
        (
            Direct::load::<u16>(sk, offset(Field::Family)),
            Direct::load::<u16>(sk, offset(Field::Protocol)),
        )
    };
    if (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP {
        report(ctx.as_ptr(), Call::Read, sock::cookie(sk));
    }
    0
}

/// The cookie of the TCP socket with this file descriptor in the current task. Another thread may have closed it and
/// opened something else meanwhile, so nothing that is read is trusted.
#[inline(always)]
fn cookie_of_file(descriptor: usize) -> Option<u64> {
    // SAFETY: the helper returns the running task, the verifier checks the loads of its parts, and `Probe` survives any
    // address.
    unsafe {
        let task: *const u8 = bpf_get_current_task_btf().cast();
        let files: *const u8 = Direct::load(task, offset(Field::Files));
        let table: *const u8 = Direct::load(files, offset(Field::FileTable));
        let array: *const u8 = Direct::load(table, offset(Field::FileArray));
        let file: *const u8 = Probe::load(array, descriptor * size_of::<u64>());
        let socket: *const u8 = Probe::load(file, offset(Field::FilePrivate));
        let sk: *const u8 = Probe::load(socket, offset(Field::SocketSk));
        let back: *const u8 = Probe::load(sk, offset(Field::Socket));
        let family: u16 = Probe::load(sk, offset(Field::Family));
        let protocol: u16 = Probe::load(sk, offset(Field::Protocol));
        let is_tcp = (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP;
        let cookie = sock::stored_cookie(sk);
        (back == socket && is_tcp && cookie != 0).then_some(cookie)
    }
}

/// Sends the current task's user stack.
#[inline(always)]
fn report(ctx: *mut c_void, call: Call, cookie: u64) {
    // SAFETY: the helper returns the running task; the verifier checks the loads.
    let (task, flags, tgid, start_ns) = unsafe {
        let task: *const u8 = bpf_get_current_task_btf().cast();
        let leader: *const u8 = Direct::load(task, offset(Field::GroupLeader));
        (
            task,
            Direct::load::<u32>(task, offset(Field::TaskFlags)),
            Direct::load::<u32>(task, offset(Field::Tgid)),
            Direct::load::<u64>(leader, offset(Field::StartBoottime)),
        )
    };
    if flags & PF_KTHREAD != 0 {
        return;
    }
    let Some(mut entry) = emit::stack() else {
        return;
    };
    // SAFETY: the slot is ours until it is submitted, any bytes are a valid `StackRecord`, the verifier knows the
    // registers' type, and the helpers fail cleanly on a bad user address.
    unsafe {
        let record = &mut *entry.as_mut_ptr();
        record.time_ns = bpf_ktime_get_ns();
        record.cookie = cookie;
        record.start_ns = start_ns;
        record.tgid = tgid;
        record.kind = call as u8;
        record.version = STACK_VERSION;
        record.padding = 0;
        let regs: *const u8 = bpf_task_pt_regs(task.cast_mut().cast()) as *const u8;
        record.ip = Direct::load(regs, offset(Field::RegsIp));
        record.fp = Direct::load(regs, offset(Field::RegsBp));
        record.cs = Direct::load(regs, offset(Field::RegsCs));
        let sp: u64 = Direct::load(regs, offset(Field::RegsSp));
        record.sp = sp;
        let walked = bpf_get_stack(
            ctx,
            record.chain.as_mut_ptr().cast(),
            (STACK_CHAIN * size_of::<u64>()) as u32,
            u64::from(BPF_F_USER_STACK),
        );
        record.chain_bytes = if walked < 0 { 0 } else { walked as u16 };
        record.stack_bytes = copy::<STACK_BYTES>(&mut record.stack, sp);
        if record.stack_bytes == 0 {
            record.stack_bytes = copy::<512>(&mut record.stack, sp);
        }
        if record.stack_bytes == 0 {
            record.stack_bytes = copy::<128>(&mut record.stack, sp);
        }
    }
    emit::submit_stack(entry);
}

/// Copies `BYTES` from the stack, or nothing if the stack is shorter or a page of it is not in memory.
#[inline(always)]
unsafe fn copy<const BYTES: usize>(to: &mut [u8; STACK_BYTES], sp: u64) -> u16 {
    // SAFETY: no caller asks for more than there is room for; the helper fails cleanly on a bad address.
    let failed =
        unsafe { bpf_probe_read_user(to.as_mut_ptr().cast(), BYTES as u32, sp as *const c_void) } != 0;
    if failed { 0 } else { BYTES as u16 }
}
