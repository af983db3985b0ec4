//! What the network does to a socket, as bytes in the column `text`: which values are known, and those. As columns, they
//! would cost every batch of events more than they cost a snapshot.

use crate::{
    event::Nanos,
    socket::network::{Congestion, Network, PortRange, Recoveries, SocketOptions, Timer, TimerPurpose},
};

/// Number of values; the bit of each in the first number is its index in [`values`].
const VALUES: usize = 22;

/// Number of values of options.
const OPTIONS: usize = 8;

/// Encodes what is known: a number with a bit for each value that follows, then those values in order. Numbers are
/// unsigned LEB128.
pub(super) fn encode(network: &Network) -> Vec<u8> {
    let values = values(network);
    let known = values.iter().enumerate().fold(0, |bits, (index, value)| {
        bits | u64::from(value.is_some()) << index
    });
    let mut bytes = Vec::with_capacity(48);
    push(&mut bytes, known);
    for value in values.into_iter().flatten() {
        push(&mut bytes, value);
    }
    bytes
}

/// The inverse; `None` if the bytes are no such evidence. Values of a later version follow those of this one, and are
/// ignored.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Network> {
    let known = take(&mut bytes)?;
    let mut values = [None; VALUES];
    for (index, value) in values.iter_mut().enumerate() {
        if known >> index & 1 == 1 {
            *value = Some(take(&mut bytes)?);
        }
    }
    of_values(&values)
}

/// Encodes options; nothing if none is set.
pub(super) fn encode_options(options: &SocketOptions) -> Vec<u8> {
    let values = [
        u64::from(options.has_keepalive),
        options.user_timeout_ms.into(),
        options.keepalive_time_ms.into(),
        options.keepalive_interval_ms.into(),
        options.keepalive_probes.into(),
        options.port_range.map_or(0, |range| range.low.into()),
        options.port_range.map_or(0, |range| range.high.into()),
        options.rto_max_ms.unwrap_or(0).into(),
    ];
    let mut bytes = Vec::new();
    if values != [0; OPTIONS] {
        for value in values {
            push(&mut bytes, value);
        }
    }
    bytes
}

/// The inverse; `None` if the bytes are no options. Values of a later version are ignored, and those that this version has
/// added are not set where they are missing.
pub(super) fn decode_options(mut bytes: &[u8]) -> Option<SocketOptions> {
    let mut values = [0; OPTIONS];
    for value in &mut values {
        if !bytes.is_empty() {
            *value = take(&mut bytes)?;
        }
    }
    let [
        keepalive,
        user_timeout,
        time,
        interval,
        probes,
        low,
        high,
        rto_max,
    ] = values;
    let range = PortRange {
        low: low.try_into().ok()?,
        high: high.try_into().ok()?,
    };
    Some(SocketOptions {
        user_timeout_ms: user_timeout.try_into().ok()?,
        rto_max_ms: (rto_max != 0).then_some(rto_max.try_into().ok()?),
        has_keepalive: keepalive != 0,
        keepalive_time_ms: time.try_into().ok()?,
        keepalive_interval_ms: interval.try_into().ok()?,
        keepalive_probes: probes.try_into().ok()?,
        port_range: (range != PortRange { low: 0, high: 0 }).then_some(range),
    })
}

/// The values in the order of docs/recording.md; new ones are added at the end.
fn values(network: &Network) -> [Option<u64>; VALUES] {
    let wide = |value: Option<u32>| value.map(u64::from);
    let byte = |value: Option<u8>| value.map(u64::from);
    let (timer, expires_in) = match network.timer {
        None => (None, None),
        Some(Timer::Off) => (Some(0), None),
        Some(Timer::Running { purpose, expires_in }) => {
            let number = match purpose {
                TimerPurpose::Retransmit => 1,
                TimerPurpose::WindowProbe => 2,
                TimerPurpose::KeepAlive => 3,
            };
            (Some(number), Some(expires_in.0))
        }
    };
    [
        wide(network.rtt_us),
        wide(network.rtt_var_us),
        network.rto.map(|rto| rto.0),
        wide(network.mss),
        wide(network.send_window),
        wide(network.receive_window),
        wide(network.in_flight),
        wide(network.retransmitted_in_flight),
        wide(network.unacknowledged),
        wide(network.not_sent),
        byte(network.retransmits),
        wide(network.retransmits_total),
        byte(network.backoff),
        byte(network.probes),
        timer,
        expires_in,
        network.congestion.map(|state| state as u64),
        wide(network.send_memory),
        wide(network.receive_memory),
        wide(network.drops),
        network.recoveries.map(|recoveries| recoveries.count.into()),
        network.recoveries.map(|recoveries| recoveries.total.0),
    ]
}

