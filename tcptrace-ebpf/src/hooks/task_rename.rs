//! `tp_btf/task_rename(task, comm)`: `exec` and `prctl(PR_SET_NAME)`. A process that owns sockets may do either and
//! never touch them again.

use crate::{
    config::offset,
    emit,
    sock::{Direct, Load as _},
    task,
};
use aya_ebpf::{
    helpers::bpf_probe_read_kernel_str_bytes, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tcptrace_common::{EventKind, Field, Loss};

#[btf_tracepoint(function = "task_rename")]
fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let comm: *const u8 = ctx.arg(1);
    // SAFETY: the verifier knows `task` as a `struct task_struct`.
    let is_leader = unsafe {
        Direct::load::<u32>(task, offset(Field::Pid)) == Direct::load::<u32>(task, offset(Field::Tgid))
    };
    if !is_leader {
        return 0;
    }
    let Some(counters) = emit::counters() else {
        return 0;
    };
    emit::record(counters, EventKind::TaskRename, Loss::Other, |record| {
        // SAFETY: as above.
        unsafe { task::fill_from::<Direct>(record, task) };
        record.comm = [0; 16];
        // SAFETY: the helper survives any address. Where it fails, the name is empty and ignored.
        let _ = unsafe { bpf_probe_read_kernel_str_bytes(comm, &mut record.comm) };
    });
    0
}
