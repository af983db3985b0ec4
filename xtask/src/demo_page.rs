//! The page of the demo, docs/report.html, and its picture: `cargo xtask pictures` records the demo, makes a page of the
//! recording, and has a browser draw the beginning of it.

use crate::{browser, command, demo::Part};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The processes of the demo: others of this machine are nobody's business.
const PROCESSES: &str = "leaky-server,short-client,stuck-reader";

/// Width and height of the page's part in the picture, which is drawn at `SCALE`.
const SIZE: [u32; 2] = [1200, 1640];
const SCALE: &str = "0.75";

/// A recording of the demo that goes on.
pub(crate) struct Recording {
    folder: PathBuf,
    file: PathBuf,
    record: Part,
}

impl Recording {
    /// Records for this many seconds.
    pub(crate) fn start(tcptrace: &Path, seconds: u64) -> Result<Self> {
        browser::check()?;
        let folder = std::env::temp_dir().join(format!("tcptrace-demo-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let file = folder.join("demo.arrows");
        let mut record = command::as_root(tcptrace)?;
        record
            .args(["record", "--duration", &seconds.to_string(), "-o"])
            .arg(&file);
        Ok(Self {
            folder,
            file,
            record: Part(record.spawn().context("cannot start tcptrace")?),
        })
    }

    /// Waits for its end and writes the page and its picture below `docs`.
    pub(crate) fn write(mut self, tcptrace: &Path, docs: &Path) -> Result<()> {
        let status = self.record.0.wait()?;
        if !status.success() {
            bail!("`tcptrace record` exited with {status}; its messages are above");
        }
        // The recording is root's, and only root reads it.
        let mut report = command::as_root(tcptrace)?;
        report.args(["report", "--html", "-c", PROCESSES]).arg(&self.file);
        let page = command::output(&mut report)?;
        let file = docs.join("report.html");
        fs::write(&file, page + "\n")?;
        println!("{}", file.display());
        browser::draw(&file, SIZE, SCALE, &docs.join("pictures/report.png"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Fails only if the folder is gone.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
