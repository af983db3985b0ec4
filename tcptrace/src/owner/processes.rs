//! The processes seen, by thread group and start time, each with a small ID for rows.

use super::container::Location;
use crate::{
    event::{Nanos, ProcessKey, Task},
    printable::printable,
};
use hashbrown::HashMap;
use std::{borrow::Cow, sync::Arc};

/// Stands for a process in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// A process that some event or scan has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) key: ProcessKey,
    /// `comm` of the leader, zero-padded.
    pub(crate) comm: [u8; 16],
    /// cgroup v2 id, 0 where unknown.
    pub(crate) cgroup: u64,
    /// Real user ID, if known.
    pub(crate) uid: Option<u32>,
    pub(crate) is_kernel_thread: bool,
    /// Where it runs, once looked up; `None` if that is not known yet.
    pub(crate) location: Option<Arc<Location>>,
    /// When to ask again; `None` while what is known holds.
    ask_place_at: Option<Nanos>,
    /// Rows that name it.
    rows: u32,
}

/// Interval before a failed lookup of where a process runs is repeated.
const ASK_PLACE_AGAIN: Nanos = Nanos::from_secs(1);

impl Process {
    /// The name as text; bytes that are no UTF-8 are replaced, control characters escaped.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        comm_text(&self.comm)
    }

    fn ask_for_place(&mut self, now: Nanos, look_up: &mut impl FnMut(&Self) -> Option<Arc<Location>>) {
        if self.ask_place_at.is_none_or(|due| now < due) {
            return;
        }
        match look_up(self) {
            Some(location) => {
                self.location = Some(location);
                self.ask_place_at = None;
            }
            // What was known of a process that has ended meanwhile is the best that there will be.
            None => self.ask_place_at = Some(now.plus(ASK_PLACE_AGAIN)),
        }
    }
}

/// `comm` as text that is safe to print.
pub(crate) fn comm_text(comm: &[u8; 16]) -> Cow<'_, str> {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    printable(&comm[..end])
}

/// Processes without rows are dropped once there are this many: `pid_max` on most hosts.
const SWEEP_AT: usize = 32_768;

/// Every process seen, with the latest name of each.
#[derive(Debug, Default)]
pub struct Processes {
    ids: HashMap<ProcessKey, ProcessId>,
    slots: Vec<Option<Process>>,
    free: Vec<u32>,
    sweep_at: usize,
}

