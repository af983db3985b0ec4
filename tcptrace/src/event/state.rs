//! The states of TCP: RFC 9293's, by the kernel's numbers and in the spellings that users type.

use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A TCP state of RFC 9293 in the kernel's spelling and order (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    pub(crate) const COUNT: usize = 11;

    /// Every state, in the kernel's order.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The order in which a connection may pass through its states (RFC 9293 section 3.3.2).
    pub(crate) const IN_ORDER: [Self; Self::COUNT - 1] = [
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
    ];

    /// The state of the kernel's number; `TCP_NEW_SYN_RECV` is SYN_RECV. `None` for any other number.
    pub(crate) fn from_kernel(number: u8) -> Option<Self> {
        match number {
            12 => Some(Self::SynRecv),
            1..=11 => Some(Self::ALL[usize::from(number) - 1]),
            _ => None,
        }
    }

    /// Its place in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// Whether the socket has a peer.
    const fn is_connected(self) -> bool {
        !matches!(self, Self::Close | Self::Listen)
    }

    /// Whether one side at least has sent its FIN.
    const fn is_ending(self) -> bool {
        matches!(
            self,
            Self::FinWait1
                | Self::FinWait2
                | Self::Closing
                | Self::CloseWait
                | Self::LastAck
                | Self::TimeWait
        )
    }

    /// The kernel's spelling.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for TcpState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown TCP state \"{0}\": expected ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING, their names in ss, or the groups all, connected, synchronized, ending"
)]
pub struct UnknownState(String);

impl FromStr for TcpState {
    type Err = UnknownState;

    /// Takes the kernel's spelling, that of `ss` and short forms (`est`, `cw`, `tw`, `fw1`, `fw2`, `la`), in any case.
    fn from_str(word: &str) -> Result<Self, UnknownState> {
        let plain: String = word
            .chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        Ok(match plain.as_str() {
            "ESTABLISHED" | "ESTAB" | "EST" => Self::Established,
            "SYNSENT" => Self::SynSent,
            "SYNRECV" | "SYNRCV" | "SYNRECEIVED" => Self::SynRecv,
            "FINWAIT1" | "FIN1" | "FW1" => Self::FinWait1,
            "FINWAIT2" | "FIN2" | "FW2" => Self::FinWait2,
            "TIMEWAIT" | "TW" => Self::TimeWait,
            "CLOSE" | "CLOSED" | "UNCONN" => Self::Close,
            "CLOSEWAIT" | "CW" => Self::CloseWait,
            "LASTACK" | "LA" => Self::LastAck,
            "LISTEN" | "LISTENING" => Self::Listen,
            "CLOSING" => Self::Closing,
            _ => return Err(UnknownState(word.to_owned())),
        })
    }
}

/// States that are selected together: a single one, or a group by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSet(Vec<TcpState>);

impl StateSet {
    /// Names of the groups. The first three are those of `ss`, which has no name for the fourth.
    pub(crate) const GROUPS: [&str; 4] = ["all", "connected", "synchronized", "ending"];

    /// Every state of several sets, in the order given.
    pub(crate) fn states(sets: &[Self]) -> Vec<TcpState> {
        sets.iter().flat_map(|set| &set.0).copied().collect()
    }
}

impl FromStr for StateSet {
    type Err = UnknownState;

    /// Takes what [`TcpState`] takes, and in any case: `all`; `connected`, all but LISTEN and CLOSE; `synchronized`, those
    /// without SYN_SENT; `ending`, the states after a FIN.
    fn from_str(word: &str) -> Result<Self, UnknownState> {
        let of = |wanted: fn(&TcpState) -> bool| TcpState::ALL.into_iter().filter(wanted).collect();
        let states = match word.to_ascii_lowercase().as_str() {
            "all" => of(|_| true),
            "connected" => of(|state| state.is_connected()),
            "synchronized" | "synchronised" => {
                of(|state| state.is_connected() && *state != TcpState::SynSent)
            }
            "ending" => of(|state| state.is_ending()),
            _ => vec![word.parse()?],
        };
        Ok(Self(states))
    }
}

impl From<TcpState> for StateSet {
    fn from(state: TcpState) -> Self {
        Self(vec![state])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_in_both_spellings() {
        for state in TcpState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.name().to_lowercase().replace('_', "-").parse(), Ok(state));
        }
        assert_eq!("estab".parse(), Ok(TcpState::Established));
        assert_eq!("unconn".parse(), Ok(TcpState::Close));
        assert_eq!("tw".parse(), Ok(TcpState::TimeWait));
        assert!("TIME".parse::<TcpState>().is_err());
    }

    #[test]
    fn groups_select_several_states() {
        let count = |word: &str| word.parse::<StateSet>().unwrap().0.len();
        let counts = StateSet::GROUPS.map(count);
        assert_eq!(counts, [11, 9, 8, 6]);
        assert_eq!("closing".parse(), Ok(StateSet::from(TcpState::Closing)));
        assert!("some".parse::<StateSet>().is_err());
        let sets = ["est", "ending"].map(|word| word.parse().unwrap());
        assert_eq!(StateSet::states(&sets).len(), 7);
    }

    #[test]
    fn kernel_numbers_are_states() {
        assert_eq!(TcpState::from_kernel(8), Some(TcpState::CloseWait));
        assert_eq!(TcpState::from_kernel(12), Some(TcpState::SynRecv));
        assert_eq!(TcpState::from_kernel(0), None);
        assert_eq!(TcpState::from_kernel(13), None);
    }
}
