//! Drops privileges that a command no longer needs: after everything is attached or, if recordings are read, before
//! their first byte.

use super::messages;
use crate::{
    privileges::{self, Held, Needs, Work},
    source::{cgroups::Cgroups, kubernetes::Folders, sysctl_files},
};
use std::path::{Path, PathBuf};

/// What a live command does besides tracing.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) reads_code: bool,
    /// It links its files into folders below that of its output.
    pub(super) links: bool,
    /// Folders that it goes on to read.
    pub(super) folders: Folders,
}

/// For a command that inspects this machine, writes to these files or directories.
pub(super) fn live<'a>(outputs: impl IntoIterator<Item = &'a Path>, extras: Extras) -> Held {
    let Extras {
        reads_code,
        links,
        folders,
    } = extras;
    let mut inputs = sysctl_files::files();
    inputs.extend(folders.read);
    inputs.extend(Cgroups::of_this_host().roots().map(Path::to_owned));
    confine(&Needs {
        work: Work::Live { reads_code },
        inputs,
        listed: folders.listed,
        outputs: outputs.into_iter().map(Path::to_owned).collect(),
        links,
    })
}

/// Of a command that reads these files.
pub(super) fn replay<'a>(inputs: &[PathBuf], outputs: impl IntoIterator<Item = &'a Path>) {
    confine(&Needs {
        work: Work::Replay,
        inputs: inputs.to_vec(),
        listed: Vec::new(),
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
