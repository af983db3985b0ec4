//! All cases are recorded too: the report of the recording must be identical to the live run's, byte for byte.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
};
use tcptrace_tests::recording::{self, Recording};
use tempfile::TempDir;

static RUN: OnceLock<Mutex<Option<Run>>> = OnceLock::new();

struct Run {
    folder: TempDir,
    recording: Recording,
}

impl Run {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let file = folder.path().join("run.arrows");
        let report = report(&folder);
        let report = report.to_str().expect("a temporary path is text");
        let recording = Recording::start(&file, &file, &["--report", report]);
        Self { folder, recording }
    }
}

fn report(folder: &TempDir) -> PathBuf {
    folder.path().join("live.txt")
}

/// Starts the recording, unless an earlier case has.
pub(crate) fn record() {
    RUN.get_or_init(|| Mutex::new(Some(Run::start())));
}

/// Stops the recording, if any case was run, and compares.
pub(crate) fn compare() -> Result<(), String> {
    let run = RUN
        .get()
        .map(|run| run.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(Run { folder, recording }) = run.and_then(|mut run| run.take()) else {
        return Ok(());
    };
    let file = recording.file.clone();
    recording.stop();
    let live = fs::read_to_string(report(&folder)).map_err(|error| format!("the live report: {error}"))?;
    let replayed = recording::read(&["report"], &[&file]).out;
    let summary = recording::summary(&[&file]);
    if summary["changes"].as_u64() < Some(1) || summary["gaps"] != 0 {
        return Err(format!("the recording is not whole: {summary}"));
    }
    if replayed == live {
        println!(
            "the recording's report is the live run's: {} bytes, {summary}",
            live.len()
        );
        Ok(())
    } else {
        Err(format!("live:\n{live}\nreplayed:\n{replayed}"))
    }
}