fn of_values(values: &[Option<u64>; VALUES]) -> Option<Network> {
    let [
        rtt,
        rtt_var,
        rto,
        mss,
        send_window,
        receive_window,
        in_flight,
        retransmitted_in_flight,
        unacknowledged,
        not_sent,
        retransmits,
        retransmits_total,
        backoff,
        probes,
        timer,
        expires_in,
        congestion,
        send_memory,
        receive_memory,
        drops,
        recoveries,
        recovery_time,
    ] = *values;
    let purpose = match timer {
        None | Some(0) => None,
        Some(1) => Some(TimerPurpose::Retransmit),
        Some(2) => Some(TimerPurpose::WindowProbe),
        Some(3) => Some(TimerPurpose::KeepAlive),
        Some(_) => return None,
    };
    Some(Network {
        rtt_us: narrow(rtt)?,
        rtt_var_us: narrow(rtt_var)?,
        rto: rto.map(Nanos),
        mss: narrow(mss)?,
        send_window: narrow(send_window)?,
        receive_window: narrow(receive_window)?,
        in_flight: narrow(in_flight)?,
        retransmitted_in_flight: narrow(retransmitted_in_flight)?,
        unacknowledged: narrow(unacknowledged)?,
        not_sent: narrow(not_sent)?,
        retransmits: narrow(retransmits)?,
        retransmits_total: narrow(retransmits_total)?,
        backoff: narrow(backoff)?,
        probes: narrow(probes)?,
        timer: match purpose {
            None => timer.map(|_| Timer::Off),
            Some(purpose) => Some(Timer::Running {
                purpose,
                expires_in: Nanos(expires_in?),
            }),
        },
        congestion: narrow(congestion)?.and_then(Congestion::from_kernel),
        send_memory: narrow(send_memory)?,
        receive_memory: narrow(receive_memory)?,
        drops: narrow(drops)?,
        recoveries: match (narrow(recoveries)?, recovery_time) {
            (Some(count), Some(total)) => Some(Recoveries {
                count,
                total: Nanos(total),
            }),
            _ => None,
        },
        options: None,
    })
}

/// A value of its own width; `None` if it exceeds that.
#[expect(
    clippy::option_option,
    reason = "the outer one is whether it fits, the inner one whether it is known"
)]
fn narrow<T: TryFrom<u64>>(value: Option<u64>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => T::try_from(value).ok().map(Some),
    }
}

fn push(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// Takes a number off the bytes; `None` if there is none of at most 64 bits.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_network()(
            words in proptest::collection::vec(proptest::option::of(any::<u32>()), 13),
            bytes in proptest::collection::vec(proptest::option::of(any::<u8>()), 3),
            rto in proptest::option::of(any::<u64>()),
            timer in proptest::option::of((0..4u8, any::<u64>())),
            congestion in proptest::option::of(0..5u8),
            recoveries in proptest::option::of((any::<u16>(), any::<u64>())),
        ) -> Network {
            Network {
                rtt_us: words[0],
                rtt_var_us: words[1],
                rto: rto.map(Nanos),
                mss: words[2],
                send_window: words[3],
                receive_window: words[4],
                in_flight: words[5],
                retransmitted_in_flight: words[6],
                unacknowledged: words[7],
                not_sent: words[8],
                retransmits: bytes[0],
                retransmits_total: words[9],
                backoff: bytes[1],
                probes: bytes[2],
                timer: timer.map(|(purpose, ns)| {
                    let running = |purpose| Timer::Running { purpose, expires_in: Nanos(ns) };
                    match purpose {
                        0 => Timer::Off,
                        1 => running(TimerPurpose::Retransmit),
                        2 => running(TimerPurpose::WindowProbe),
                        _ => running(TimerPurpose::KeepAlive),
                    }
                }),
                congestion: congestion.and_then(Congestion::from_kernel),
                send_memory: words[10],
                receive_memory: words[11],
                drops: words[12],
                recoveries: recoveries.map(|(count, total)| Recoveries { count, total: Nanos(total) }),
                options: None,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(network in any_network()) {
            prop_assert_eq!(decode(&encode(&network)), Some(network));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
            let _ = decode_options(&bytes);
        }
    }

    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let network = Network {
            rtt_us: Some(300),
            timer: Some(Timer::Running {
                purpose: TimerPurpose::WindowProbe,
                expires_in: Nanos(5),
            }),
            drops: Some(0),
            ..Network::default()
        };
        let bytes = encode(&network);
        assert_eq!(bytes, [0x81, 0x80, 0x23, 0xac, 0x02, 2, 5, 0]);
        // A later version may know more.
        let mut later = bytes;
        later[2] |= 0x40;
        later.push(9);
        assert_eq!(decode(&later), Some(network));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bytes in [
            &[][..],
            &[1],
            &[1, 0x80],
            &[0x80; 11],
            &[3, 1, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn options_that_are_not_set_take_no_bytes() {
        let none = decode_options(&[]).unwrap();
        assert_eq!(none.user_timeout_ms, 0);
        assert!(encode_options(&none).is_empty());
        let some = SocketOptions {
            user_timeout_ms: 30_000,
            rto_max_ms: Some(1_000),
            has_keepalive: true,
            keepalive_time_ms: 60_000,
            keepalive_interval_ms: 10_000,
            keepalive_probes: 6,
            port_range: Some(PortRange { low: 40_000, high: 0 }),
        };
        assert_eq!(decode_options(&encode_options(&some)), Some(some));
        // Without what was added since.
        let bytes = &encode_options(&some)[..10];
        let before = SocketOptions {
            port_range: None,
            rto_max_ms: None,
            ..some
        };
        assert_eq!(decode_options(bytes), Some(before));
    }
}
