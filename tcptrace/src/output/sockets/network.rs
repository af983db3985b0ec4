//! What the network does to a socket: columns, a JSON object, and a line for people.

use crate::{
    duration::human,
    event::Nanos,
    output::{
        bytes::human_bytes,
        row::{Column, Value},
    },
    plural::counted,
    socket::{
        network::{Congestion, Network, SocketOptions, Timer, TimerPurpose},
        patience::RTO_MAX,
    },
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::fmt::Write as _;

const NANOS_A_MICRO: u64 = 1_000;

/// The evidence by name, in the order of CSV and JSON.
pub(crate) const COLUMNS: &[Column<Network>] = &[
    ("rtt_ns", |network| micros(network.rtt_us)),
    ("rtt_var_ns", |network| micros(network.rtt_var_us)),
    ("rto_ns", |network| network.rto.map(|rto| rto.0).into()),
    ("mss_bytes", |network| network.mss.into()),
    ("send_window_bytes", |network| network.send_window.into()),
    ("receive_window_bytes", |network| network.receive_window.into()),
    ("in_flight_segments", |network| network.in_flight.into()),
    ("retransmitted_in_flight_segments", |network| {
        network.retransmitted_in_flight.into()
    }),
    ("unacknowledged_bytes", |network| network.unacknowledged.into()),
    ("not_sent_bytes", |network| network.not_sent.into()),
    ("retransmits", |network| network.retransmits.map(u64::from).into()),
    ("retransmits_total", |network| network.retransmits_total.into()),
    ("backoff", |network| network.backoff.map(u64::from).into()),
    ("probes", |network| network.probes.map(u64::from).into()),
    ("timer", |network| network.timer.map(timer_name).into()),
    ("timer_expires_ns", |network| match network.timer {
        Some(Timer::Running { expires_in, .. }) => expires_in.0.into(),
        Some(Timer::Off) | None => Value::Null,
    }),
    ("congestion", |network| {
        network.congestion.map(Congestion::name).into()
    }),
    ("send_memory_bytes", |network| network.send_memory.into()),
    ("receive_memory_bytes", |network| network.receive_memory.into()),
    ("drops", |network| network.drops.into()),
    ("user_timeout_ns", |network| {
        option_millis(network, |options| options.user_timeout_ms)
    }),
    ("rto_max_ns", |network| {
        let limit = network.options.and_then(|options| options.rto_max_ms);
        limit.map(|ms| Nanos::from_millis(ms.into()).0).into()
    }),
    ("keepalive", |network| {
        network.options.map(|options| options.has_keepalive).into()
    }),
    ("keepalive_time_ns", |network| {
        option_millis(network, |options| options.keepalive_time_ms)
    }),
    ("keepalive_interval_ns", |network| {
        option_millis(network, |options| options.keepalive_interval_ms)
    }),
    ("keepalive_probes", |network| {
        let probes = network.options.map(|options| options.keepalive_probes);
        probes.map(u64::from).into()
    }),
];

fn micros(us: Option<u32>) -> Value<'static> {
    us.map(|us| u64::from(us) * NANOS_A_MICRO).into()
}

fn option_millis(network: &Network, millis: impl Fn(&SocketOptions) -> u32) -> Value<'static> {
    let options = network.options.as_ref();
    options
        .map(|options| Nanos::from_millis(millis(options).into()).0)
        .into()
}

const fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Off => "off",
        Timer::Running { purpose, .. } => purpose.name(),
    }
}

/// A JSON object of what is known.
pub(crate) struct NetworkJson<'a>(pub(crate) &'a Network);

impl Serialize for NetworkJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in COLUMNS {
            match value(self.0) {
                Value::Null => {}
                value => map.serialize_entry(name, &value)?,
            }
        }
        map.end()
    }
}

/// Appends a line for people below that of the socket: what is known and not 0. Nothing if there is nothing.
pub(super) fn push_line(out: &mut String, network: &Network) {
    const INDENT: &str = "            ";
    let start = out.len();
    push_items(out, network, INDENT);
    if out.len() > start {
        out.push('\n');
    }
}

/// Appends the items of that line behind `indent`, or nothing.
pub(super) fn push_items(out: &mut String, network: &Network, indent: &'static str) {
    let mut items = Items {
        out,
        separator: indent,
    };
    items.push_path(network);
    items.push_queue(network);
    items.push_timer(network);
    items.push_memory(network);
    if let Some(options) = &network.options {
        items.push_options(options);
    }
}

/// The parts of a line, separated by commas.
struct Items<'a> {
    out: &'a mut String,
    separator: &'static str,
}

