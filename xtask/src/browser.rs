//! The browser that draws pages.

use crate::command;
use anyhow::{Result, bail};
use std::{path::Path, process::Command};

const BROWSER: &str = "chromium";

/// Milliseconds of the page's time after which it is drawn: it waits for answers only.
const DRAWN_AFTER: u32 = 20_000;

/// Fails unless it is installed.
pub(crate) fn check() -> Result<()> {
    if command::find(BROWSER).is_none() {
        bail!("{BROWSER}, which draws the page, is not installed: apt-get install {BROWSER}");
    }
    Ok(())
}

/// Draws the beginning of a page, width and height `size`, at `scale`.
pub(crate) fn draw(page: &Path, size: [u32; 2], scale: &str, picture: &Path) -> Result<()> {
    let [width, height] = size;
    // Its sandbox does not work as root, and the page is ours.
    let mut browser = Command::new(BROWSER);
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--force-device-scale-factor={scale}"))
        .arg(format!("--virtual-time-budget={DRAWN_AFTER}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()));
    command::output(&mut browser)?;
    println!("{}", picture.display());
    Ok(())
}
