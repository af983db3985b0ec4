//! The vocabulary of kernel side, recordings and engine. The numbers are in records and recordings: they
//! keep their meaning, and new ones are added at the end.

/// An enum with a number and a word for each value, from one list.
macro_rules! vocabulary {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $number:literal $word:literal,)* }) => {
        $(#[$about])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$meaning])* $value = $number,)* }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// The word in outputs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $word,)* }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = u8;

            /// The value of this number, or the number as an error.
            #[inline(always)]
            fn try_from(number: u8) -> Result<Self, u8> {
                match number {
                    $($number => Ok(Self::$value),)*
                    other => Err(other),
                }
            }
        }
    };
}

vocabulary! {
    /// What a hook reports of a socket.
    EventKind {
        /// `inet_sock_set_state`: a transition of a full socket from `old` to `new`.
        State = 1 "state",
        /// `tcp_receive_reset`: the peer reset the socket.
        ResetReceived = 2 "reset-received",
        /// `tcp_send_reset`: a reset was sent for the socket.
        ResetSent = 3 "reset-sent",
        /// `inet_twsk_alloc` created a timewait socket in substate `new`.
        TimewaitStart = 4 "timewait-start",
        /// `inet_twsk_alloc` failed: the timewait table is full.
        TimewaitFull = 5 "timewait-full",
        /// A timewait socket handled a segment, after which its substate is `new`.
        TimewaitSegment = 6 "timewait-segment",
        /// `inet_twsk_kill`: a timewait socket ended, by an [`EndCause`].
        TimewaitEnd = 7 "timewait-end",
        /// A [`TimerStep`] of a timewait socket's timer.
        TimewaitTimer = 8 "timewait-timer",
        /// A request socket was queued: the SYN arrived.
        RequestStart = 9 "request-start",
        /// A request socket was dropped because of a segment.
        RequestEnd = 10 "request-end",
        /// A [`TimerStep`] of a request socket's timer.
        RequestTimer = 11 "request-timer",
        /// `inet_csk_accept` returned the socket to the current task.
        Accept = 12 "accept",
        /// The leader of a thread group changed its name. Not about a socket.
        TaskRename = 13 "task-rename",
    }
}

vocabulary! {
    /// What happened to a kernel timer.
    TimerStep {
        /// `timer_start`: it was started or restarted.
        Start = 1 "start",
        /// `timer_cancel`: it was stopped, which also precedes a restart and expiry.
        Cancel = 2 "cancel",
        /// `timer_expire_entry`: it expired.
        Expire = 3 "expire",
    }
}

vocabulary! {
    /// What ended a timewait or request socket, as far as one hook can observe.
    EndCause {
        /// Its timer expired.
        Expired = 1 "expired",
        /// A RST arrived for it.
        Reset = 2 "reset",
        /// A SYN for a new connection arrived.
        ReusedBySyn = 3 "reused-by-syn",
        /// Data arrived that no program can read: it was answered by a RST.
        AnsweredByReset = 4 "answered-by-reset",
        /// None of these: `connect` with the same four-tuple, or the network namespace was removed.
        Other = 5 "other",
    }
}

vocabulary! {
    /// The kind of kernel socket that a row of a snapshot was read from.
    SockKind {
        /// `struct tcp_sock`.
        Full = 1 "full",
        /// `struct tcp_timewait_sock`.
        Timewait = 2 "timewait",
        /// `struct tcp_request_sock`.
        Request = 3 "request",
    }
}

vocabulary! {
    /// The system call on a socket at which a stack was recorded.
    Call {
        /// `connect`, or the `sendmsg` that connects (TCP Fast Open).
        Connect = 1 "connect",
        /// `accept` or `accept4`.
        Accept = 2 "accept",
        /// A read, of bytes or of the end of file.
        Read = 3 "read",
    }
}
