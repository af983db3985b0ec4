//! Reads the current task. Callers decide whether that task is related to the socket.

use crate::{
    config::{has_task_btf, offset},
    sock::{Direct, Load, Probe},
};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_current_task_btf, bpf_get_current_uid_gid,
};
use tcptrace_common::{Field, Record, flag, state};

/// `PF_KTHREAD` of `include/linux/sched.h`.
pub(crate) const PF_KTHREAD: u32 = 0x0020_0000;

/// Whether a system call of the socket's owner makes this transition, so that the current task is the owner:
/// `connect`, `listen`, and what `close` and `shutdown` do under the socket's lock.
#[inline(always)]
pub(crate) fn makes(old: u8, new: u8) -> bool {
    new == state::SYN_SENT
        || new == state::LISTEN
        || new == state::FIN_WAIT1
        || (old == state::CLOSE_WAIT && new == state::LAST_ACK)
        || old == new
}

/// Fills in the current task in `record`: its thread group, start time, the leader's name, the user and the cgroup.
#[inline(always)]
pub(crate) fn fill(record: &mut Record) {
    // SAFETY: the helpers have no arguments, and two of them return the running task, which outlives the program's run.
    unsafe {
        if has_task_btf() != 0 {
            fill_from::<Direct>(record, bpf_get_current_task_btf().cast());
        } else {
            fill_from::<Probe>(record, bpf_get_current_task() as *const u8);
        }
        record.cgroup = bpf_get_current_cgroup_id();
        // The group ID is in the upper half.
        record.uid = bpf_get_current_uid_gid() as u32;
        record.flags |= flag::USER;
    }
}

/// The same for another task, without its user and cgroup.
///
/// # Safety
/// `task` must be a `task_struct` that `L` can load from.
#[inline(always)]
pub(crate) unsafe fn fill_from<L: Load>(record: &mut Record, task: *const u8) {
    // SAFETY: `task` is a task_struct, by `Direct` or `Probe` as the caller chose.
    unsafe {
        record.flags |= flag::TASK;
        if L::load::<u32>(task, offset(Field::TaskFlags)) & PF_KTHREAD != 0 {
            record.flags |= flag::KERNEL_THREAD;
        }
        record.tgid = L::load(task, offset(Field::Tgid));
        let leader: *const u8 = L::load(task, offset(Field::GroupLeader));
        record.start_ns = L::load(leader, offset(Field::StartBoottime));
        let comm: [u64; 2] = [
            L::load(leader, offset(Field::Comm)),
            L::load(leader, offset(Field::Comm) + 8),
        ];
        record.comm.as_mut_ptr().cast::<[u64; 2]>().write_unaligned(comm);
    }
}
