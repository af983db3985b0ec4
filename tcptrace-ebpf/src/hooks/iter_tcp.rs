//! `iter/tcp`: one row for every TCP socket of a network namespace, including timewait and request sockets.

use crate::{
    config::{has, offset},
    network,
    sock::{self, Direct, IPPROTO_TCP, Load as _},
    zeroes,
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{
        bpf_jiffies64, bpf_ktime_get_ns, bpf_seq_write, bpf_skc_to_tcp_request_sock, bpf_skc_to_tcp_sock,
        bpf_skc_to_tcp_timewait_sock,
    },
};
use core::mem::MaybeUninit;
use tcptrace_common::{Field, ROW_VERSION, Record, SockKind, SockRow, flag, state};

/// `struct bpf_iter__tcp`.
#[repr(C)]
struct TcpIterContext {
    meta: *const *mut seq_file,
    sock: *const u8,
    uid: u32,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn iter_tcp(ctx: *const TcpIterContext) -> i32 {
    // SAFETY: the kernel passes a valid context; the verifier checks every load.
    unsafe {
        let sock = (*ctx).sock;
        if sock.is_null() {
            return 0;
        }
        let mut row = MaybeUninit::uninit();
        let row: &mut SockRow = zeroes::fill(&mut row);
        fill_common(row, sock);
        row.uid = (*ctx).uid;
        let present = match row.state {
            state::TIME_WAIT => fill_timewait(row, sock),
            state::NEW_SYN_RECV => fill_request(row, sock),
            _ => fill_full(row, sock),
        };
        if present {
            let seq = *(*ctx).meta;
            // A full seq_file makes the kernel call again for the same sock with a larger one.
            bpf_seq_write(seq, (&raw const *row).cast(), size_of::<SockRow>() as u32);
        }
    }
    0
}

#[inline(always)]
unsafe fn fill_common(row: &mut SockRow, sock: *const u8) {
    // SAFETY: all-zero bytes are a valid `Record`; the helpers have no preconditions.
    unsafe {
        let mut record = MaybeUninit::uninit();
        let record: &mut Record = zeroes::fill(&mut record);
        sock::fill_ends::<Direct>(record, sock);
        row.time_ns = bpf_ktime_get_ns();
        row.jiffies = bpf_jiffies64();
        row.cookie = sock::cookie(sock);
        row.sock = record.sock;
        row.local_addr = record.local_addr;
        row.remote_addr = record.remote_addr;
        row.local_port = record.local_port;
        row.remote_port = record.remote_port;
        row.family = record.family;
        row.netns = record.netns;
        row.state = Direct::load(sock, offset(Field::State));
        row.protocol = IPPROTO_TCP;
        row.version = ROW_VERSION;
    }
}

#[inline(always)]
unsafe fn fill_timewait(row: &mut SockRow, sock: *const u8) -> bool {
    // SAFETY: the helper answers null unless `sock` is a TCP timewait sock.
    unsafe {
        let timewait: *const u8 = bpf_skc_to_tcp_timewait_sock(sock.cast_mut().cast()).cast();
        if timewait.is_null() {
            return false;
        }
        row.kind = SockKind::Timewait as u8;
        row.state = Direct::load(timewait, offset(Field::TwSubstate));
        row.expires_jiffies = Direct::load(timewait, offset(Field::TwTimer) + offset(Field::TimerExpires));
        if has(Field::TwEntryStamp) {
            row.entry_stamp_ms = Direct::load(timewait, offset(Field::TwEntryStamp));
        }
    }
    true
}

#[inline(always)]
unsafe fn fill_request(row: &mut SockRow, sock: *const u8) -> bool {
    // SAFETY: the helper answers null unless `sock` is a TCP request sock.
    unsafe {
        let request: *const u8 = bpf_skc_to_tcp_request_sock(sock.cast_mut().cast()).cast();
        if request.is_null() {
            return false;
        }
        row.kind = SockKind::Request as u8;
        row.state = state::SYN_RECV;
        row.expires_jiffies = Direct::load(request, offset(Field::ReqTimer) + offset(Field::TimerExpires));
        let listener: *const u8 = Direct::load(sock, offset(Field::Listener));
        row.listener = sock::stored_cookie(listener);
    }
    true
}

#[inline(always)]
unsafe fn fill_full(row: &mut SockRow, sock: *const u8) -> bool {
    // SAFETY: the helper answers null unless `sock` is a full TCP sock.
    unsafe {
        let tcp: *const u8 = bpf_skc_to_tcp_sock(sock.cast_mut().cast()).cast();
        if tcp.is_null() {
            return false;
        }
        row.kind = SockKind::Full as u8;
        if row.state == state::LISTEN {
            row.unread = Direct::load(tcp, offset(Field::AcceptQueue));
            row.unsent = Direct::load(tcp, offset(Field::Backlog));
        } else {
            let next: u32 = Direct::load(tcp, offset(Field::RcvNxt));
            let copied: u32 = Direct::load(tcp, offset(Field::CopiedSeq));
            row.unread = next.wrapping_sub(copied);
            let written: u32 = Direct::load(tcp, offset(Field::WriteSeq));
            let acknowledged: u32 = Direct::load(tcp, offset(Field::SndUna));
            row.unsent = written.wrapping_sub(acknowledged);
            row.received_jiffies = Direct::load(tcp, offset(Field::RcvTstamp));
            // In-order data that acknowledges nothing new updates this one alone (`tcp_rcv_established`).
            if has(Field::LrcvTime) {
                let data: u32 = Direct::load(tcp, offset(Field::LrcvTime));
                if data.wrapping_sub(row.received_jiffies).cast_signed() > 0 {
                    row.received_jiffies = data;
                }
            }
            network::fill::<Direct>(&mut row.network, tcp);
        }
        network::fill_options::<Direct>(&mut row.options, tcp);
        if sock::is_kernels_own(tcp) {
            row.flags |= flag::KERNEL_SOCKET;
        }
        let socket: *const u8 = Direct::load(tcp, offset(Field::Socket));
        if socket.is_null() {
            row.flags |= flag::ORPHAN;
        } else {
            let file: *const u8 = Direct::load(socket, offset(Field::SocketFile));
            if !file.is_null() {
                let inode: *const u8 = Direct::load(file, offset(Field::FileInode));
                row.inode = Direct::load::<u64>(inode, offset(Field::InodeNumber)) as u32;
            }
        }
    }
    true
}
