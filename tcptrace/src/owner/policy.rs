//! Weighs evidence of ownership. Knows no scan and no kernel.

use super::processes::ProcessId;
use crate::event::{Task, TcpState, What};
use serde::Serialize;

/// How an owner is known, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Evidence {
    /// It owns the listener that the connection came to: provisional until somebody accepts it.
    Listener,
    /// It closed the socket or shut it down.
    Close,
    /// It called `listen`.
    Listen,
    /// It called `connect`.
    Connect,
    /// It called `accept`.
    Accept,
    /// It has the socket open.
    Holder,
}

impl Evidence {
    /// The word in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Close => "close",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Holder => "holder",
        }
    }

    /// Whether it is a guess that later evidence may overturn.
    #[must_use]
    pub const fn is_provisional(self) -> bool {
        matches!(self, Self::Listener)
    }
}

/// An owner and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub process: ProcessId,
    /// How that is known.
    pub evidence: Evidence,
}

/// What the running task of an event proves about the socket, if anything. In softirq the running task is
/// anybody; the kernel side names it only for the events that a system call of the owner makes.
#[must_use]
pub fn evidence_of(what: &What, task: &Task) -> Option<Evidence> {
    let evidence = match what {
        What::State {
            new: TcpState::SynSent,
            ..
        } => Evidence::Connect,
        What::State {
            new: TcpState::Listen,
            ..
        } => Evidence::Listen,
        What::State { .. } => Evidence::Close,
        What::Accept => Evidence::Accept,
        What::ResetReceived
        | What::ResetSent
        | What::TimewaitStart(_)
        | What::TimewaitFull
        | What::TimewaitSegment { .. }
        | What::TimewaitEnd { .. }
        | What::TimewaitTimer { .. }
        | What::RequestStart { .. }
        | What::RequestEnd
        | What::RequestTimer { .. } => return None,
    };
    // A kernel worker closes files for others (delayed `fput`); what it opens is the kernel's own.
    if task.is_kernel_thread && evidence == Evidence::Close {
        return None;
    }
    Some(evidence)
}

/// The owner after new evidence: stronger or equally strong evidence replaces what was known.
#[must_use]
pub fn weigh(known: Option<Owner>, new: Owner) -> Owner {
    match known {
        Some(known) if known.evidence > new.evidence => known,
        Some(_) | None => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stronger_evidence_replaces_weaker_and_never_the_other_way() {
        let order = [
            Evidence::Listener,
            Evidence::Close,
            Evidence::Listen,
            Evidence::Connect,
            Evidence::Accept,
            Evidence::Holder,
        ];
        for (weaker, stronger) in order.iter().zip(&order[1..]) {
            let weak = Owner {
                process: ProcessId(1),
                evidence: *weaker,
            };
            let strong = Owner {
                process: ProcessId(2),
                evidence: *stronger,
            };
            assert_eq!(weigh(Some(weak), strong), strong);
            assert_eq!(weigh(Some(strong), weak), strong);
        }
        let first = Owner {
            process: ProcessId(1),
            evidence: Evidence::Close,
        };
        let second = Owner {
            process: ProcessId(2),
            evidence: Evidence::Close,
        };
        assert_eq!(weigh(Some(first), second), second);
        assert_eq!(weigh(None, first), first);
    }
}
