//! Events: what the kernel reported about which socket, when, and in which task. Knows no bytes and no output.

mod data;
mod end_reason;
mod endpoints;
#[cfg(test)]
pub(crate) mod fixture;
mod reset_reason;
mod state;
mod time;

pub use data::{Bytes, EventData, EventSubject, OwnerAct, PathStats, RawData, Unknown};
pub(crate) use end_reason::{EndReason, NetworkError};
pub use endpoints::{Endpoints, Family};
pub use reset_reason::ResetReason;
pub use state::{StateSet, TcpState, UnknownState};
pub use tcptrace_common::{EndCause, EventKind, TimerStep};
pub use time::{Age, Nanos};

use serde::{Serialize, Serializer};

/// A socket as the kernel names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SockRef {
    /// The socket cookie, as `ss -e` prints it after `sk:`; 0 where the kernel has made none.
    pub cookie: u64,
    /// The kernel object's address. Recycled within microseconds, so it only pairs neighbouring events.
    pub address: u64,
}

impl SockRef {
    #[expect(missing_docs, reason = "the names say it")]
    #[must_use]
    pub const fn new(cookie: u64, address: u64) -> Self {
        Self { cookie, address }
    }

    /// No cookie reaches it: they count up from 1 (`__sock_gen_cookie`).
    pub(crate) const COOKIE_END: u64 = 1 << 62;

    /// Whether a kernel may name a socket so: its objects are in the upper half of the address space.
    #[inline]
    pub(crate) const fn is_possible(self) -> bool {
        self.cookie < Self::COOKIE_END
            && (self.address == 0 || (self.address >> 63 == 1 && self.address != u64::MAX))
    }
}

/// One connection of a socket. The cookie survives `disconnect` and `connect`; the incarnation counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConnectionId {
    /// The socket cookie, or 0 if the kernel has assigned none, as for a request socket.
    pub cookie: u64,
    /// 0 for the socket's first connection.
    pub incarnation: u32,
}

impl ConnectionId {
    /// The first connection of the socket with this cookie.
    pub(crate) const fn first(cookie: u64) -> Self {
        Self {
            cookie,
            incarnation: 0,
        }
    }
}

/// A process: thread group, and start time because ids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Thread group id in the initial namespace.
    pub pid: u32,
    /// Start time since boot (`start_boottime`), nanoseconds.
    pub start_ns: u64,
}

impl ProcessKey {
    #[expect(missing_docs, reason = "the names say it")]
    #[must_use]
    pub const fn new(pid: u32, start_ns: u64) -> Self {
        Self { pid, start_ns }
    }
}

/// A process's start as `/proc` has it: in ticks since boot, of which the kernel's interface has 100 a second on every
/// architecture that this runs on (`USER_HZ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTicks(pub u64);

const NANOS_A_TICK: u64 = 1_000_000_000 / 100;

impl StartTicks {
    /// The start of a process, rounded as the kernel does.
    pub(crate) const fn of(process: ProcessKey) -> Self {
        Self(process.start_ns / NANOS_A_TICK)
    }
}

/// The task that was running when a hook fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// PID and start time.
    pub process: ProcessKey,
    /// `comm` of the thread group's leader, zero-padded.
    pub comm: [u8; 16],
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Real user ID, if known.
    pub uid: Option<u32>,
    /// Whether it is a kernel thread.
    pub is_kernel_thread: bool,
}

/// One fact, at one time, about one socket. By default one that is about nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When the hook ran.
    pub time: Nanos,
    /// The socket that the event is about.
    pub sock: SockRef,
    /// Its ends, as far as the kernel knew them.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace, 0 where unknown.
    pub netns: u32,
    /// `IPPROTO_*`: 6 for TCP.
    pub protocol: u16,
    /// What was reported.
    pub data: EventData,
    /// The running task, where it made the event itself.
    pub task: Option<Task>,
    /// Whether the kernel made the socket for itself.
    pub is_kernel_socket: bool,
    /// Another number than in the event before where one between the two could not be delivered.
    pub lost: u32,
}

/// A network namespace as outputs show it: `None` for 0, which events have whose hook does not report it.
pub(crate) const fn known_netns(netns: u32) -> Option<u32> {
    if netns == 0 { None } else { Some(netns) }
}

/// Serialises the same: `null` where it is not known.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize_netns<S: Serializer>(netns: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    known_netns(*netns).serialize(serializer)
}
