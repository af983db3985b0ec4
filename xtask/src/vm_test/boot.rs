//! Boots a guest under qemu's emulation, and reads its console. With one processor idle time is skipped: a minute of
//! TIME_WAIT takes a few seconds.

use super::{kernels::Task, table::Verdict};
use crate::{apt, command};
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const QEMU: &str = "qemu-system-x86_64";

/// The kernel's command line. A kernel fault ends the guest. Mitigations of processor faults and clearing of memory, which
/// take a fifth of an emulated processor's time, are disabled. (112 is `X86_FEATURE_REP_GOOD`.)
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 clearcpuid=112";

/// Maximum run time of a guest.
const TIMEOUT: Duration = Duration::from_mins(20);

/// On a loaded machine a guest may die before it prints any result: it is then started again.
const ATTEMPTS: usize = 2;

/// Installs qemu and the programs that the guests are made of, unless they are installed.
pub(crate) fn install_qemu() -> Result<()> {
    let missing: Vec<&str> = [
        (QEMU, "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("xz", "xz-utils"),
    ]
    .into_iter()
    .filter(|(program, _)| command::find(program).is_none())
    .map(|(_, package)| package)
    .collect();
    apt::install(&missing)
}

/// Boots the guest, and reads the verdict from its console.
pub(crate) fn run(image: &Path, initramfs: &Path, console: &Path, task: Task) -> Result<Verdict> {
    let mut verdict = Verdict::Incomplete;
    for _ in 0..ATTEMPTS {
        boot(image, initramfs, console, task)?;
        let output = String::from_utf8_lossy(&fs::read(console)?).into_owned();
        verdict = Verdict::of_output(&output);
        if !matches!(verdict, Verdict::Incomplete) {
            break;
        }
        println!(
            "the guest printed no result; the end of its console:\n{}",
            tail(&output)
        );
    }
    Ok(verdict)
}

/// Runs the guest to its end. qemu's exit status does not depend on it.
fn boot(image: &Path, initramfs: &Path, console: &Path, task: Task) -> Result<()> {
    let _ = fs::remove_file(console);
    let mut serial = std::ffi::OsString::from("file:");
    serial.push(console);
    Command::new("timeout")
        .arg(TIMEOUT.as_secs().to_string())
        .arg(QEMU)
        // The emulation of other processor features is slow: repeated string instructions, and protection of the kernel's
        // memory.
        .args(["-M", "pc", "-cpu", "qemu64", "-m", "1024"])
        .args(match task {
            // With a clock of executed instructions, idle time can be skipped.
            Task::Compare => {
                ["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"].as_slice()
            }
            Task::Flood => ["-accel", "tcg,thread=multi", "-smp", "2"].as_slice(),
        })
        .args(["-append", COMMAND_LINE])
        .args(["-no-reboot", "-display", "none", "-nodefaults"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-serial")
        .arg(serial)
        .stdin(Stdio::null())
        .status()
        .context("cannot start qemu")?;
    Ok(())
}

fn tail(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
