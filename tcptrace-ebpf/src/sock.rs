//! Reads the kernel's socks. Every offset comes from the running kernel's BTF, see `config`.

use crate::config::{has, has_cookie, kern_sock_mask, offset};
use aya_ebpf::helpers::{
    bpf_probe_read_kernel,
    generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock},
};
use tcptrace_common::{Field, Record};

pub(crate) const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub(crate) const IPPROTO_TCP: u16 = 6;

/// How a program gets at kernel memory.
pub(crate) trait Load {
    /// The value `offset` bytes behind `base`, or zeroes where it cannot be read.
    ///
    /// # Safety
    /// All-zero bytes must be a valid `T`, and `base` must satisfy the implementation.
    unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T;
}

/// For pointers whose type the verifier knows: a plain load, checked against BTF.
pub(crate) struct Direct;

impl Load for Direct {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
        // SAFETY: the verifier rejects the program unless the load is inside a field of the pointer's type;
        // volatile keeps LLVM from splitting or merging it across fields.
        unsafe { core::ptr::read_volatile(base.wrapping_add(offset).cast::<T>()) }
    }
}

/// For pointers that came out of arithmetic: a helper that survives any address.
pub(crate) struct Probe;

impl Load for Probe {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
        // SAFETY: the helper fails cleanly on a bad address; zeroes are valid by the trait's contract.
        unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()).unwrap_or(core::mem::zeroed()) }
    }
}

/// Fills in family, both ends, the namespace and the address of the object at `sock`, whose head is a
/// `struct sock_common` as in full, timewait and request socks alike.
#[inline(always)]
pub(crate) fn fill_ends<L: Load>(record: &mut Record, sock: *const u8) {
    // SAFETY: callers choose `L` to suit the pointer; every type read is an integer.
    unsafe {
        record.sock = sock as u64;
        record.family = L::load(sock, offset(Field::Family));
        record.remote_port = L::load::<u16>(sock, offset(Field::RemotePort)).swap_bytes();
        record.local_port = L::load(sock, offset(Field::LocalPort));
        if record.family == AF_INET {
            let remote: u32 = L::load(sock, offset(Field::RemoteV4));
            let local: u32 = L::load(sock, offset(Field::LocalV4));
            record
                .remote_addr
                .as_mut_ptr()
                .cast::<u32>()
                .write_unaligned(remote);
            record
                .local_addr
                .as_mut_ptr()
                .cast::<u32>()
                .write_unaligned(local);
        } else if record.family == AF_INET6 && has(Field::RemoteV6) {
            let remote: [u64; 2] = [
                L::load(sock, offset(Field::RemoteV6)),
                L::load(sock, offset(Field::RemoteV6) + 8),
            ];
            let local: [u64; 2] = [
                L::load(sock, offset(Field::LocalV6)),
                L::load(sock, offset(Field::LocalV6) + 8),
            ];
            record
                .remote_addr
                .as_mut_ptr()
                .cast::<[u64; 2]>()
                .write_unaligned(remote);
            record
                .local_addr
                .as_mut_ptr()
                .cast::<[u64; 2]>()
                .write_unaligned(local);
        }
        let net: *const u8 = L::load(sock, offset(Field::Net));
        record.netns = L::load(net, offset(Field::NetInum));
    }
}

/// The cookie of the sock that the verifier knows `sock` to be, made where there was none.
#[inline(always)]
pub(crate) fn cookie(sock: *const u8) -> u64 {
    // SAFETY: the helper checks its argument's type; the load is one of an integer inside `sock_common`.
    unsafe {
        if has_cookie() != 0 {
            bpf_get_socket_cookie(sock.cast_mut().cast())
        } else {
            Direct::load(sock, offset(Field::Cookie))
        }
    }
}

/// Fills in what a full TCP socket that has become CLOSE still knows: the bytes that it carried, and its local port,
/// which `skc_num` has given up and `inet_sport` has not.
#[inline(always)]
pub(crate) fn fill_remains(record: &mut Record, sock: *const u8) {
    // SAFETY: the helper answers null unless `sock` is a full TCP socket, which begins with an `inet_sock`.
    unsafe {
        let tcp: *const u8 = bpf_skc_to_tcp_sock(sock.cast_mut().cast()).cast();
        if tcp.is_null() {
            return;
        }
        if record.local_port == 0 {
            record.local_port = Direct::load::<u16>(tcp, offset(Field::Sport)).swap_bytes();
        }
        if has(Field::BytesAcked) && has(Field::BytesReceived) {
            record.bytes_acked = Direct::load(tcp, offset(Field::BytesAcked));
            record.bytes_received = Direct::load(tcp, offset(Field::BytesReceived));
        }
    }
}

/// Whether the kernel made the full socket `sock` for itself.
#[inline(always)]
pub(crate) fn is_kernels_own(sock: *const u8) -> bool {
    // SAFETY: the verifier checks that the byte covers the bit.
    has(Field::KernSock)
        && unsafe { Direct::load::<u8>(sock, offset(Field::KernSock)) } & kern_sock_mask() != 0
}

/// The cookie that is written in a sock of which only the address is known; 0 where nobody has asked for it.
#[inline(always)]
pub(crate) fn stored_cookie(sock: *const u8) -> u64 {
    // SAFETY: `Probe` survives any address.
    unsafe { Probe::load(sock, offset(Field::Cookie)) }
}
