//! Ranks evidence of ownership. Knows no scan and no kernel.

use super::processes::ProcessId;
use crate::event::{EventData, Nanos, OwnerAct, Task};
use serde::Serialize;

/// How an owner is known, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Evidence {
    /// It owns the listener that the connection came to: provisional until the connection is accepted.
    Listener,
    /// `/proc/PID/fd` shows the socket, where the kernel has no iterator of open files.
    Proc,
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
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Proc => "proc",
            Self::Close => "close",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Holder => "holder",
        }
    }

    /// Whether it is a guess that later evidence may overturn. All other evidence proves that the process had the
    /// socket at that time.
    pub(crate) const fn is_provisional(self) -> bool {
        matches!(self, Self::Listener)
    }
}

/// An owner, how that is known, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owning process.
    pub process: ProcessId,
    /// How that is known.
    pub evidence: Evidence,
    /// When the evidence was obtained.
    pub since: Nanos,
}

/// `comm` of this program: another instance of it scans as well.
const SCANNER: [u8; 16] = *b"tcptrace\0\0\0\0\0\0\0\0";

/// What the running task of an event proves about the socket, if anything. In softirq the running task is
/// anybody; the kernel side names it only for the events that a system call of the owner makes.
pub(crate) fn evidence_of(data: &EventData, task: &Task) -> Option<Evidence> {
    let evidence = match data.owner_act()? {
        OwnerAct::Connect => Evidence::Connect,
        OwnerAct::Listen => Evidence::Listen,
        OwnerAct::Accept => Evidence::Accept,
        OwnerAct::Close => Evidence::Close,
    };
    // A kernel worker closes files for others (delayed `fput`); what it opens is the kernel's own.
    // So does a scan of open files: it holds each for a moment (`fget_task_next`, 6.18), and where the process closes
    // it in that moment, the last `fput` is the scan's.
    if evidence == Evidence::Close && (task.is_kernel_thread || task.comm == SCANNER) {
        return None;
    }
    Some(evidence)
}

/// The owner after new evidence. A guess never beats a proof. Of two proofs about one process the stronger stays;
/// about two processes the later one counts, since sockets change hands.
pub(crate) fn weigh(known: Option<Owner>, new: Owner) -> Owner {
    let Some(known) = known else { return new };
    match (known.evidence.is_provisional(), new.evidence.is_provisional()) {
        (true, false) => new,
        (_, true) => known,
        (false, false) if known.process == new.process => {
            if new.evidence > known.evidence {
                new
            } else {
                known
            }
        }
        (false, false) => {
            if new.since >= known.since {
                new
            } else {
                known
            }
        }
    }
}

/// Which of the processes that have a socket open owns it: the one that was known to, where it still has it; else
/// [`first_of`] them.
pub(crate) fn choose(known: Option<ProcessId>, holders: &[(ProcessId, Opening)]) -> Option<ProcessId> {
    if let Some(still) = known.filter(|known| holders.iter().any(|(process, _)| process == known)) {
        return Some(still);
    }
    let openings: Vec<Opening> = holders.iter().map(|(_, opening)| *opening).collect();
    Some(holders[first_of(&openings)?].0)
}

/// One process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// When the process started, nanoseconds since boot.
    pub(crate) start_ns: u64,
    /// The lowest descriptor by which it has the socket.
    pub(crate) fd: u32,
}

