//! The evidence on a socket in the attributes of its message: `struct tcp_info` (linux/tcp.h), whose end older kernels do
//! not have, and `SK_MEMINFO_*` (linux/sock_diag.h).

use super::{KEEPALIVE_TIMER, Nanos, Network, RETRANSMIT_TIMER, Timer, TimerPurpose, WINDOW_TIMER, word};
use crate::socket::network::{Congestion, Recoveries};

/// Offsets in `struct tcp_info`.
mod info {
    pub(super) const CA_STATE: usize = 1;
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    pub(super) const BACKOFF: usize = 4;
    pub(super) const RTO: usize = 8;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const UNACKED: usize = 24;
    pub(super) const RETRANS: usize = 36;
    pub(super) const RTT: usize = 68;
    pub(super) const RTTVAR: usize = 72;
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const SND_WND: usize = 228;
    pub(super) const RCV_WND: usize = 232;
    pub(super) const TOTAL_RTO_RECOVERIES: usize = 242;
    pub(super) const TOTAL_RTO_TIME: usize = 244;
}

/// Indexes of `SK_MEMINFO_RMEM_ALLOC`, `SK_MEMINFO_WMEM_QUEUED` and `SK_MEMINFO_DROPS`.
const RMEM_ALLOC: usize = 0;
const WMEM_QUEUED: usize = 5;
const DROPS: usize = 8;

/// Adds what `tcp_get_info` reports of a connection.
pub(super) fn add_info(network: &mut Network, info: &[u8]) {
    let byte = |at: usize| info.get(at).copied();
    let word = |at| word(info, at);
    network.congestion = byte(info::CA_STATE).and_then(Congestion::from_kernel);
    network.retransmits = byte(info::RETRANSMITS);
    network.probes = byte(info::PROBES);
    network.backoff = byte(info::BACKOFF);
    network.rto = word(info::RTO).map(|us| Nanos(u64::from(us) * 1_000));
    network.mss = word(info::SND_MSS);
    network.in_flight = word(info::UNACKED);
    network.retransmitted_in_flight = word(info::RETRANS);
    network.rtt_us = word(info::RTT);
    network.rtt_var_us = word(info::RTTVAR);
    network.retransmits_total = word(info::TOTAL_RETRANS);
    network.not_sent = word(info::NOTSENT_BYTES);
    network.send_window = word(info::SND_WND);
    network.receive_window = word(info::RCV_WND);
    network.recoveries = recoveries(info);
}

fn recoveries(info: &[u8]) -> Option<Recoveries> {
    let count = info.get(info::TOTAL_RTO_RECOVERIES..)?.first_chunk()?;
    let total_ms = word(info, info::TOTAL_RTO_TIME)?;
    Some(Recoveries {
        count: u16::from_ne_bytes(*count),
        total: Nanos::from_millis(total_ms.into()),
    })
}

/// Adds what `sk_get_meminfo` reports.
pub(super) fn add_memory(network: &mut Network, memory: &[u8]) {
    let word = |index: usize| word(memory, index * 4);
    network.receive_memory = word(RMEM_ALLOC);
    network.send_memory = word(WMEM_QUEUED);
    network.drops = word(DROPS);
}

/// The timer of a full socket: `idiag_timer` and `idiag_expires`, which is negative if it is overdue.
pub(super) fn timer(kind: u8, expires_ms: u32) -> Option<Timer> {
    let purpose = match kind {
        0 => return Some(Timer::Off),
        RETRANSMIT_TIMER => TimerPurpose::Retransmit,
        KEEPALIVE_TIMER => TimerPurpose::KeepAlive,
        WINDOW_TIMER => TimerPurpose::WindowProbe,
        _ => return None,
    };
    let remaining = u64::try_from(expires_ms.cast_signed()).unwrap_or(0);
    Some(Timer::Running {
        purpose,
        expires_in: Nanos::from_millis(remaining),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_does_not_report_is_unknown() {
        let mut info = [0; 144];
        info[info::RTT..][..4].copy_from_slice(&45u32.to_ne_bytes());
        let mut network = Network::default();
        add_info(&mut network, &info);
        assert_eq!((network.rtt_us, network.retransmits), (Some(45), Some(0)));
        let newer = [network.not_sent, network.send_window, network.receive_window];
        assert_eq!(newer, [None; 3]);
        assert_eq!(network.recoveries, None);
        add_memory(&mut network, &[0; 32]);
        assert_eq!((network.send_memory, network.drops), (Some(0), None));
    }

    #[test]
    fn an_overdue_timer_expires_now_and_an_unknown_one_is_none() {
        let running = |kind, ms| timer(kind, ms);
        let of = |purpose, ms| {
            Some(Timer::Running {
                purpose,
                expires_in: Nanos::from_millis(ms),
            })
        };
        assert_eq!(running(1, 200), of(TimerPurpose::Retransmit, 200));
        assert_eq!(running(2, u32::MAX), of(TimerPurpose::KeepAlive, 0));
        assert_eq!(running(4, 0), of(TimerPurpose::WindowProbe, 0));
        assert_eq!(running(0, 0), Some(Timer::Off));
        assert_eq!(running(9, 1), None);
    }
}
