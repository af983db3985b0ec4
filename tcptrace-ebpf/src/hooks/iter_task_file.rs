//! `iter/task_file`: one row for every open file of every task that is a TCP or MPTCP socket: its holders.

use crate::{
    config::{has, has_sock_from_file, offset, socket_file_ops},
    network,
    sock::{self, Direct, IPPROTO_MPTCP, IPPROTO_TCP, Load, Probe},
    zeroes,
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_seq_write, bpf_skc_to_tcp_sock, bpf_sock_from_file},
};
use core::mem::MaybeUninit;
use tcptrace_common::{Field, HOLDER_VERSION, HolderRow, Record, state};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `struct bpf_iter__task_file`.
#[repr(C)]
struct TaskFileIterContext {
    meta: *const *mut seq_file,
    task: *const u8,
    fd: u32,
    file: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn iter_task_file(ctx: *const TaskFileIterContext) -> i32 {
    // SAFETY: the kernel passes a valid context; the verifier checks every load.
    unsafe {
        let task = (*ctx).task;
        let file = (*ctx).file;
        if task.is_null() || file.is_null() {
            return 0;
        }
        if has_sock_from_file() != 0 {
            let socket: *const u8 = bpf_sock_from_file(file.cast_mut().cast()).cast();
            if !socket.is_null() {
                report::<Direct>(ctx, task, socket, sock::cookie, as_tcp);
            }
        } else {
            // What `sock_from_file` does. The pointer is untyped, so that nothing behind it is.
            let ops: u64 = Direct::load(file, offset(Field::FileOps));
            if ops == socket_file_ops() {
                let socket: *const u8 = Direct::load(file, offset(Field::FilePrivate));
                report::<Probe>(ctx, task, socket, sock::stored_cookie, |sk| sk);
            }
        }
    }
    0
}

#[inline(always)]
unsafe fn report<L: Load>(
    ctx: *const TaskFileIterContext,
    task: *const u8,
    socket: *const u8,
    cookie: impl Fn(*const u8) -> u64,
    tcp: impl Fn(*const u8) -> *const u8,
) {
    // SAFETY: the caller chooses `L` to suit `socket`, and `tcp` to suit `L`; the verifier checks what is loaded by `Direct`.
    unsafe {
        let sk: *const u8 = L::load(socket, offset(Field::SocketSk));
        if sk.is_null() {
            return;
        }
        let family: u16 = L::load(sk, offset(Field::Family));
        let protocol: u16 = L::load(sk, offset(Field::Protocol));
        if (family != AF_INET && family != AF_INET6) || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
        {
            return;
        }
        let mut row = MaybeUninit::uninit();
        let row: &mut HolderRow = zeroes::fill(&mut row);
        row.cookie = cookie(sk);
        row.family = family;
        row.protocol = protocol;
        row.state = L::load(sk, offset(Field::State));
        row.version = HOLDER_VERSION;
        row.fd = (*ctx).fd;
        let net: *const u8 = L::load(sk, offset(Field::Net));
        row.netns = L::load(net, offset(Field::NetInum));
        row.tgid = Direct::load(task, offset(Field::Tgid));
        let leader: *const u8 = Direct::load(task, offset(Field::GroupLeader));
        row.start_ns = Direct::load(leader, offset(Field::StartBoottime));
        let comm: [u64; 2] = [
            Direct::load(leader, offset(Field::Comm)),
            Direct::load(leader, offset(Field::Comm) + 8),
        ];
        row.comm.as_mut_ptr().cast::<[u64; 2]>().write_unaligned(comm);
        row.cgroup = cgroup(task);
        row.uid = user(task);
        if row.state == state::CLOSE || protocol == IPPROTO_MPTCP {
            fill_ends::<L>(row, sk);
        }
        if protocol == IPPROTO_TCP {
            let tcp = tcp(sk);
            if !tcp.is_null() {
                network::fill_options::<L>(&mut row.options, tcp);
                if has(Field::LocalPortRange) {
                    // A structure before Linux 6.8, which the verifier does not let a program load whole.
                    row.port_range = Probe::load(tcp, offset(Field::LocalPortRange));
                }
            }
        }
        let seq = *(*ctx).meta;
        bpf_seq_write(seq, (&raw const *row).cast(), size_of::<HolderRow>() as u32);
    }
}

/// The same socket with the type that has its options, null unless it is one of TCP.
#[inline(always)]
fn as_tcp(sk: *const u8) -> *const u8 {
    // SAFETY: the helper checks its argument.
    unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()).cast() }
}

/// The task's cgroup of the unified hierarchy, or 0.
#[inline(always)]
unsafe fn cgroup(task: *const u8) -> u64 {
    let is_known =
        has(Field::Cgroups) && has(Field::DefaultCgroup) && has(Field::CgroupNode) && has(Field::NodeId);
    if !is_known {
        return 0;
    }
    // SAFETY: the verifier knows each pointer's type.
    unsafe {
        let set: *const u8 = Direct::load(task, offset(Field::Cgroups));
        let cgroup: *const u8 = Direct::load(set, offset(Field::DefaultCgroup));
        let node: *const u8 = Direct::load(cgroup, offset(Field::CgroupNode));
        Direct::load(node, offset(Field::NodeId))
    }
}

/// The real user ID of the task, or `u32::MAX`.
#[inline(always)]
unsafe fn user(task: *const u8) -> u32 {
    if !(has(Field::Cred) && has(Field::CredUid)) {
        return u32::MAX;
    }
    // SAFETY: the verifier knows each pointer's type.
    unsafe {
        let cred: *const u8 = Direct::load(task, offset(Field::Cred));
        Direct::load(cred, offset(Field::CredUid))
    }
}

/// What the `tcp` iterator does not show: a socket in CLOSE is in no table, and an MPTCP socket is in another.
#[inline(always)]
unsafe fn fill_ends<L: Load>(row: &mut HolderRow, sk: *const u8) {
    // SAFETY: all-zero bytes are a valid `Record`; `L` suits `sk`, and `Probe` survives any address.
    unsafe {
        let mut record = MaybeUninit::uninit();
        let record: &mut Record = zeroes::fill(&mut record);
        sock::fill_ends::<L>(record, sk);
        row.local_addr = record.local_addr;
        row.remote_addr = record.remote_addr;
        row.remote_port = record.remote_port;
        row.local_port = record.local_port;
        if row.local_port == 0 {
            row.local_port = Probe::load::<u16>(sk, offset(Field::Sport)).swap_bytes();
        }
        row.error = L::load(sk, offset(Field::Error));
    }
}
