//! Records where processes run, as soon as it is found: it cannot be determined later.

use crate::{
    engine::Input,
    event::{ProcessKey, Task},
    kernel::clock,
    owner::container::Location,
    run::session::Session,
    source::cgroups::Cgroups,
};
use hashbrown::HashMap;
use std::sync::Arc;

/// Number of places beyond which all are dropped, and those of existing processes recorded once more.
const MOST: usize = 65_536;

/// The locations that the current file has.
pub(super) struct RecordedLocations {
    cgroups: Cgroups,
    written: HashMap<ProcessKey, Arc<Location>>,
}

impl RecordedLocations {
    pub(super) fn new() -> Self {
        Self {
            cgroups: Cgroups::of_this_host(),
            written: HashMap::new(),
        }
    }

    /// Another file begins, in which all locations are repeated.
    pub(super) fn next_file(&mut self) {
        self.written.clear();
    }

    /// Looks up and records what is new.
    pub(super) fn find(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        self.cgroups
            .find_locations(&mut session.engine.table.processes, now);
        self.push(session);
    }

    /// Records what is known and not in the file yet.
    pub(super) fn push(&mut self, session: &mut Session) {
        if self.written.len() > MOST {
            self.written.clear();
        }
        let Session { engine, recorder, .. } = session;
        for (process, location) in engine.table.processes.located() {
            if self
                .written
                .get(&process.key)
                .is_some_and(|written| written == location)
            {
                continue;
            }
            self.written.insert(process.key, Arc::clone(location));
            recorder.record(&Input::Container {
                task: Task {
                    process: process.key,
                    comm: process.comm,
                    cgroup: process.cgroup,
                    uid: process.uid,
                    is_kernel_thread: process.is_kernel_thread,
                },
                location: Arc::clone(location),
            });
        }
    }
}
