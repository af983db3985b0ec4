//! The processes that were seen, by (thread group, start time), each with a small id that rows can afford.

use crate::event::{ProcessKey, Task};
use hashbrown::HashMap;
use std::borrow::Cow;

/// Stands for a process in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Thread group and start time.
    pub key: ProcessKey,
    /// `comm` of the leader, zero-padded.
    pub comm: [u8; 16],
    /// cgroup v2 id, 0 where unknown.
    pub cgroup: u64,
    /// Whether it is a kernel thread.
    pub is_kernel_thread: bool,
    /// Rows that name it.
    rows: u32,
}

impl Process {
    /// The name as text; bytes that are no UTF-8 are replaced, control characters escaped.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        comm_text(&self.comm)
    }
}

/// `comm` as text that is safe to print.
#[must_use]
pub fn comm_text(comm: &[u8; 16]) -> Cow<'_, str> {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    let text = String::from_utf8_lossy(&comm[..end]);
    if text.chars().all(is_printable) {
        return text;
    }
    text.chars()
        .map(|c| if is_printable(c) { c } else { '\u{fffd}' })
        .collect::<String>()
        .into()
}

/// Neither a control character nor one that turns the direction of text (Unicode Bidi_Control).
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Processes without rows are forgotten once there are this many: `pid_max` on most hosts.
const SWEEP_AT: usize = 32_768;

/// All of them.
#[derive(Debug, Default)]
pub struct Processes {
    ids: HashMap<ProcessKey, ProcessId>,
    slots: Vec<Option<Process>>,
    free: Vec<u32>,
    sweep_at: usize,
}

impl Processes {
    /// The id of the task's process; its name and cgroup are brought up to date, as `exec` changes them.
    pub fn intern(&mut self, task: &Task) -> ProcessId {
        if let Some(id) = self.ids.get(&task.process) {
            if let Some(process) = &mut self.slots[id.0 as usize] {
                process.comm = task.comm;
                if task.cgroup != 0 {
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
            is_kernel_thread: task.is_kernel_thread,
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
    pub fn rename(&mut self, task: &Task) {
        let known = self.ids.get(&task.process);
        if let Some(Some(process)) = known.and_then(|id| self.slots.get_mut(id.0 as usize)) {
            process.comm = task.comm;
        }
    }

    /// The process of an id that a row or a change holds.
    #[must_use]
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// Notes that a row names the process.
    pub fn retain(&mut self, id: ProcessId) {
        if let Some(Some(process)) = self.slots.get_mut(id.0 as usize) {
            process.rows += 1;
        }
    }

    /// Notes that a row no longer does.
    pub fn release(&mut self, id: ProcessId) {
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

    fn task(pid: u32, start_ns: u64, name: &[u8]) -> Task {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        Task {
            process: ProcessKey { pid, start_ns },
            comm,
            cgroup: 0,
            is_kernel_thread: false,
        }
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
        let mut comm = [0; 16];
        comm[..6].copy_from_slice(b"a\x1b[2Jb");
        assert_eq!(comm_text(&comm), "a\u{fffd}[2Jb");
        let mut bidi = [0; 16];
        bidi[..4].copy_from_slice("a\u{202e}".as_bytes());
        assert_eq!(comm_text(&bidi), "a\u{fffd}");
        assert_eq!(comm_text(&[0xff; 16]), "\u{fffd}".repeat(16));
    }
}
