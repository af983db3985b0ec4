//! `cgroup/sock_create` and `sock_ops`, for kernels whose tracing programs cannot request a socket's cookie (before
//! Linux 5.12): a request here, once for each new socket, assigns the cookie that the tracing programs read.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
    helpers::generated::bpf_get_socket_cookie,
    macros::{cgroup_sock, sock_ops},
    programs::{SockContext, SockOpsContext},
};

/// The return value of both kinds of program: the kernel may continue.
const GO_ON: i32 = 1;

#[cgroup_sock(sock_create)]
fn cookie_of_socket(ctx: SockContext) -> i32 {
    // SAFETY: the context is the helper's argument.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    GO_ON
}

/// A child is cloned, not created; this is called right before it becomes ESTABLISHED (`tcp_init_transfer`).
#[sock_ops]
fn cookie_of_child(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        // SAFETY: as above.
        unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    }
    GO_ON as u32
}
