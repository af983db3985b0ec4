//! Drops privileges that a command no longer needs: after everything is attached or, if recordings are read, before
//! their first byte.

use super::messages;
use crate::{
    privileges::{self, Held, Needs, Work},
    source::{cgroups::Cgroups, sysctl_files},
};
use std::path::{Path, PathBuf};

/// What a live command does besides tracing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    pub(super) reads_code: bool,
    /// It links its files into folders below that of its output.
    pub(super) links: bool,
}

/// For a command that inspects this machine, writes to these files or directories, and reads these.
pub(super) fn live<'a>(
    outputs: impl IntoIterator<Item = &'a Path>,
    also_read: impl IntoIterator<Item = PathBuf>,
    extras: Extras,
) -> Held {
    let Extras { reads_code, links } = extras;
    let mut inputs = sysctl_files::files();
    inputs.extend(also_read);
    inputs.extend(Cgroups::of_this_host().roots().map(Path::to_owned));
    confine(&Needs {
        work: Work::Live { reads_code },
        inputs,
        outputs: outputs.into_iter().map(Path::to_owned).collect(),
        links,
    })
}

/// Of a command that reads these files.
pub(super) fn replay<'a>(inputs: &[PathBuf], outputs: impl IntoIterator<Item = &'a Path>) {
    confine(&Needs {
        work: Work::Replay,
        inputs: inputs.to_vec(),
        outputs: outputs.into_iter().map(Path::to_owned).collect(),
        links: false,
    });
}

fn confine(needs: &Needs) -> Held {
    let held = privileges::confine(needs);
    for failure in &held.failures {
        messages::tell(failure);
    }
    held
}
