//! Reads the kernel's sockets. Every offset comes from the running kernel's BTF, see `config`.

use crate::config::{has, has_cookie, kern_sock_mask, offset};
use aya_ebpf::helpers::{
    bpf_probe_read_kernel,
    generated::{self, bpf_get_socket_cookie, bpf_skc_to_tcp_sock},
};
use core::mem::MaybeUninit;
use tcptrace_common::{Field, Record, flag, state};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const IPPROTO_TCP: u16 = 6;
pub(crate) const IPPROTO_MPTCP: u16 = 262;

/// How a program reads kernel memory.
pub(crate) trait Load {
    /// The value `offset` bytes after `base`, or zeroes if it cannot be read.
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

/// For pointers that result from arithmetic: a helper that tolerates any address.
pub(crate) struct Probe;

impl Load for Probe {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
        // SAFETY: the helper fails cleanly on a bad address; zeroes are valid by the trait's contract.
        unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()).unwrap_or(core::mem::zeroed()) }
    }
}

/// Fills in family, both endpoints, the namespace and the address of the object at `sock`, which begins with a
/// `struct sock_common`, as full, timewait and request sockets do.
#[inline(always)]
pub(crate) fn fill_ends<L: Load>(record: &mut Record, sock: *const u8) {
    record.sock = sock as u64;
    fill_ends_from::<L, L>(record, sock);
}

/// The same but for the address, from the object's fields at `sock`, and with `N` from the namespace that they point to.
#[inline(always)]
fn fill_ends_from<L: Load, N: Load>(record: &mut Record, sock: *const u8) {
    // SAFETY: callers choose `L` and `N` to suit the pointers; every type read is an integer.
    unsafe {
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
        record.netns = N::load(net, offset(Field::NetInum));
    }
}

/// Length of [`Copied`]: `struct sock_common`, and the substate of a timewait socket.
const COPIED_BYTES: usize = 144;

/// The beginning of a timewait or request socket of which only the address is known, by a single call of the helper.
#[repr(C, align(8))]
pub(crate) struct Copied([u8; COPIED_BYTES]);

impl Copied {
    /// Copies the beginning of `sock`; zeroes if it cannot be read.
    #[inline(always)]
    pub(crate) fn of(sock: *const u8) -> Self {
        let mut copied = MaybeUninit::<Self>::uninit();
        // SAFETY: the helper writes all of the bytes, zeroes where it fails.
        unsafe {
            generated::bpf_probe_read_kernel(copied.as_mut_ptr().cast(), COPIED_BYTES as u32, sock.cast());
            copied.assume_init()
        }
    }

    /// Fills in both endpoints, the namespace, the address and the cookie stored in `sock`, of which this is a copy.
    #[inline(always)]
    pub(crate) fn fill(&self, record: &mut Record, sock: *const u8) {
        // The verifier knows the offsets, and that one of the branches is never taken.
        if offset(Field::LocalV4) + 4 <= COPIED_BYTES
            && offset(Field::LocalPort) + 2 <= COPIED_BYTES
            && offset(Field::RemotePort) + 2 <= COPIED_BYTES
            && offset(Field::Net) + 8 <= COPIED_BYTES
            && (!has(Field::LocalV6) || offset(Field::LocalV6) + 16 <= COPIED_BYTES)
        {
            record.sock = sock as u64;
            fill_ends_from::<Direct, Probe>(record, self.0.as_ptr());
        } else {
            fill_ends::<Probe>(record, sock);
        }
        record.cookie = self.load(sock, offset(Field::Cookie));
    }

    /// The value at `offset`, from `sock` itself if it is not in the copy.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(&self, sock: *const u8, offset: usize) -> T {
        // SAFETY: the bytes are in the copy, or `Probe` survives any address; callers read integers and pointers.
        unsafe {
            if offset + size_of::<T>() <= COPIED_BYTES {
                Direct::load(self.0.as_ptr(), offset)
            } else {
                Probe::load(sock, offset)
            }
        }
    }
}

/// The cookie of `sock`, whose type the verifier knows; assigned if there was none.
#[inline(always)]
pub(crate) fn cookie(sock: *const u8) -> u64 {
    // SAFETY: the helper checks its argument's type; the load is one of an integer inside `sock_common`.
    unsafe {
        let stored = Direct::load(sock, offset(Field::Cookie));
        if stored != 0 || has_cookie() == 0 {
            stored
        } else {
            bpf_get_socket_cookie(sock.cast_mut().cast())
        }
    }
}

/// Fills in what a full TCP socket in CLOSE still has: the bytes that it carried, its retransmissions and round-trip
/// time, whether an error belongs to this end, and its local port, which `inet_sport` still has, but not `skc_num`.
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
        // An earlier error is not the cause of an end at which everything was acknowledged, including the FIN.
        if record.old == state::LAST_ACK
            && has(Field::SndUna)
            && has(Field::WriteSeq)
            && Direct::load::<u32>(tcp, offset(Field::SndUna))
                == Direct::load::<u32>(tcp, offset(Field::WriteSeq))
        {
            record.error = 0;
        }
        if has(Field::BytesAcked) && has(Field::BytesReceived) {
            record.bytes_acked = Direct::load(tcp, offset(Field::BytesAcked));
            record.bytes_received = Direct::load(tcp, offset(Field::BytesReceived));
        }
        if has(Field::TotalRetrans) {
            record.flags |= flag::RETRANSMITS;
            record.total_retrans = Direct::load(tcp, offset(Field::TotalRetrans));
        }
        if has(Field::SrttUs) {
            record.srtt_us = Direct::load(tcp, offset(Field::SrttUs));
        }
    }
}

/// Whether the kernel created the full socket `sock` for itself. A subflow belongs to the holder of its MPTCP socket.
#[inline(always)]
pub(crate) fn is_kernels_own(sock: *const u8) -> bool {
    if !has(Field::KernSock) {
        return false;
    }
    // SAFETY: the verifier checks that the byte covers the bit; `Probe` survives any address.
    unsafe {
        if Direct::load::<u8>(sock, offset(Field::KernSock)) & kern_sock_mask() == 0 {
            return false;
        }
        let knows_paths = has(Field::IsMptcp) && has(Field::UlpData) && has(Field::PathOf);
        if !knows_paths || Probe::load::<u8>(sock, offset(Field::IsMptcp)) == 0 {
            return true;
        }
        let context: *const u8 = Probe::load(sock, offset(Field::UlpData));
        let whole: *const u8 = Probe::load(context, offset(Field::PathOf));
        whole.is_null() || Probe::load::<u8>(whole, offset(Field::KernSock)) & kern_sock_mask() != 0
    }
}

/// The cookie stored in a socket of which only the address is known; 0 if it was never requested.
#[inline(always)]
pub(crate) fn stored_cookie(sock: *const u8) -> u64 {
    // SAFETY: `Probe` survives any address.
    unsafe { Probe::load(sock, offset(Field::Cookie)) }
}