impl Items<'_> {
    fn push(&mut self, item: std::fmt::Arguments<'_>) {
        self.out.push_str(self.separator);
        self.separator = ", ";
        let _ = self.out.write_fmt(item);
    }

    /// What the connection has measured and agreed with its peer.
    fn push_path(&mut self, network: &Network) {
        let span = |us: u32| human(Nanos(u64::from(us) * NANOS_A_MICRO));
        if let (Some(rtt), Some(variance)) = (positive(network.rtt_us), network.rtt_var_us) {
            self.push(format_args!("rtt {} ±{}", span(rtt), span(variance)));
        }
        if let Some(rto) = network.rto.filter(|rto| rto.0 > 0) {
            self.push(format_args!("rto {}", human(rto)));
        }
        if let Some(mss) = network.mss {
            self.push(format_args!("mss {mss}"));
        }
        if let Some(window) = network.send_window {
            self.push(format_args!("send window {}", human_bytes(window.into())));
        }
        if let Some(window) = network.receive_window {
            self.push(format_args!("receive window {}", human_bytes(window.into())));
        }
    }

    /// What waits for the peer.
    fn push_queue(&mut self, network: &Network) {
        if let Some(segments) = positive(network.in_flight) {
            self.push(format_args!("in flight {}", counted(segments, "segment")));
        }
        if let Some(segments) = positive(network.retransmitted_in_flight) {
            self.push(format_args!("{segments} of them retransmitted"));
        }
        if let Some(bytes) = positive(network.unacknowledged) {
            self.push(format_args!("{} unacknowledged", human_bytes(bytes.into())));
        }
        if let Some(bytes) = positive(network.not_sent) {
            self.push(format_args!("{} not sent", human_bytes(bytes.into())));
        }
        if let Some(count) = network.retransmits.filter(|count| *count > 0) {
            self.push(format_args!("{}", counted(count, "timeout")));
        }
        if let Some(total) = positive(network.retransmits_total) {
            self.push(format_args!("{} in total", counted(total, "retransmission")));
        }
        if let Some(probes) = network.probes.filter(|count| *count > 0) {
            self.push(format_args!("{} unanswered", counted(probes, "probe")));
        }
        let congestion = network.congestion;
        if let Some(state) = congestion.filter(|state| *state != Congestion::Open) {
            self.push(format_args!("congestion state {}", state.name()));
        }
    }

    fn push_timer(&mut self, network: &Network) {
        if let Some(Timer::Running { purpose, expires_in }) = network.timer {
            let what = match purpose {
                TimerPurpose::Retransmit => "retransmit",
                TimerPurpose::WindowProbe => "window probe",
                TimerPurpose::KeepAlive => "keep-alive timer",
            };
            self.push(format_args!("{what} in {}", human(expires_in)));
        }
        if let Some(backoff) = network.backoff.filter(|count| *count > 0) {
            self.push(format_args!("back-off {backoff}"));
        }
    }

    fn push_memory(&mut self, network: &Network) {
        if let Some(bytes) = positive(network.send_memory) {
            self.push(format_args!("send memory {}", human_bytes(bytes.into())));
        }
        if let Some(bytes) = positive(network.receive_memory) {
            self.push(format_args!("receive memory {}", human_bytes(bytes.into())));
        }
        if let Some(drops) = positive(network.drops) {
            self.push(format_args!("{}", counted(drops, "drop")));
        }
    }

    /// The options that are set.
    fn push_options(&mut self, options: &SocketOptions) {
        let span = |ms: u32| human(Nanos::from_millis(ms.into()));
        if options.user_timeout_ms > 0 {
            self.push(format_args!("user timeout {}", span(options.user_timeout_ms)));
        }
        let rto_max = options.rto_max_ms.map(|ms| Nanos::from_millis(ms.into()));
        if let Some(limit) = rto_max.filter(|limit| *limit != RTO_MAX) {
            self.push(format_args!("timeouts up to {}", human(limit)));
        }
        if !options.has_keepalive {
            return;
        }
        self.push(format_args!("keep-alive"));
        if options.keepalive_time_ms > 0 {
            let _ = write!(self.out, " after {}", span(options.keepalive_time_ms));
        }
        if options.keepalive_interval_ms > 0 {
            let _ = write!(self.out, " every {}", span(options.keepalive_interval_ms));
        }
        if options.keepalive_probes > 0 {
            let probes = counted(options.keepalive_probes, "probe");
            let _ = write!(self.out, " with {probes}");
        }
    }
}

fn positive(value: Option<u32>) -> Option<u32> {
    value.filter(|value| *value > 0)
}
