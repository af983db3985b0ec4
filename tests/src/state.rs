//! The TCP states, by their names and numbers in the kernel and by their names in `ss`.

use serde::Deserialize;
use std::fmt;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are RFC 9293's")]
pub enum State {
    #[serde(rename = "ESTABLISHED")]
    Established,
    #[serde(rename = "SYN_SENT")]
    SynSent,
    #[serde(rename = "SYN_RECV")]
    SynRecv,
    #[serde(rename = "FIN_WAIT1")]
    FinWait1,
    #[serde(rename = "FIN_WAIT2")]
    FinWait2,
    #[serde(rename = "TIME_WAIT")]
    TimeWait,
    #[serde(rename = "CLOSE")]
    Close,
    #[serde(rename = "CLOSE_WAIT")]
    CloseWait,
    #[serde(rename = "LAST_ACK")]
    LastAck,
    #[serde(rename = "LISTEN")]
    Listen,
    #[serde(rename = "CLOSING")]
    Closing,
}

impl State {
    /// All states, in the order of the kernel's numbers from 1.
    pub const ALL: [Self; 11] = [
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

    /// The state of this number in the kernel's `enum`, which `/proc/net/tcp` prints in hexadecimal.
    #[must_use]
    pub fn from_kernel_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The state of this name in `ss`.
    #[must_use]
    pub fn from_ss(word: &str) -> Option<Self> {
        Some(match word {
            "ESTAB" => Self::Established,
            "SYN-SENT" => Self::SynSent,
            "SYN-RECV" => Self::SynRecv,
            "FIN-WAIT-1" => Self::FinWait1,
            "FIN-WAIT-2" => Self::FinWait2,
            "TIME-WAIT" => Self::TimeWait,
            "UNCONN" => Self::Close,
            "CLOSE-WAIT" => Self::CloseWait,
            "LAST-ACK" => Self::LastAck,
            "LISTEN" => Self::Listen,
            "CLOSING" => Self::Closing,
            _ => return None,
        })
    }

    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_numbers_are_those_of_tcp_states_h() {
        assert_eq!(State::from_kernel_number(1), Some(State::Established));
        assert_eq!(State::from_kernel_number(6), Some(State::TimeWait));
        assert_eq!(State::from_kernel_number(11), Some(State::Closing));
        assert_eq!(State::from_kernel_number(0), None);
        assert_eq!(State::from_kernel_number(12), None);
    }

    #[test]
    fn json_spelling_is_the_printed_spelling() {
        for state in State::ALL {
            let json = serde_json::Value::String(state.name().to_owned());
            assert_eq!(serde_json::from_value::<State>(json).unwrap(), state);
        }
    }
}
