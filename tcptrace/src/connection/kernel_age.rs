//! When a socket entered its state, as far as the kernel records it: for TIME_WAIT, CLOSE_WAIT and, for request
//! sockets, SYN_RECV. Pure.

use super::since::Since;
use crate::{
    event::{Nanos, TcpState},
    socket::{Row, SockKind},
};

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h.
const TIMEWAIT: Nanos = Nanos::from_secs(60);

/// CLOSE_WAIT: the peer's last segment was its FIN, or came after it (`tcp_sock.rcv_tstamp`), so it is at least as old
/// as that. TIME_WAIT: from the sock's own stamp, to a millisecond, where the kernel has one (Linux 6.14). Else from its timer, which is set
/// to a minute on entry, to two ticks of the kernel's clock; a segment that came since has set it anew, so that the age
/// is at least this. SYN_RECV of a request sock: since its first SYN came. `None` for another sock, and where neither is known.
pub(crate) fn entered(row: &Row) -> Option<Since> {
    match (row.kind, row.state) {
        (SockKind::Timewait, TcpState::TimeWait) => {}
        (SockKind::Full, TcpState::CloseWait) | (SockKind::Request, TcpState::SynRecv) => {
            let idle = row.idle?;
            return Some(Since::before(Nanos(row.time.0.saturating_sub(idle.0))));
        }
        _ => return None,
    }
    if row.entry_stamp_ms != 0 {
        return Some(Since::at(stamp_time(row.time, row.entry_stamp_ms)));
    }
    let age = TIMEWAIT.0.cast_signed().saturating_sub(row.expires_in_ns?);
    Some(Since::before(Nanos(
        row.time.0.saturating_sub(u64::try_from(age).unwrap_or(0)),
    )))
}

/// The monotonic time of a 32-bit millisecond stamp that is at most 49 days before `now`.
fn stamp_time(now: Nanos, stamp_ms: u32) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the stamp is the low half of the kernel's milliseconds"
    )]
    let ago_ms = ((now.0 / 1_000_000) as u32).wrapping_sub(stamp_ms);
    Nanos(now.0.saturating_sub(u64::from(ago_ms) * 1_000_000))
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use crate::event::{Endpoints, SockRef};

    pub(crate) const NOW: Nanos = Nanos::from_secs(1_000);

    /// A row in TIME_WAIT that knows nothing.
    pub(crate) fn row(kind: SockKind) -> Row {
        Row {
            is_orphan: true,
            ..Row::bare(
                NOW,
                SockRef::default(),
                Endpoints::default(),
                1,
                kind,
                TcpState::TimeWait,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::NOW, *};

    fn row(kind: SockKind, entry_stamp_ms: u32, expires_in_ns: Option<i64>) -> Row {
        Row {
            entry_stamp_ms,
            expires_in_ns,
            ..fixture::row(kind)
        }
    }

    #[test]
    fn the_stamp_is_believed_before_the_timer() {
        let stamped = row(SockKind::Timewait, 990_000, Some(30_000_000_000));
        assert_eq!(entered(&stamped), Some(Since::at(Nanos::from_secs(990))));
    }

    #[test]
    fn the_timer_shows_at_least_how_long_it_has_lasted() {
        let since = |expires_in_ns| entered(&row(SockKind::Timewait, 0, Some(expires_in_ns)));
        assert_eq!(since(45_000_000_000), Some(Since::before(Nanos::from_secs(985))));
        // The wheel lets a minute last up to two seconds longer.
        assert_eq!(since(-1_000_000_000), Some(Since::before(Nanos::from_secs(939))));
        // A timer that was only just set: a tick may only just have begun.
        assert_eq!(since(60_004_000_000), Some(Since::before(NOW)));
    }

    #[test]
    fn the_peer_s_silence_is_the_least_age_of_close_wait() {
        let silent = Row {
            state: TcpState::CloseWait,
            idle: Some(Nanos::from_secs(300)),
            ..row(SockKind::Full, 0, None)
        };
        assert_eq!(entered(&silent), Some(Since::before(Nanos::from_secs(700))));
        let open = Row {
            state: TcpState::Established,
            ..silent
        };
        assert_eq!(entered(&open), None);
    }

    #[test]
    fn a_request_is_at_least_as_old_as_its_first_syn() {
        let request = Row {
            state: TcpState::SynRecv,
            idle: Some(Nanos::from_secs(4)),
            ..row(SockKind::Request, 0, Some(3_000_000_000))
        };
        assert_eq!(entered(&request), Some(Since::before(Nanos::from_secs(996))));
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(entered(&row(SockKind::Timewait, 0, None)), None);
        assert_eq!(entered(&row(SockKind::Full, 1, Some(1))), None);
        let waiting = Row {
            state: TcpState::FinWait2,
            ..row(SockKind::Timewait, 1, Some(1))
        };
        assert_eq!(entered(&waiting), None);
    }
}