impl Processes {
    /// The id of the task's process; its name, user and cgroup are brought up to date: `exec` and `setuid`
    /// change them.
    pub(crate) fn intern(&mut self, task: &Task) -> ProcessId {
        if let Some(id) = self.ids.get(&task.process) {
            if let Some(process) = &mut self.slots[id.0 as usize] {
                let has_moved = task.cgroup != 0 && process.cgroup != task.cgroup;
                // A runtime moves its child to the container's cgroup and lets it `exec` there.
                if has_moved || process.comm != task.comm {
                    process.ask_place_at = Some(Nanos(0));
                }
                process.comm = task.comm;
                process.uid = task.uid.or(process.uid);
                if has_moved {
                    process.cgroup = task.cgroup;
                }
            }
            return *id;
        }
        if self.ids.len() >= self.sweep_at.max(SWEEP_AT) {
            self.sweep();
        }
        let process = Process {
            key: task.process,
            comm: task.comm,
            cgroup: task.cgroup,
            uid: task.uid,
            is_kernel_thread: task.is_kernel_thread,
            location: None,
            ask_place_at: Some(Nanos(0)),
            rows: 0,
        };
        let id = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(process);
            ProcessId(slot)
        } else {
            let slot = u32::try_from(self.slots.len()).expect("fewer processes than 2^32 are remembered");
            self.slots.push(Some(process));
            ProcessId(slot)
        };
        self.ids.insert(task.process, id);
        id
    }

    /// Gives the task's process another name, where it is known.
    pub(crate) fn rename(&mut self, task: &Task) {
        let known = self.ids.get(&task.process);
        if let Some(Some(process)) = known.and_then(|id| self.slots.get_mut(id.0 as usize)) {
            process.comm = task.comm;
        }
    }

    /// The process of an id that a row or a change holds.
    pub(crate) fn get(&self, id: ProcessId) -> Option<&Process> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// Finds out where the process runs by `look_up`, unless that is known or was asked a moment ago.
    pub(crate) fn location(
        &mut self,
        id: ProcessId,
        now: Nanos,
        look_up: &mut impl FnMut(&Process) -> Option<Arc<Location>>,
    ) {
        if let Some(Some(process)) = self.slots.get_mut(id.0 as usize) {
            process.ask_for_place(now, look_up);
        }
    }

    /// The same for every process that a row names.
    pub(crate) fn locate_all(
        &mut self,
        now: Nanos,
        look_up: &mut impl FnMut(&Process) -> Option<Arc<Location>>,
    ) {
        for process in self.slots.iter_mut().flatten().filter(|process| process.rows > 0) {
            process.ask_for_place(now, look_up);
        }
    }

    /// Takes down where a process runs, where it is known.
    pub(crate) fn settle_location(&mut self, key: ProcessKey, location: Arc<Location>) {
        let known = self.ids.get(&key);
        if let Some(Some(process)) = known.and_then(|id| self.slots.get_mut(id.0 as usize)) {
            process.location = Some(location);
            process.ask_place_at = None;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.slots.iter().flatten()
    }

    /// Those that a row names, and of which it is known where they run.
    pub(crate) fn located(&self) -> impl Iterator<Item = (&Process, &Arc<Location>)> {
        self.slots
            .iter()
            .flatten()
            .filter(|process| process.rows > 0)
            .filter_map(|process| Some((process, process.location.as_ref()?)))
    }

    /// What is known of the cgroups of all that are remembered, by their v2 ids. Where processes of one id run in
    /// several places, v1 tells these apart and the id does not.
    pub(crate) fn locations_by_cgroup(&self) -> HashMap<u64, &Arc<Location>> {
        let mut locations: HashMap<u64, Option<&Arc<Location>>> = HashMap::new();
        for process in self.slots.iter().flatten() {
            if let Some(location) = &process.location {
                let known = locations.entry(process.cgroup).or_insert(Some(location));
                *known = known.filter(|known| known.path == location.path);
            }
        }
        locations
            .into_iter()
            .filter_map(|(id, location)| Some((id, location?)))
            .collect()
    }

    /// Notes that a row names the process.
    pub(crate) fn retain(&mut self, id: ProcessId) {
        if let Some(Some(process)) = self.slots.get_mut(id.0 as usize) {
            process.rows += 1;
        }
    }

    /// Notes that a row no longer does.
    pub(crate) fn release(&mut self, id: ProcessId) {
        if let Some(Some(process)) = self.slots.get_mut(id.0 as usize) {
            process.rows = process.rows.saturating_sub(1);
        }
    }

    /// Forgets those that no row names, and waits until twice as many as remain before the next time.
    fn sweep(&mut self) {
        for (slot, entry) in self.slots.iter_mut().enumerate() {
            if let Some(process) = entry
                && process.rows == 0
            {
                self.ids.remove(&process.key);
                *entry = None;
                self.free.extend(u32::try_from(slot));
            }
        }
        self.sweep_at = self.ids.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fixture;

    fn task(pid: u32, start_ns: u64, name: &[u8]) -> Task {
        fixture::task(ProcessKey::new(pid, start_ns), fixture::comm(name))
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut processes = Processes::default();
        let first = processes.intern(&task(7, 100, b"old"));
        let second = processes.intern(&task(7, 200, b"new"));
        assert_ne!(first, second);
        assert_eq!(processes.get(first).unwrap().name(), "old");
        assert_eq!(processes.intern(&task(7, 200, b"newer")), second);
        assert_eq!(processes.get(second).unwrap().name(), "newer");
    }

    #[test]
    fn a_place_is_asked_for_once_and_again_after_a_move_an_exec_or_a_second_without_answer() {
        let mut processes = Processes::default();
        let mut at = |cgroup, name: &[u8], now: Nanos, answer: Option<&str>| {
            let id = processes.intern(&Task {
                cgroup,
                ..task(7, 100, name)
            });
            let mut asked = 0;
            processes.location(id, now, &mut |_| {
                asked += 1;
                answer.map(|path| Arc::new(Location::of_path(path.as_bytes())))
            });
            let process = processes.get(id).unwrap();
            (
                asked,
                process.location.as_ref().map(|location| location.path.clone()),
            )
        };
        let known = |path: &str| Some(path.to_owned());
        let second = ASK_PLACE_AGAIN;
        assert_eq!(at(1, b"init", Nanos(5), None), (1, None));
        assert_eq!(at(1, b"init", Nanos(6), Some("/a")), (0, None));
        assert_eq!(
            at(1, b"init", second.plus(Nanos(5)), Some("/a")),
            (1, known("/a"))
        );
        assert_eq!(at(1, b"init", Nanos(u64::MAX), Some("/b")), (0, known("/a")));
        assert_eq!(at(2, b"init", Nanos(7), Some("/b")), (1, known("/b")));
        assert_eq!(at(0, b"init", Nanos(8), Some("/c")), (0, known("/b")));
        assert_eq!(at(2, b"nginx", Nanos(9), None), (1, known("/b")));
        assert_eq!(
            at(2, b"nginx", second.plus(Nanos(9)), Some("/c")),
            (1, known("/c"))
        );
    }

    #[test]
    fn processes_without_rows_do_not_pile_up() {
        let mut processes = Processes::default();
        let kept = processes.intern(&task(1, 1, b"kept"));
        processes.retain(kept);
        for pid in 0..200_000 {
            processes.intern(&task(pid, 2, b"passing"));
        }
        assert!(processes.slots.len() <= SWEEP_AT + 1);
        assert_eq!(processes.get(kept).unwrap().name(), "kept");
    }

    #[test]
    fn names_cannot_reach_the_terminal_as_commands() {
        assert_eq!(comm_text(&fixture::comm("a\x1b[2Jb")), "a\u{fffd}[2Jb");
        assert_eq!(comm_text(&fixture::comm("a\u{202e}")), "a\u{fffd}");
        assert_eq!(comm_text(&[0xff; 16]), "\u{fffd}".repeat(16));
    }
}
