//! The page of the demo, docs/report.html, and its picture: `cargo xtask pictures` records the demo, makes a page of the
//! recording, and has a browser draw the beginning of it.

use crate::{command, demo::Part};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The processes of the demo: others of this machine are nobody's business.
const PROCESSES: &str = "leaky-server,short-client,stuck-reader";

/// Width and height of the page's part in the picture, which is drawn at `SCALE`.
const SIZE: &str = "1200,1640";
const SCALE: &str = "0.75";

const BROWSER: &str = "chromium";

/// A recording of the demo that goes on.
pub(crate) struct Recording {
    folder: PathBuf,
    file: PathBuf,
    record: Part,
}

impl Recording {
    /// Records for this many seconds.
    pub(crate) fn start(tcptrace: &Path, seconds: u64) -> Result<Self> {
        if command::find(BROWSER).is_none() {
            bail!("{BROWSER}, which draws the page, is not installed: apt-get install {BROWSER}");
        }
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
        let picture = docs.join("pictures/report.png");
        // Its sandbox does not work as root, and the page is ours.
        let mut browser = Command::new(BROWSER);
        browser
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .arg(format!("--window-size={SIZE}"))
            .arg(format!("--force-device-scale-factor={SCALE}"))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("file://{}", file.display()));
        command::output(&mut browser)?;
        println!("{}", picture.display());
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Fails only if the folder is gone.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
