//! Writes a guest's initramfs, by busybox's `cpio`: busybox, the programs, `ss`, modules, and an `init` that runs the tests and
//! powers off.

use super::{
    Programs,
    kernels::{Files, Task},
};
use crate::command;
use anyhow::{Context as _, Result};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

/// Modules that the tests need, and their paths below the kernel's own folder: sock_diag for TCP, TUN for the scripted
/// peer. `init` loads them in the order of their names, in which `tcp_diag` follows `inet_diag`, which it needs.
const MODULES: [(&str, &str); 3] = [
    ("inet_diag.ko", "net/ipv4/inet_diag.ko"),
    ("tcp_diag.ko", "net/ipv4/tcp_diag.ko"),
    ("tun.ko", "drivers/net/tun.ko"),
];

/// Duration of the connection flood in a guest.
const FLOOD_SECONDS: u64 = 120;

/// Writes the initramfs to `to`.
pub(crate) fn write(to: &Path, kernel: &Files, programs: &Programs, task: Task) -> Result<()> {
    let root = tempfile::tempdir()?;
    let root = root.path();
    for folder in ["bin", "modules", "proc", "sys", "dev", "tmp", "run"] {
        fs::create_dir(root.join(folder))?;
    }
    let init_script = root.join("init");
    fs::write(&init_script, init(programs, task)?)?;
    fs::set_permissions(&init_script, Permissions::from_mode(0o755))?;
    let busybox = command::find("busybox").context("busybox is not installed")?;
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for (name, path) in MODULES {
        if let Some(module) = kernel.module(path)? {
            fs::write(root.join("modules").join(name), module)?;
        }
    }
    for program in programs.all() {
        // Debug information is twenty times as large as the program.
        let stripped = root.join("bin").join(name(program)?);
        command::run(Command::new("strip").arg("-o").arg(stripped).arg(program))?;
    }
    let ss = command::find("ss").context("ss is not installed: cargo xtask setup --tests")?;
    copy_dynamic(&ss, root)?;
    command::output(
        Command::new("sh")
            .args(["-c", "find * | \"$0\" cpio -o -H newc -R 0:0 >\"$1\""])
            .arg(busybox)
            .arg(to)
            .current_dir(root),
    )?;
    Ok(())
}

/// Copies a dynamically linked program into `bin`, and its libraries to the paths that they have here.
fn copy_dynamic(program: &Path, root: &Path) -> Result<()> {
    fs::copy(program, root.join("bin").join(name(program)?))?;
    let libraries = command::output(Command::new("ldd").arg(program))?;
    // A library is `NAME => PATH (ADDRESS)`, the loader `PATH (ADDRESS)`.
    let words = libraries.split_whitespace();
    for library in words.filter_map(|word| word.strip_prefix('/')) {
        let copy = root.join(library);
        fs::create_dir_all(copy.parent().context("a library is in a folder")?)?;
        fs::copy(Path::new("/").join(library), copy)?;
    }
    Ok(())
}

fn init(programs: &Programs, task: Task) -> Result<String> {
    let (flag, tests) = match task {
        Task::Compare => ("--alone", programs.tests.as_slice()),
        Task::Flood => ("--untraced", std::slice::from_ref(&programs.flood)),
    };
    let mut command = format!("/bin/{} {flag}", name(&programs.driver)?);
    for test in tests {
        command.push_str(" /bin/");
        command.push_str(&name(test)?);
    }
    Ok(format!(
        "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mount -t tracefs tracefs /sys/kernel/tracing
/bin/busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox ifconfig lo 127.0.0.1 up
for module in /modules/*; do /bin/busybox insmod $module; done
export PATH=/bin TCPTRACE_BIN=/bin/tcptrace TCPTRACE_EMULATED=1 TCPTRACE_FLOOD_SECONDS={FLOOD_SECONDS}
/bin/tcptrace check
{command}
echo \"exit status of the tests: $?\"
/bin/busybox poweroff -f
"
    ))
}

fn name(program: &Path) -> Result<String> {
    let name = program.file_name().context("a program has a name")?;
    Ok(name.to_string_lossy().into_owned())
}
