//! What the network does to a socket, as the kernel's counters and timers show it. Plain data: what a kernel or a
//! mechanism does not report is `None`, never 0.

use crate::event::Nanos;

/// The evidence of one full socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Smoothed round-trip time, microseconds (`srtt_us >> 3`).
    pub rtt_us: Option<u32>,
    /// Its mean deviation, microseconds (`mdev_us >> 2`, which `tcp_info` calls `tcpi_rttvar`).
    pub rtt_var_us: Option<u32>,
    /// Retransmission timeout, back-off included.
    pub rto: Option<Nanos>,
    /// Maximum segment size for sending, bytes.
    pub mss: Option<u32>,
    /// The window that the peer advertises, bytes.
    pub send_window: Option<u32>,
    /// The window advertised to the peer, bytes.
    pub receive_window: Option<u32>,
    /// Segments sent and not acknowledged.
    pub in_flight: Option<u32>,
    /// Segments in flight that have been retransmitted.
    pub retransmitted_in_flight: Option<u32>,
    /// Bytes sent that the peer has not acknowledged.
    pub unacknowledged: Option<u32>,
    /// Bytes written by the program and not sent.
    pub not_sent: Option<u32>,
    /// Timeouts of the first unacknowledged segment (`icsk_retransmits`).
    pub retransmits: Option<u8>,
    /// Recoveries from timeouts, the present one included (`tcpi_total_rto_*`). Netlink reports them since Linux 6.7.
    pub recoveries: Option<Recoveries>,
    /// Segments retransmitted since the connection was made.
    pub retransmits_total: Option<u32>,
    /// How often the timeout has been doubled.
    pub backoff: Option<u8>,
    /// Unanswered probes of a closed window or of keep-alive.
    pub probes: Option<u8>,
    /// The timer that runs.
    pub timer: Option<Timer>,
    /// State of congestion control.
    pub congestion: Option<Congestion>,
    /// Memory of the data to send, bytes.
    pub send_memory: Option<u32>,
    /// Memory of the data received, bytes.
    pub receive_memory: Option<u32>,
    /// Segments dropped at the socket.
    pub drops: Option<u32>,
    /// The options that decide how long it waits for its peer.
    pub options: Option<SocketOptions>,
}

impl Network {
    /// Whether nothing at all is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the peer does not answer: what was sent to it timed out, or probes are unanswered.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.retransmits > Some(0) || self.probes > Some(0)
    }

    /// Whether the peer keeps the socket waiting: it does not answer, or its window is closed.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_stuck() || self.purpose() == Some(TimerPurpose::WindowProbe)
    }

    /// Whether data waits for the peer to open its window. The timer that probes it also runs where the window is open and
    /// the segments could not be sent.
    #[must_use]
    pub fn is_window_closed(&self) -> bool {
        self.purpose() == Some(TimerPurpose::WindowProbe) && !self.cannot_send()
    }

    /// Whether no segment can be sent although the window has room for one: this host has no route to the peer, its link
    /// is down, or a queue is full.
    #[must_use]
    pub fn cannot_send(&self) -> bool {
        let has_room = self
            .send_window
            .zip(self.mss)
            .is_some_and(|(window, mss)| window > 0 && window >= mss);
        // The timer also runs for a moment where segments wait for more data, or for their turn.
        let has_failed = self.probes > Some(0) || self.backoff > Some(0);
        self.purpose() == Some(TimerPurpose::WindowProbe) && has_room && has_failed
    }

    /// What the running timer is for.
    #[must_use]
    pub fn purpose(&self) -> Option<TimerPurpose> {
        match self.timer? {
            Timer::Running { purpose, .. } => Some(purpose),
            Timer::Off => None,
        }
    }

    /// The memory of its queues, bytes, as far as it is known.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let parts = [self.send_memory, self.receive_memory];
        parts.into_iter().flatten().map(u64::from).sum()
    }

    /// Whether it says more of a socket than that it works and is idle.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        self.is_waiting() || self.memory() > 0
    }
}

/// Recoveries from timeouts: each lasts from a timeout to the acknowledgement of what was retransmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recoveries {
    /// How many there have been.
    pub count: u16,
    /// The time that all of them took so far.
    pub total: Nanos,
}

/// The evidence of one socket of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketNetwork {
    /// The socket's cookie.
    pub cookie: u64,
    /// What is known of it.
    pub network: Network,
}

/// The timer of a socket, as `inet_sk_diag_fill` chooses among them: what was sent and not acknowledged comes before
/// keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// None is running.
    Off,
    /// One is running.
    Running {
        /// What happens when it expires.
        purpose: TimerPurpose,
        /// The remaining time, 0 if it is overdue.
        expires_in: Nanos,
    },
}

/// What a socket does when its timer expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerPurpose {
    /// Retransmit, or probe for the loss of the last segments (RFC 8985).
    Retransmit,
    /// Probe the closed window of the peer.
    WindowProbe,
    /// Probe an idle peer, or check whether to; also what ends an orphaned FIN_WAIT2.
    KeepAlive,
}

impl TimerPurpose {
    /// Its word in JSON and CSV.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retransmit => "retransmit",
            Self::WindowProbe => "window-probe",
            Self::KeepAlive => "keepalive",
        }
    }
}

/// State of congestion control, `enum tcp_ca_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum Congestion {
    Open,
    Disorder,
    Cwr,
    Recovery,
    Loss,
}

impl Congestion {
    /// The state with the kernel's number, `None` for an unknown one.
    #[must_use]
    pub const fn from_kernel(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Open),
            1 => Some(Self::Disorder),
            2 => Some(Self::Cwr),
            3 => Some(Self::Recovery),
            4 => Some(Self::Loss),
            _ => None,
        }
    }

    /// The kernel's word, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Disorder => "disorder",
            Self::Cwr => "cwr",
            Self::Recovery => "recovery",
            Self::Loss => "loss",
        }
    }
}

/// Ports that `connect` may choose for one socket: `IP_LOCAL_PORT_RANGE`. An end of 0 is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
}

/// The options of a TCP socket that decide how long it waits for its peer, and which port it gets. Times of 0 are not
/// set: the sysctls apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_USER_TIMEOUT`, milliseconds.
    pub user_timeout_ms: u32,
    /// The longest retransmission timeout, milliseconds: `TCP_RTO_MAX_MS`, else `net.ipv4.tcp_rto_max_ms` of when the
    /// socket was created. `None` before Linux 6.15.
    pub rto_max_ms: Option<u32>,
    /// `SO_KEEPALIVE`.
    pub has_keepalive: bool,
    /// `TCP_KEEPIDLE`, milliseconds.
    pub keepalive_time_ms: u32,
    /// `TCP_KEEPINTVL`, milliseconds.
    pub keepalive_interval_ms: u32,
    /// `TCP_KEEPCNT`.
    pub keepalive_probes: u8,
    /// `IP_LOCAL_PORT_RANGE`; `None` where it is not set, or not known.
    pub port_range: Option<PortRange>,
}
