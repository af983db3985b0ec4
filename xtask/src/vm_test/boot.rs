//! Boots a guest under qemu's emulation, and reads what it says on its console. With one processor idle time is skipped:
//! a minute of TIME_WAIT takes a few seconds.

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

/// What the kernel is told. A failure ends the guest; what keeps the secrets of a real processor, and memory free of
/// its earlier content, costs an emulated one a fifth of its time. (112 is `X86_FEATURE_REP_GOOD`.)
const APPENDED: &str =
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 clearcpuid=112";

/// How long a guest may take before it counts as hung, seconds.
const PATIENCE: Duration = Duration::from_mins(20);

/// A loaded machine loses a guest now and then: one that says nothing is started once more.
const ATTEMPTS: usize = 2;

/// Installs qemu and what the guests consist of, where they are missing.
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

/// Boots, and reads the verdict from the console.
pub(crate) fn run(image: &Path, initramfs: &Path, console: &Path, task: Task) -> Result<Verdict> {
    let mut verdict = Verdict::Silent;
    for _ in 0..ATTEMPTS {
        boot(image, initramfs, console, task)?;
        let said = String::from_utf8_lossy(&fs::read(console)?).into_owned();
        verdict = Verdict::of_output(&said);
        if !matches!(verdict, Verdict::Silent) {
            break;
        }
        println!(
            "the guest said nothing of its tests; the end of its console:\n{}",
            tail(&said)
        );
    }
    Ok(verdict)
}

/// qemu's own exit status says nothing about the guest.
fn boot(image: &Path, initramfs: &Path, console: &Path, task: Task) -> Result<()> {
    let _ = fs::remove_file(console);
    let mut serial = std::ffi::OsString::from("file:");
    serial.push(console);
    Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(QEMU)
        // What a processor adds to this one the emulator is slow at: repeated string instructions a byte at a time,
        // protection of the kernel's memory from its own mistakes.
        .args(["-M", "pc", "-cpu", "qemu64", "-m", "768"])
        .args(match task {
            // A clock of executed instructions: what makes idle time skippable.
            Task::Plans => {
                ["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"].as_slice()
            }
            Task::Flood => ["-accel", "tcg,thread=multi", "-smp", "2"].as_slice(),
        })
        .args(["-append", APPENDED])
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
