//! Constants that the loader sets, in read-only data: the verifier knows their values,
//! so that a branch that is not taken costs nothing.

use aya_ebpf::Global;
use core::ptr;
use tcptrace_common::{ABSENT, Field};

/// Offsets of kernel fields, in the order of [`Field`].
#[unsafe(no_mangle)]
static OFFSETS: [u16; Field::COUNT] = [ABSENT; Field::COUNT];

/// 1 if `bpf_get_socket_cookie` may be called by tracing programs (Linux 5.12).
#[unsafe(no_mangle)]
static HAS_COOKIE: Global<u8> = Global::new(0);

/// 1 if `bpf_get_current_task_btf` exists (Linux 5.11).
#[unsafe(no_mangle)]
static HAS_TASK_BTF: Global<u8> = Global::new(0);

/// 1 if `bpf_sock_from_file` exists (Linux 5.11).
#[unsafe(no_mangle)]
static HAS_SOCK_FROM_FILE: Global<u8> = Global::new(0);

/// Address of the kernel's `socket_file_ops`, if that helper does not exist.
#[unsafe(no_mangle)]
static SOCKET_FILE_OPS: Global<u64> = Global::new(0);

/// 1 if protocols other than TCP are traced.
#[unsafe(no_mangle)]
static ALL_PROTOCOLS: Global<u8> = Global::new(0);

/// Fill level of the ring buffer, bytes, at which the reader is woken.
#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u64> = Global::new(0);

/// Address of the kernel's `tw_timer_handler`.
#[unsafe(no_mangle)]
static TW_TIMER_HANDLER: Global<u64> = Global::new(0);

/// Address of the kernel's `reqsk_timer_handler`.
#[unsafe(no_mangle)]
static REQSK_TIMER_HANDLER: Global<u64> = Global::new(0);

/// How many arguments `tcp_timewait_state_process` takes.
#[unsafe(no_mangle)]
static TIMEWAIT_PROCESS_ARGUMENTS: Global<u8> = Global::new(0);

/// How many arguments `inet_csk_accept` takes.
#[unsafe(no_mangle)]
static ACCEPT_ARGUMENTS: Global<u8> = Global::new(0);

/// 1 if `tcp_send_reset` reports a reason (Linux 6.10).
#[unsafe(no_mangle)]
static HAS_RESET_REASON: Global<u8> = Global::new(0);

/// The bit of `sk_kern_sock` in its byte.
#[unsafe(no_mangle)]
static KERN_SOCK_MASK: Global<u8> = Global::new(0);

/// Offsets in the classic tracepoint's record: oldstate, newstate, sport, dport, family, protocol, saddr, daddr,
/// saddr_v6, daddr_v6, skaddr.
#[unsafe(no_mangle)]
static CLASSIC_OFFSETS: [u16; 11] = [0; 11];

/// The byte offset of `field`.
#[inline(always)]
pub(crate) fn offset(field: Field) -> usize {
    // SAFETY: the index is in bounds by construction; volatile because the loader patches the value.
    unsafe { ptr::read_volatile(&raw const OFFSETS[field as usize]) as usize }
}

/// Whether this kernel has `field`.
#[inline(always)]
pub(crate) fn has(field: Field) -> bool {
    offset(field) != ABSENT as usize
}

/// The byte offset of the classic tracepoint's `index`th field.
#[inline(always)]
pub(crate) fn classic_offset(index: usize) -> usize {
    // SAFETY: every caller passes a literal below the length; volatile as above.
    unsafe { ptr::read_volatile(&raw const CLASSIC_OFFSETS[index]) as usize }
}

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident: $type:ty = $global:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name() -> $type {
            $global.load()
        }
    };
}

setting!(
    /// See [`HAS_COOKIE`].
    has_cookie: u8 = HAS_COOKIE
);
setting!(
    /// See [`HAS_TASK_BTF`].
    has_task_btf: u8 = HAS_TASK_BTF
);
setting!(
    /// See [`HAS_SOCK_FROM_FILE`].
    has_sock_from_file: u8 = HAS_SOCK_FROM_FILE
);
setting!(
    /// See [`SOCKET_FILE_OPS`].
    socket_file_ops: u64 = SOCKET_FILE_OPS
);
setting!(
    /// See [`ALL_PROTOCOLS`].
    all_protocols: u8 = ALL_PROTOCOLS
);
setting!(
    /// See [`WAKE_BYTES`].
    wake_bytes: u64 = WAKE_BYTES
);
setting!(
    /// See [`TW_TIMER_HANDLER`].
    tw_timer_handler: u64 = TW_TIMER_HANDLER
);
setting!(
    /// See [`REQSK_TIMER_HANDLER`].
    reqsk_timer_handler: u64 = REQSK_TIMER_HANDLER
);
setting!(
    /// See [`TIMEWAIT_PROCESS_ARGUMENTS`].
    timewait_process_arguments: u8 = TIMEWAIT_PROCESS_ARGUMENTS
);
setting!(
    /// See [`HAS_RESET_REASON`].
    has_reset_reason: u8 = HAS_RESET_REASON
);
setting!(
    /// See [`KERN_SOCK_MASK`].
    kern_sock_mask: u8 = KERN_SOCK_MASK
);
setting!(
    /// See [`ACCEPT_ARGUMENTS`].
    accept_arguments: u8 = ACCEPT_ARGUMENTS
);
