//! The evidence on a socket in a row of an iterator.

use crate::{
    event::Nanos,
    socket::network::{Congestion, Network, PortRange, SocketOptions, Timer, TimerPurpose},
};
use tcptrace_common::{HolderRow, NetworkRow, OptionsRow, SockRow, known, option};

/// `ICSK_TIME_RETRANS`, `ICSK_TIME_PROBE0`, `ICSK_TIME_LOSS_PROBE` and `ICSK_TIME_REO_TIMEOUT` of
/// include/net/inet_connection_sock.h: what the retransmission timer is set for.
const RETRANS: u8 = 1;
const PROBE0: u8 = 3;
const LOSS_PROBE: u8 = 5;
const REO_TIMEOUT: u8 = 6;

/// `icsk_ca_state` in its byte: the rest are flags.
const CA_STATE: u8 = 0x1f;

/// What the row shows of the network; a `tick` is what the kernel's timers count in.
pub(super) fn of(row: &SockRow, tick: Nanos) -> Network {
    let mut network = Network {
        options: options(&row.options, tick),
        ..Network::default()
    };
    if row.network.known & known::COUNTERS != 0 {
        add_counters(&mut network, &row.network, tick);
    }
    if row.network.known & known::TIMERS != 0 {
        network.timer = timer(&row.network, row.jiffies, tick);
    }
    network
}

fn add_counters(network: &mut Network, row: &NetworkRow, tick: Nanos) {
    // As `tcp_get_info` has them.
    network.rtt_us = Some(row.srtt >> 3);
    network.rtt_var_us = Some(row.mdev >> 2);
    network.rto = Some(Nanos(u64::from(row.rto).saturating_mul(tick.0)));
    network.mss = Some(row.mss);
    network.send_window = Some(row.snd_wnd);
    network.receive_window = Some(row.rcv_wnd);
    network.in_flight = Some(row.packets_out);
    network.retransmitted_in_flight = Some(row.retrans_out);
    network.unacknowledged = Some(row.unacknowledged);
    network.not_sent = Some(row.unsent);
    network.retransmits = Some(row.retransmits);
    network.retransmits_total = Some(row.total_retrans);
    network.backoff = Some(row.backoff);
    network.probes = Some(row.probes_out);
    network.congestion = Congestion::from_kernel(row.ca_state & CA_STATE);
    network.send_memory = Some(row.wmem_queued);
    network.receive_memory = Some(row.rmem_alloc);
    network.drops = Some(row.drops);
}

/// The timer, chosen as `inet_sk_diag_fill` does.
fn timer(row: &NetworkRow, jiffies: u64, tick: Nanos) -> Option<Timer> {
    let (purpose, expires) = match row.pending {
        RETRANS | LOSS_PROBE | REO_TIMEOUT => (TimerPurpose::Retransmit, row.retransmit_expires),
        PROBE0 => (TimerPurpose::WindowProbe, row.retransmit_expires),
        0 if row.keepalive_expires != 0 => (TimerPurpose::KeepAlive, row.keepalive_expires),
        0 => return Some(Timer::Off),
        _ => return None,
    };
    let remaining = u64::try_from(expires.wrapping_sub(jiffies).cast_signed()).unwrap_or(0);
    Some(Timer::Running {
        purpose,
        expires_in: Nanos(remaining.saturating_mul(tick.0)),
    })
}

/// The options of an open file's socket, if the kernel side could read them.
pub(super) fn holder_options(row: &HolderRow, tick: Nanos) -> Option<SocketOptions> {
    let [low, high] =
        [row.port_range & 0xffff, row.port_range >> 16].map(|end| u16::try_from(end).unwrap_or(0));
    let port_range = (row.port_range != 0).then_some(PortRange { low, high });
    let options = options(&row.options, tick)?;
    Some(SocketOptions {
        port_range,
        ..options
    })
}

/// The options, if the kernel side could read them.
pub(super) fn options(row: &OptionsRow, tick: Nanos) -> Option<SocketOptions> {
    let millis = |jiffies: u32| {
        let nanos = u64::from(jiffies).saturating_mul(tick.0);
        u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
    };
    (row.flags & option::KNOWN != 0).then(|| SocketOptions {
        user_timeout_ms: row.user_timeout_ms,
        rto_max_ms: (row.rto_max != 0).then(|| millis(row.rto_max)),
        has_keepalive: row.flags & option::KEEPALIVE != 0,
        keepalive_time_ms: millis(row.keepalive_time),
        keepalive_interval_ms: millis(row.keepalive_interval),
        keepalive_probes: row.keepalive_probes,
        port_range: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Nanos = Nanos::from_millis(4);

    const ROW: NetworkRow = NetworkRow {
        retransmit_expires: 1_050,
        keepalive_expires: 0,
        srtt: 360,
        mdev: 80,
        rto: 51,
        total_retrans: 9,
        packets_out: 3,
        retrans_out: 2,
        unsent: 10,
        unacknowledged: 20,
        snd_wnd: 64,
        rcv_wnd: 65,
        mss: 1_448,
        wmem_queued: 4_096,
        rmem_alloc: 768,
        drops: 1,
        ca_state: 0x20 | 4,
        retransmits: 7,
        backoff: 6,
        probes_out: 0,
        pending: RETRANS,
        known: known::COUNTERS | known::TIMERS,
        reserved: 0,
    };

    #[test]
    fn counters_have_the_units_of_tcp_info() {
        let mut network = Network::default();
        add_counters(&mut network, &ROW, TICK);
        assert_eq!((network.rtt_us, network.rtt_var_us), (Some(45), Some(20)));
        assert_eq!(network.rto, Some(Nanos::from_millis(204)));
        assert_eq!(network.congestion, Some(Congestion::Loss));
    }

    #[test]
    fn the_timer_is_the_one_that_netlink_reports() {
        let of = |pending, keepalive_expires| {
            let row = NetworkRow {
                pending,
                keepalive_expires,
                ..ROW
            };
            timer(&row, 1_000, TICK)
        };
        let running = |purpose, ms| {
            Some(Timer::Running {
                purpose,
                expires_in: Nanos::from_millis(ms),
            })
        };
        for pending in [RETRANS, LOSS_PROBE, REO_TIMEOUT] {
            assert_eq!(of(pending, 2_000), running(TimerPurpose::Retransmit, 200));
        }
        assert_eq!(of(PROBE0, 0), running(TimerPurpose::WindowProbe, 200));
        assert_eq!(of(0, 1_500), running(TimerPurpose::KeepAlive, 2_000));
        assert_eq!(of(0, 999), running(TimerPurpose::KeepAlive, 0));
        assert_eq!((of(0, 0), of(9, 0)), (Some(Timer::Off), None));
    }

    #[test]
    fn options_that_were_not_read_are_unknown() {
        let row = OptionsRow {
            user_timeout_ms: 30_000,
            rto_max: 250,
            keepalive_time: 2_500,
            keepalive_interval: 0,
            keepalive_probes: 3,
            flags: option::KNOWN,
            reserved: 0,
        };
        let read = options(&row, TICK).expect("they are known");
        assert_eq!((read.keepalive_time_ms, read.has_keepalive), (10_000, false));
        assert_eq!(read.rto_max_ms, Some(1_000));
        let without = options(&OptionsRow { rto_max: 0, ..row }, TICK);
        assert_eq!(without.and_then(|options| options.rto_max_ms), None);
        assert_eq!(options(&OptionsRow { flags: 0, ..row }, TICK), None);
    }
}