/// The index of the process to report as the owner if there is no other evidence. The same descriptor in all
/// of them is inherited: the oldest has made the socket, and the others were forked from it. Else it was passed on, by one
/// that is older than who works with it.
pub(crate) fn first_of(openings: &[Opening]) -> Option<usize> {
    let fd = openings.first()?.fd;
    let is_inherited = openings.iter().all(|opening| opening.fd == fd);
    let starts = openings.iter().map(|opening| opening.start_ns).enumerate();
    let first = if is_inherited {
        starts.min_by_key(|(_, start_ns)| *start_ns)
    } else {
        starts.max_by_key(|(_, start_ns)| *start_ns)
    };
    first.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        ProcessKey, TcpState,
        fixture::{task, transition},
    };

    /// From the weakest to the strongest.
    const ALL: [Evidence; 7] = [
        Evidence::Listener,
        Evidence::Proc,
        Evidence::Close,
        Evidence::Listen,
        Evidence::Connect,
        Evidence::Accept,
        Evidence::Holder,
    ];

    const PARENT: ProcessId = ProcessId(1);
    const CHILD: ProcessId = ProcessId(2);

    fn owner(process: ProcessId, evidence: Evidence, since: u64) -> Owner {
        Owner {
            process,
            evidence,
            since: Nanos(since),
        }
    }

    #[test]
    fn the_first_evidence_counts_whatever_it_is() {
        for evidence in ALL {
            let first = owner(PARENT, evidence, 5);
            assert_eq!(weigh(None, first), first);
        }
    }

    #[test]
    fn a_guess_never_beats_anything_and_everything_beats_a_guess() {
        for evidence in ALL {
            let guess = owner(PARENT, Evidence::Listener, 9);
            let other = owner(CHILD, evidence, 1);
            if evidence.is_provisional() {
                assert_eq!(weigh(Some(other), guess), other);
            } else {
                assert_eq!(weigh(Some(guess), other), other);
                assert_eq!(weigh(Some(other), guess), other);
            }
        }
    }

    #[test]
    fn of_one_process_the_strongest_proof_stays_with_its_time() {
        for known in ALL {
            for new in ALL {
                let before = owner(PARENT, known, 1);
                let after = owner(PARENT, new, 2);
                let expected = if new > known { after } else { before };
                assert_eq!(weigh(Some(before), after), expected);
            }
        }
    }

    #[test]
    fn of_two_processes_the_later_proof_counts() {
        for known in ALL.into_iter().filter(|word| !word.is_provisional()) {
            for new in ALL.into_iter().filter(|word| !word.is_provisional()) {
                let parent = owner(PARENT, known, 1);
                let child = owner(CHILD, new, 2);
                assert_eq!(weigh(Some(parent), child), child, "{known:?} {new:?}");
                assert_eq!(weigh(Some(child), parent), child, "{known:?} {new:?}");
            }
        }
    }

    #[test]
    fn of_several_holders_the_known_owner_stays_else_who_made_it_or_got_it_last() {
        let parent = (PARENT, Opening { start_ns: 10, fd: 5 });
        let child = (CHILD, Opening { start_ns: 20, fd: 5 });
        let passed = (CHILD, Opening { start_ns: 20, fd: 6 });
        let table = [
            (None, vec![], None),
            (None, vec![parent], Some(PARENT)),
            (None, vec![parent, child], Some(PARENT)),
            (None, vec![parent, passed], Some(CHILD)),
            (Some(CHILD), vec![parent, child], Some(CHILD)),
            (Some(PARENT), vec![parent, passed], Some(PARENT)),
            (Some(PARENT), vec![child], Some(CHILD)),
        ];
        for (known, holders, expected) in table {
            assert_eq!(choose(known, &holders), expected, "{known:?} {holders:?}");
        }
    }

    #[test]
    fn what_a_scan_of_open_files_closes_is_not_its_own() {
        let what = transition(TcpState::Established, TcpState::FinWait1);
        let scanner = task(ProcessKey::new(1, 1), SCANNER);
        assert_eq!(evidence_of(&what, &scanner), None);
        assert_eq!(evidence_of(&EventData::Accept, &scanner), Some(Evidence::Accept));
    }

    #[test]
    fn a_worker_of_the_kernel_closes_for_others_and_opens_for_itself() {
        let by = |is_kernel_thread| Task {
            is_kernel_thread,
            ..task(ProcessKey::new(1, 1), [0; 16])
        };
        let table = [
            (
                transition(TcpState::Established, TcpState::FinWait1),
                false,
                Some(Evidence::Close),
            ),
            (transition(TcpState::Established, TcpState::FinWait1), true, None),
            (
                transition(TcpState::Established, TcpState::Close),
                false,
                Some(Evidence::Close),
            ),
            (
                transition(TcpState::Close, TcpState::SynSent),
                false,
                Some(Evidence::Connect),
            ),
            (
                transition(TcpState::Close, TcpState::SynSent),
                true,
                Some(Evidence::Connect),
            ),
            (
                transition(TcpState::Close, TcpState::Listen),
                false,
                Some(Evidence::Listen),
            ),
            (EventData::Accept, false, Some(Evidence::Accept)),
            (EventData::TaskRename, false, None),
            (EventData::ResetReceived, false, None),
        ];
        for (what, is_kernel_thread, expected) in table {
            assert_eq!(evidence_of(&what, &by(is_kernel_thread)), expected, "{what:?}");
        }
    }
}
