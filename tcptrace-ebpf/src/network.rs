//! Reads what the network does to a full TCP socket, and the options that decide how long it waits for its peer.

use crate::{
    config::{has, offset},
    sock::Load,
};
use tcptrace_common::{Field, NetworkRow, OptionsRow, known, option};

/// `SOCK_KEEPOPEN` of `enum sock_flags`.
const SOCK_KEEPOPEN: u64 = 1 << 3;

/// Fills in the counters and timers of a socket that does not listen, as far as this kernel has the fields.
///
/// # Safety
/// `tcp` must be a full TCP socket, and suit `L`.
#[inline(always)]
pub(crate) unsafe fn fill<L: Load>(row: &mut NetworkRow, tcp: *const u8) {
    // SAFETY: the offsets are those of integers in a `tcp_sock`.
    unsafe {
        if has_counters() {
            row.known |= known::COUNTERS;
            row.srtt = L::load(tcp, offset(Field::SrttUs));
            row.mdev = L::load(tcp, offset(Field::MdevUs));
            row.rto = L::load(tcp, offset(Field::Rto));
            row.total_retrans = L::load(tcp, offset(Field::TotalRetrans));
            row.packets_out = L::load(tcp, offset(Field::PacketsOut));
            row.retrans_out = L::load(tcp, offset(Field::RetransOut));
            let written: u32 = L::load(tcp, offset(Field::WriteSeq));
            let next: u32 = L::load(tcp, offset(Field::SndNxt));
            let acknowledged: u32 = L::load(tcp, offset(Field::SndUna));
            row.unsent = written.wrapping_sub(next);
            row.unacknowledged = next.wrapping_sub(acknowledged);
            row.snd_wnd = L::load(tcp, offset(Field::SndWnd));
            row.rcv_wnd = L::load(tcp, offset(Field::RcvWnd));
            row.mss = L::load(tcp, offset(Field::MssCache));
            row.wmem_queued = L::load(tcp, offset(Field::WmemQueued));
            row.rmem_alloc = L::load(tcp, offset(Field::RmemAlloc));
            row.drops = L::load(tcp, offset(Field::Drops));
            row.ca_state = L::load(tcp, offset(Field::CaState));
            row.retransmits = L::load(tcp, offset(Field::Retransmits));
            row.backoff = L::load(tcp, offset(Field::Backoff));
            row.probes_out = L::load(tcp, offset(Field::ProbesOut));
        }
        if has_timers() {
            row.known |= known::TIMERS;
            row.pending = L::load(tcp, offset(Field::Pending));
            row.retransmit_expires = L::load(tcp, retransmit_expires());
            let keepalive = keepalive_timer();
            // `timer_pending`: the entry's second word.
            let pprev: u64 = L::load(tcp, keepalive + offset(Field::TimerEntry) + 8);
            if pprev != 0 {
                row.keepalive_expires = L::load(tcp, keepalive + offset(Field::TimerExpires));
            }
        }
    }
}

/// Fills in the options, if this kernel has the fields.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
pub(crate) unsafe fn fill_options<L: Load>(row: &mut OptionsRow, tcp: *const u8) {
    let has_options = has(Field::UserTimeout)
        && has(Field::KeepaliveTime)
        && has(Field::KeepaliveIntvl)
        && has(Field::KeepaliveProbes);
    if !has_options {
        return;
    }
    // SAFETY: as above.
    unsafe {
        row.flags = option::KNOWN;
        if L::load::<u64>(tcp, offset(Field::SkFlags)) & SOCK_KEEPOPEN != 0 {
            row.flags |= option::KEEPALIVE;
        }
        row.user_timeout_ms = L::load(tcp, offset(Field::UserTimeout));
        if has(Field::RtoMax) {
            row.rto_max = L::load(tcp, offset(Field::RtoMax));
        }
        row.keepalive_time = L::load(tcp, offset(Field::KeepaliveTime));
        row.keepalive_interval = L::load(tcp, offset(Field::KeepaliveIntvl));
        row.keepalive_probes = L::load(tcp, offset(Field::KeepaliveProbes));
    }
}

#[inline(always)]
fn has_counters() -> bool {
    has(Field::SrttUs)
        && has(Field::MdevUs)
        && has(Field::Rto)
        && has(Field::TotalRetrans)
        && has(Field::PacketsOut)
        && has(Field::RetransOut)
        && has(Field::WriteSeq)
        && has(Field::SndNxt)
        && has(Field::SndUna)
        && has(Field::SndWnd)
        && has(Field::RcvWnd)
        && has(Field::MssCache)
        && has(Field::WmemQueued)
        && has(Field::RmemAlloc)
        && has(Field::Drops)
        && has(Field::CaState)
        && has(Field::Retransmits)
        && has(Field::Backoff)
        && has(Field::ProbesOut)
}

#[inline(always)]
fn has_timers() -> bool {
    has(Field::Pending)
        && (has(Field::RetransmitExpires) || has(Field::SockRetransmitExpires))
        && (has(Field::KeepaliveTimer) || has(Field::SockTimer))
        && has(Field::TimerEntry)
        && has(Field::TimerExpires)
}

/// Where the retransmission timer's expiry is: Linux 6.19 moved it to `sock`.
#[inline(always)]
fn retransmit_expires() -> usize {
    if has(Field::RetransmitExpires) {
        offset(Field::RetransmitExpires)
    } else {
        offset(Field::SockRetransmitExpires)
    }
}

/// Where the keep-alive timer is. Since Linux 6.19, `sk_timer` is the retransmission timer by another name.
#[inline(always)]
fn keepalive_timer() -> usize {
    if has(Field::KeepaliveTimer) {
        offset(Field::KeepaliveTimer)
    } else {
        offset(Field::SockTimer)
    }
}
