//! Where processes run, told to the recording as it is found out: nothing else tells it the morning after.

use crate::{
    event::{ProcessKey, Task},
    kernel::clock,
    owner::container::Place,
    record::entry::Entry,
    run::session::Session,
    source::cgroups::Cgroups,
};
use hashbrown::HashMap;
use std::sync::Arc;

/// Beyond so many, those of processes that are gone are forgotten with the rest, which are told once more.
const MOST: usize = 65_536;

/// What the current file has been told.
pub(super) struct Places {
    cgroups: Cgroups,
    told: HashMap<ProcessKey, Arc<Place>>,
}

impl Places {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            cgroups: Cgroups::of_this_host(),
            told: HashMap::new(),
        }
    }

    /// Another file begins, which is told all of it.
    pub(super) fn next_file(&mut self) {
        self.told.clear();
    }

    /// Looks up and tells what is new.
    pub(super) fn find(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        self.cgroups.find_places(&mut session.engine.table.processes, now);
        self.tell(session);
    }

    /// Tells what is known and was not told.
    pub(super) fn tell(&mut self, session: &mut Session) {
        if self.told.len() > MOST {
            self.told.clear();
        }
        let Session { engine, tap, .. } = session;
        for (process, place) in engine.table.processes.placed() {
            if self.told.get(&process.key).is_some_and(|told| told == place) {
                continue;
            }
            self.told.insert(process.key, Arc::clone(place));
            tap.tell(Entry::Place {
                task: Task {
                    process: process.key,
                    comm: process.comm,
                    cgroup: process.cgroup,
                    is_kernel_thread: process.is_kernel_thread,
                },
                path: place.path.as_str().into(),
            });
        }
    }
}
